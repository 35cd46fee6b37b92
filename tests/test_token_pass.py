"""One pass for all token scores, and gradient norms: equal to what each metric says of one sample by itself."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ofmu import metrics
from ofmu.attacks import gradient_norms
from ofmu.benchmarks.token_pass import token_scores
from ofmu.core.oracle import TorchOracle
from ofmu.engine.measuring import sample_losses
from ofmu.losses import answer_logits, class_nll, token_nll
from ofmu.tasks import IGNORE
from small import Table, Texts, flat, images, llama, net, task, texts


def test_a_pass_by_hand():
    # after 0 comes 1 (1/2), 0 or 2 (1/4 each); after 1 comes 2 (1/2), …
    model = Table([[0.25, 0.5, 0.25], [0.25, 0.25, 0.5], [0.5, 0.25, 0.25]])
    samples = Texts([([0], [1, 2, 0]), ([0], [0, 1])])
    found = token_scores(model, samples, k=0.5)
    assert found.loss.tolist() == pytest.approx([math.log(2), (math.log(4) + math.log(2)) / 2])
    assert found.tokens.tolist() == [3, 2]
    assert found.extraction.tolist() == [1.0, 0.5]
    assert found.exact.tolist() == [1.0, 0.5]
    assert found.min_k.tolist() == pytest.approx([-math.log(2), -math.log(4)])
    assert found.min_k_plus_plus.tolist() == pytest.approx([1.0, -1.0])  # as worked out for one prediction


def test_batches_and_their_padding_change_nothing():
    model, samples, seen = llama(1), texts(9, 3), []
    found = token_scores(model, samples, batch=4, watch=seen.append)
    assert seen == [4, 8, 9]
    assert found.loss == pytest.approx(sample_losses(model, samples, token_nll).numpy(), abs=1e-5)
    for row in range(9):
        with torch.no_grad():
            logits, labels = answer_logits(model, samples.batch([row]))
        one = (logits.numpy(), labels[labels != IGNORE].numpy())
        assert found.extraction[row] == metrics.extraction_strength(*one)
        assert found.exact[row] == metrics.exact_memorization(*one)
        assert found.min_k_plus_plus[row] == pytest.approx(metrics.min_k_plus_plus(*one), abs=1e-4)
        log_p = torch.from_numpy(one[0]).log_softmax(-1)[range(len(one[1])), one[1]]
        assert found.min_k[row] == pytest.approx(metrics.min_k(log_p.numpy()), abs=1e-5)


@pytest.mark.parametrize("p", [1.0, 2.0, math.inf])
def test_gradient_norms_are_those_of_each_sample(p):
    samples, model = images(5, 1), net()
    oracle = TorchOracle(model)
    found = gradient_norms(oracle, class_nll, samples, p)
    assert oracle.cost == pytest.approx(5)
    for row in range(5):
        gradient = oracle.grad(class_nll, samples.batch([row]))[1]
        assert found[row] == pytest.approx(float(torch.linalg.vector_norm(flat(gradient), p)))
        assert found[row] == pytest.approx(metrics.gradient_norm(gradient, p))
    assert np.ptp(found) > 0


def test_gradient_norms_refuse_another_order_and_broken_gradients():
    samples = images(2, 1)
    with pytest.raises(ValueError, match="p: found 3"):
        gradient_norms(TorchOracle(net()), class_nll, samples, 3.0)
    samples.pixels[1] = math.inf
    assert task(samples, samples).forget is not None
    with pytest.raises(ValueError, match="1 of 2"):
        gradient_norms(TorchOracle(net()), class_nll, samples)
