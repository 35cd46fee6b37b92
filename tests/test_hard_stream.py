"""A short training goes back to what it has not fitted, and to nothing else."""

import pytest
import torch

from ofmu.engine.training import Recipe, training
from ofmu.losses import class_nll
from ofmu.tasks import HardStream, Stream
from small import images, net


def walk(stream, steps, n, losses):
    """The rows of so many batches; every row is told its own loss."""
    met = []
    for _ in range(steps):
        batch = stream.next(n)
        stream.saw(batch.rows, lambda batch=batch: losses[batch.rows])
        met.append(batch.rows.tolist())
    return met


def test_the_first_epoch_is_of_all_samples_and_later_ones_of_the_worst():
    losses = torch.arange(20.0)
    met = walk(HardStream(images(20, 1), 3, share=0.3), 5 + 2 * 2, 4, losses)
    assert sorted(row for rows in met[:5] for row in rows) == list(range(20))
    again = [met[5] + met[6], met[7] + met[8]]
    assert [sorted(rows) for rows in again] == [[*range(12, 20)]] * 2  # 6 of 20, in whole batches
    assert again[0] != again[1]  # in another order


def test_a_sample_that_is_fitted_makes_room_for_another():
    losses, stream = torch.arange(10.0), HardStream(images(10, 1), 0, share=0.2)
    walk(stream, 5, 2, losses)
    assert sorted(stream.next(2).rows.tolist()) == [8, 9]
    stream.saw(torch.tensor([8, 9]), lambda: torch.tensor([0.1, 0.2]))
    assert sorted(stream.next(2).rows.tolist()) == [6, 7]


def test_a_share_of_one_walks_as_the_usual_stream():
    ours, usual = HardStream(images(10, 1), 5), Stream(images(10, 1), 5)
    assert walk(ours, 7, 4, torch.zeros(10)) == walk(usual, 7, 4, torch.zeros(10))


def test_bad_shares_and_setting_back_are_refused():
    for share in (0.0, -0.1, 1.1):
        with pytest.raises(ValueError, match="share"):
            HardStream(images(4, 1), 0, share=share)
    with pytest.raises(ValueError, match="cursor"):
        HardStream(images(4, 1), 0).seek((0, 0, 0))


def test_a_training_tells_its_stream_the_losses_from_before_each_step():
    samples, model = images(12, 1), net(0)
    before = class_nll(model, samples.batch(range(12))).per_sample().detach()
    stream = HardStream(samples, 0, share=0.5)
    steps = training(model, samples, class_nll, Recipe(epochs=4, batch=12, lr=1e-2), stream=stream)
    next(steps)
    torch.testing.assert_close(stream.losses, before.float())
