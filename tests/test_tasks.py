"""Streams, batches and targets: every sample once, the same order again, from any place."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ofmu.tasks import Stream, Targets, TensorSamples, batches
from small import Texts, images, task


def lengths(*sizes):
    return Texts([([1] * (size - 1), [2]) for size in sizes])


def rows(stream, sizes):
    return [stream.next(n).rows.tolist() for n in sizes]


@given(n=st.integers(1, 70), size=st.integers(1, 9), seed=st.integers(0, 99))
def test_every_sample_comes_once_an_epoch(n, size, seed):
    stream = Stream(images(n, 0), seed)
    steps = -(-n // size)
    for _ in range(2):
        found = rows(stream, [size] * steps)
        assert sorted(row for batch in found for row in batch) == list(range(n))
        assert [len(batch) for batch in found[:-1]] == [size] * (steps - 1)
    assert stream.epoch == 1


def test_epochs_and_seeds_have_orders_of_their_own():
    def orders(seed):
        stream = Stream(images(40, 0), seed)
        return [tuple(stream.next(40).rows.tolist()) for _ in range(3)]

    assert orders(1) == orders(1)
    assert len({*orders(1), *orders(2)}) == 6
    assert orders(1)[0] != tuple(range(40))


@given(
    sizes=st.lists(st.integers(1, 7), min_size=1, max_size=12),
    more=st.lists(st.integers(1, 7), min_size=1, max_size=12),
    seed=st.integers(0, 9),
)
def test_a_stream_set_back_to_a_cursor_goes_on_exactly(sizes, more, seed):
    """Also where batches of several sizes are drawn from one stream, as OFMU draws its curvature batches."""
    samples = lengths(*(2 + (7 * i) % 5 for i in range(23)))
    stream = Stream(samples, seed)
    rows(stream, sizes)
    cursor = stream.cursor()
    expected = rows(stream, more)
    fresh = Stream(samples, seed)
    fresh.seek(cursor)
    assert rows(fresh, more) == expected
    stream.seek(cursor)
    assert rows(stream, more) == expected


@given(sizes=st.lists(st.integers(1, 7), min_size=30, max_size=30))
def test_mixed_batch_sizes_still_give_every_sample_once(sizes):
    stream = Stream(images(23, 0), 3)
    seen = []
    for n in sizes:
        batch = stream.next(n).rows.tolist()
        if stream.epoch:
            break
        seen += batch
    assert sorted(seen) == list(range(23))


def test_batches_hold_similar_lengths_and_their_order_is_mixed():
    sizes = [2 + i % 8 for i in range(64)]  # eight of each length, one window of sixteen batches of four
    stream = Stream(lengths(*sizes), 0)
    found = rows(stream, [4] * 16)
    spread = [{sizes[row] for row in batch} for batch in found]
    assert all(len(own) == 1 for own in spread)
    order = [own.pop() for own in spread]
    assert order != sorted(order)


def test_measuring_batches_take_all_rows_by_length():
    assert batches(lengths(5, 2, 9, 2, 7), 2) == [[1, 3], [0, 4], [2]]


def test_a_task_saves_and_restores_both_streams():
    given_task = task(images(9, 1), images(11, 2))
    given_task.forget.next(4)
    given_task.retain.next(5)
    cursors = given_task.cursors()
    assert cursors == {"forget": (0, 4, 4), "retain": (0, 5, 5)}
    expected = given_task.forget.next(3).rows.tolist(), given_task.retain.next(3).rows.tolist()
    given_task.seek(cursors)
    assert (given_task.forget.next(3).rows.tolist(), given_task.retain.next(3).rows.tolist()) == expected


def test_subsets_and_batches_keep_ids_and_values():
    samples = images(6, 1)
    part = samples.subset([4, 1])
    assert list(part.ids) == ["1/4", "1/1"]
    batch = part.batch([1, 0])
    assert batch.rows.tolist() == [1, 0]
    assert torch.equal(batch.inputs["pixel_values"], samples.pixels[[1, 4]])
    assert torch.equal(batch.labels, samples.labels[[1, 4]])
    assert len(batch) == 2


def test_samples_of_unequal_lengths_are_refused():
    with pytest.raises(ValueError, match="one length, found 2, 3 and 2"):
        TensorSamples(torch.zeros(2, 1), torch.zeros(3), ["a", "b"])


def test_streams_refuse_nothing_to_draw():
    with pytest.raises(ValueError, match="the data set is empty"):
        Stream(images(0, 0), 0)
    with pytest.raises(ValueError, match="batch size is 0"):
        Stream(images(3, 0), 0).next(0)


@pytest.mark.parametrize("bad", [[-0.1], [1.0, float("nan")], [float("inf")], []])
def test_targets_are_finite_losses(bad):
    with pytest.raises(ValueError, match=r"row 1 has .*expected finite losses"):
        Targets([torch.tensor(1.0), torch.tensor(bad)], "given")


def test_targets_per_sample_are_means_over_tokens():
    found = Targets([torch.tensor([1.0, 2.0, 6.0]), torch.tensor(0.5)], "given").per_sample
    assert found.tolist() == [3.0, 0.5]
