"""What layers hold: CKA, probes, the logit lens and directions, by hand and on tiny models."""

import numpy as np
import pytest
import torch
from torch import nn

from ofmu.attacks import two_sided
from ofmu.engine.measuring import sample_losses
from ofmu.engine.prepare import Parts
from ofmu.evidence.case import Case
from ofmu.evidence.inside import inside, lens_losses
from ofmu.evidence.layers import cka, features, layers_of, probe_scores, without_directions
from ofmu.losses import token_nll
from small import images, llama, net, texts


def test_cka_does_not_see_rotation_and_scale_and_is_0_for_independent_features():
    rng = np.random.default_rng(0)
    x, turn = rng.normal(size=(40, 6)), np.linalg.qr(rng.normal(size=(6, 6)))[0]
    assert cka(x, 3 * x @ turn + 5) == pytest.approx(1.0)
    wide = [cka(rng.normal(size=(40, 100)), rng.normal(size=(40, 100))) for _ in range(20)]
    assert np.mean(wide) == pytest.approx(0, abs=0.03)  # the biased form gives .7 here
    with pytest.raises(ValueError, match="same n"):
        cka(x, x[:-1])


def test_a_probe_finds_what_is_there_and_nothing_else():
    rng = np.random.default_rng(1)
    assert two_sided(*probe_scores(rng.normal(0.8, 1, (60, 5)), rng.normal(size=(80, 5)))).auc > 0.8
    null = [
        two_sided(*probe_scores(rng.normal(size=(40, 20)), rng.normal(size=(60, 20)), s)).auc for s in range(12)
    ]
    assert np.mean(null) == pytest.approx(0.5, abs=0.05)


def test_features_keep_the_order_of_the_rows_and_the_answers_positions():
    model, rows = net(0), images(40, 1)
    found = features(model, "image", rows)
    assert list(found) == ["0"]  # the last layer gives the logits
    assert found["0"] == pytest.approx(model[0](rows.pixels).detach().numpy())
    data, language = texts(9, 2), llama()
    states = features(language, "text", data)
    assert [name for name, _ in layers_of(language, "text")] == list(states) == ["block 0", "block 1"]
    batch = data.batch([4])
    with torch.no_grad():
        hidden = language(**batch.inputs, output_hidden_states=True).hidden_states[1][0, :-1]
    at = batch.labels[0, 1:] != -100
    assert states["block 0"][4] == pytest.approx(hidden[at].mean(0).numpy(), abs=1e-5)


def test_the_lens_of_the_last_block_is_the_model_itself():
    model, data = llama(), texts(7, 3)
    found = lens_losses(model, data, [0, 1])
    assert found[1] == pytest.approx(sample_losses(model, data, token_nll).numpy(), abs=1e-4)
    assert abs(found[0] - found[1]).max() > 1e-3


def test_a_direction_is_taken_out_of_outputs_and_put_back():
    layer, direction = nn.Linear(3, 3).double(), torch.tensor([0.0, 2.0, 0.0])
    x = torch.randn(4, 3, dtype=torch.float64)
    before = layer(x)
    with without_directions([(layer, direction)]):
        inside_of = layer(x)
    assert torch.equal(inside_of[:, 1], torch.zeros(4, dtype=torch.float64))
    assert torch.equal(inside_of[:, 0], before[:, 0])
    assert torch.equal(layer(x), before)
    conv = nn.Conv2d(1, 3, 1).double()
    pixels = torch.randn(2, 1, 2, 2, dtype=torch.float64)
    with without_directions([(conv, direction)]):
        assert torch.equal(conv(pixels)[:, 1], torch.zeros(2, 2, 2, dtype=torch.float64))


@pytest.mark.parametrize("kind", ["image", "text"])
def test_every_layer_is_asked_with_every_model(kind):
    make, data = (net, images) if kind == "image" else (llama, texts)
    parts = Parts(data(24, 1), data(30, 2), data(26, 3))
    case = Case(kind, make(0), parts, (make(1), make(2)), make(3))
    found = {each.attack: each for each in inside(case)}
    names = {"image": {"probe 0"}, "text": {"probe block 0", "probe block 1", "lens block 0"}}[kind]
    assert set(found) == names | {"direction-ablation"}
    assert all(each.missing is None and len(each.retrains) == 2 for each in found.values())
    probe = found[min(names, key=lambda name: "probe" not in name)]
    assert [line[:19] for line in probe.extra] == [
        "CKA to the retraine",
        "CKA to the original",
        "CKA of two retraine",
    ]
    assert probe.one_sided
    assert found["direction-ablation"].model.n_forget == 12
