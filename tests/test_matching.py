"""How easy samples are for one that saw none of them, and held-out samples weighted to be as easy."""

import pytest
import torch
from torch.nn.functional import one_hot

from ofmu.engine.matching import RIDGE, Traits, matched_weights, traits_of
from ofmu.tasks import TensorSamples


def pictures(n: int, seed: int, side: int | None = None) -> TensorSamples:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 3, (n,), generator=generator)
    pixels = 0.5 * torch.randn(n, 6, generator=generator) + one_hot(labels, 6)
    if side is not None:
        pixels = pixels[:, :3, None, None].expand(n, 3, side, side).contiguous()
    return TensorSamples(pixels, labels, [f"{seed}/{i}" for i in range(n)])


RETAIN, FORGET, HELDOUT = pictures(60, 0), pictures(20, 1), pictures(40, 2)


def test_the_ease_is_the_margin_of_a_kernel_ridge_regression():
    """With every row a landmark the Nyström form is the whole one: f = k (K + λI)⁻¹ Y."""
    (found,), _ = traits_of(RETAIN, [FORGET], 1e12)
    x, z = RETAIN.pixels.double(), FORGET.pixels.double()
    y = one_hot(RETAIN.labels, 3).double()
    apart = ((x[:, None] - x[None]) ** 2).sum(-1)
    width = apart.sqrt()[apart > 1e-12].median() ** 2 / 2
    kernel = (-apart / width).exp() + RIDGE * torch.eye(60, dtype=torch.float64)
    said = (-((z[:, None] - x[None]) ** 2).sum(-1) / width).exp() @ torch.linalg.inv(kernel)
    said = said @ (y - y.mean(0)) + y.mean(0)
    for row, label in enumerate(FORGET.labels.tolist()):
        others = [said[row, c] for c in range(3) if c != label]
        assert float(found.ease[row]) == pytest.approx(float(said[row, label] - max(others)), abs=1e-5)
    assert torch.equal(found.labels, FORGET.labels)


def test_a_label_that_does_not_fit_is_hard():
    wrong = TensorSamples(HELDOUT.pixels, (HELDOUT.labels + 1) % 3, HELDOUT.ids)
    (right, false), _ = traits_of(RETAIN, [HELDOUT, wrong], 1e12)
    assert float(right.ease.mean()) > 0.3 > -0.3 > float(false.ease.mean())


def test_what_is_allowed_bounds_what_it_takes():
    _, whole = traits_of(pictures(300, 3), [FORGET], 1e12)
    _, less = traits_of(pictures(300, 3), [FORGET], whole / 3)
    (none,), nothing = traits_of(pictures(300, 3), [FORGET], whole / 100)
    assert whole == 2 * 256 * (320 * 6 + 300 * 256)
    assert 0 < less < whole / 3
    assert nothing == 0
    assert none.ease.tolist() == [0] * 20


def test_large_images_are_averaged_down():
    (small,), little = traits_of(pictures(40, 4, side=32), [pictures(8, 5, side=32)], 1e12)
    (large,), much = traits_of(pictures(40, 4, side=64), [pictures(8, 5, side=64)], 1e12)
    assert torch.allclose(small.ease, large.ease)
    assert little == much


def test_rows_that_are_alike_are_no_error():
    same = TensorSamples(torch.ones(50, 6), torch.zeros(50, dtype=torch.int64), [str(i) for i in range(50)])
    (found,), _ = traits_of(same, [same], 1e12)
    assert bool(found.ease.isfinite().all())


def test_held_out_samples_count_as_the_forget_sets_classes_do():
    ours = Traits(torch.tensor([0, 0, 0, 1, 5]), torch.zeros(5, dtype=torch.float64))
    theirs = Traits(torch.tensor([0, 0, 1, 2]), torch.zeros(4, dtype=torch.float64))
    assert matched_weights(ours, theirs).tolist() == pytest.approx([0.375, 0.375, 0.25, 0], abs=1e-3)
    none = matched_weights(Traits(ours.labels + 7, ours.ease), theirs)
    assert none.tolist() == [0, 0, 0, 0]


def test_weights_bring_the_moments_of_the_ease_to_the_forget_sets():
    generator = torch.Generator().manual_seed(6)
    ease = torch.randn(500, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 3, (500,), generator=generator)
    ours = Traits(labels[:100], 0.7 * ease[:100] + 0.5)
    theirs = Traits(labels[100:], ease[100:])
    weights = matched_weights(ours, theirs)
    assert float(weights.sum()) == pytest.approx(1)
    assert bool((weights > 0).all())
    for power in (1, 2):
        reached = float((weights * theirs.ease**power).sum())
        assert reached == pytest.approx(float((ours.ease**power).mean()), abs=0.01)
    for c in range(3):
        reached = float(weights[theirs.labels == c].sum())
        assert reached == pytest.approx(float((ours.labels == c).double().mean()), abs=0.005)


def test_moments_out_of_reach_leave_weights_that_are_numbers():
    ours = Traits(torch.zeros(10, dtype=torch.int64), torch.full((10,), 50.0, dtype=torch.float64))
    theirs = Traits(torch.zeros(30, dtype=torch.int64), torch.linspace(0, 1, 30, dtype=torch.float64))
    weights = matched_weights(ours, theirs)
    assert float(weights.sum()) == pytest.approx(1)
    assert int(weights.argmax()) == 29
