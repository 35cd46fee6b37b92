"""What the authors' own code printed for made-up numbers (golden_images.py), beside ours.

SalUn (evaluation/SVC_MIA.py, generate_mask.py), selective synaptic dampening (src/ssd.py), SCRUB's distillation
(distiller_zoo/KD.py), PCGrad (pcgrad.py), MGDA (multi_task/min_norm_solvers.py): each was run once, in float64.
"""

from __future__ import annotations

import pytest
import torch

from golden_images import CLASSES, SHAPES, confidences, numbers, parameters
from ofmu.attacks import svc_attack
from ofmu.methods.dampening import dampening
from ofmu.methods.saliency import saliency_mask
from ofmu.methods.scrub import ImitateLoss
from ofmu.metrics import klom
from ofmu.tasks import TensorSamples

SSD_LEFT = [
    [-0.165573, 1.511472, -1.872614, -0.2810423683, 0.5332483712, 0.657275],
    [-1.486511, -0.1923528101, 0.2053667677, -0.0202903516, -0.1822341105, 0.370241265],
    [-0.475917, -1.077123, -1.335853, 0.270594296, 0.311756],
    [0.557707, -0.2913108292, -0.0163584685, -0.2865797088, 0.0819463259, 0.0276129595],
]
PCGRAD_MEAN = [-0.1537648699, 0.1470051815, 0.3043312337, -0.046190416]
PCGRAD_MEAN += [-0.3030184383, 0.1736921639, 0.2782381339, 0.0023050241]
MGDA_FIRST = 0.6342672350233827


def tensors(seed, low, high):
    return [
        torch.tensor(values, dtype=torch.float64).reshape(shape)
        for values, shape in zip(parameters(seed, low, high), SHAPES, strict=True)
    ]


def gradients():
    """Two that conflict."""
    a, b = (torch.tensor(numbers(seed, 8, -1, 1), dtype=torch.float64) for seed in (60, 61))
    return a, b - 1.2 * a


def test_the_svc_attack_of_salun():
    assert svc_attack(*confidences()).mia == pytest.approx(100 * 0.4375)


@pytest.mark.parametrize(
    ("share", "expected"),
    [(0.4, ["000111010011", "00100", "000110"]), (0.7, ["101111110111", "00100", "011111"])],
)
def test_the_mask_of_salun(share, expected):
    """Of 23 weights; where share · 23 is no whole number ours rounds and theirs cuts off."""
    masks = saliency_mask(tensors(10, -1, 1), share)
    assert ["".join(str(int(kept)) for kept in mask.flatten()) for mask in masks] == expected


def test_the_dampened_weights_of_ssd():
    factors = dampening(tensors(30, 0, 3), tensors(20, 0, 1), 2.0, 0.7)
    left = [weight * factor for weight, factor in zip(tensors(40, -2, 2), factors, strict=True)]
    found = torch.cat([part.flatten() for part in left]).tolist()
    assert found == pytest.approx([value for row in SSD_LEFT for value in row], abs=1e-9)


class Says(torch.nn.Module):
    """A model whose logits are these, whatever it is shown."""

    def __init__(self, seed):
        super().__init__()
        self.logits = torch.tensor(numbers(seed, 6 * CLASSES, -3, 3), dtype=torch.float64).reshape(6, CLASSES)

    def forward(self, _):
        return self.logits


def test_the_distillation_loss_of_scrub():
    """At a temperature of 1; theirs has others, see the method."""
    rows = TensorSamples(torch.zeros(6, 1), torch.zeros(6, dtype=torch.int64), list("abcdef"))
    terms = ImitateLoss(Says(51), 1.0, 0.0)(Says(50), rows.batch(range(6)))
    assert float(terms.values.mean()) == pytest.approx(2.309860638188685, rel=1e-9)


class Fixed(torch.nn.Module):
    """A model of given logits."""

    def __init__(self, logits):
        super().__init__()
        self.logits = torch.tensor(logits, dtype=torch.float64)

    def forward(self, _):
        return self.logits


@pytest.mark.parametrize(
    ("alpha", "gamma", "expected"),
    [
        (0.001, 0.99, [0.23913757399837907, 0.9920296741180036]),
        (0.5, 1.0, [0.3610064505539123, 1.0550700337552268]),
    ],
)
def test_the_loss_of_scrub_on_retained_samples(alpha, gamma, expected):
    """α KL(teacher ‖ student) + γ cross-entropy, worked out without torch."""
    rows = TensorSamples(torch.zeros(2, 1), torch.tensor([0, 2]), ["a", "b"])
    student, teacher = [[2.0, -1.0, 0.5], [0.1, 0.2, 0.3]], [[1.0, 0.0, -0.5], [0.4, -0.2, 1.1]]
    terms = ImitateLoss(Fixed(teacher), alpha, gamma)(Fixed(student), rows.batch([0, 1]))
    assert terms.values.tolist() == pytest.approx(expected, rel=1e-12)


def test_klom_on_stored_margins():
    """Two samples, five unlearned and four retrained models; counted and summed without numpy."""
    ours = [[-1.0, 0.5], [0.2, 0.7], [1.1, 0.4], [2.5, 3.0], [0.9, 0.6]]
    gold = [[2.0, 0.45], [3.5, 0.55], [2.9, 0.61], [4.0, 0.52]]
    assert klom(ours, gold).values.tolist() == pytest.approx([10.126631103850338, 0.5697171415941824], rel=1e-12)
    assert klom(gold, ours).values.tolist() == pytest.approx([9.903487552536127, 3.6888794541139363], rel=1e-12)


def test_pcgrad_but_for_its_mean_and_mgda():
    pytest.importorskip("torchjd")
    from ofmu.methods.rules import gramian, weighting

    a, b = gradients()
    gram = gramian([a], [b])
    first, second = weighting("pcgrad")(gram).tolist()
    # their reduction is a mean whatever they are told, the paper's is a sum
    assert (first * a + second * b).tolist() == pytest.approx([2 * x for x in PCGRAD_MEAN], abs=1e-6)
    assert weighting("mgda")(gram).tolist() == pytest.approx([MGDA_FIRST, 1 - MGDA_FIRST], abs=2e-3)
