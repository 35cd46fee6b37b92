import errno
import math
import os
import random
import signal
import struct
import subprocess
import sys
from collections import OrderedDict

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from ofmu.engine.checkpoint import load_state, random_state, save_state, set_random_state
from ofmu.errors import UserError

DTYPES = [
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16,
    torch.int8, torch.uint8, torch.bool, torch.uint16, torch.uint32, torch.uint64, torch.complex64,
    torch.complex128, torch.float8_e4m3fn, torch.float8_e5m2,
]  # fmt: skip


def bits(tensor):
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8).tolist() if tensor.numel() else []


def assert_same(found, expected, where="state"):
    """Equal in type and in every bit (NaN, -0.0), and in the order of dict keys."""
    assert type(found) is type(expected), where
    if isinstance(expected, torch.Tensor):
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape), where
        assert bits(found) == bits(expected), where
    elif isinstance(expected, dict):
        assert [(type(k), k) for k in found] == [(type(k), k) for k in expected], where
        for key in expected:
            assert_same(found[key], expected[key], f"{where}[{key!r}]")
    elif isinstance(expected, (list, tuple)):
        assert len(found) == len(expected), where
        for index, (one, other) in enumerate(zip(found, expected)):
            assert_same(one, other, f"{where}[{index}]")
    elif isinstance(expected, float):
        assert struct.pack(">d", found) == struct.pack(">d", expected), where
    else:
        assert found == expected, where


@st.composite
def tensors(draw):
    """Random bytes as a tensor: NaN payloads, subnormals and -0.0 among them."""
    dtype = draw(st.sampled_from(DTYPES))
    shape = draw(st.lists(st.integers(0, 3), max_size=3))
    size = math.prod(shape) * dtype.itemsize
    raw = draw(st.binary(min_size=size, max_size=size))
    if dtype is torch.bool:
        raw = bytes(byte & 1 for byte in raw)
    flat = torch.tensor(list(raw), dtype=torch.uint8)
    return flat.view(dtype).reshape(shape) if size else torch.empty(shape, dtype=dtype)


keys = st.one_of(st.text(max_size=5), st.integers(-5, 5), st.booleans(), st.none())
states = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), tensors()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(keys, inner, max_size=4),
    ),
    max_leaves=12,
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(state=states)
def test_a_state_comes_back_bit_for_bit(tmp_path, state):
    save_state(tmp_path / "c", state)
    assert_same(load_state(tmp_path / "c"), state)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype_beside_an_odd_number_of_bytes(tmp_path, dtype):
    # The odd one would push the next tensor off its alignment if the file kept the order of the state.
    odd = torch.tensor([1, 2, 3], dtype=torch.uint8)
    value = torch.arange(48, dtype=torch.uint8).remainder(2).view(dtype)
    state = [odd, value, value.reshape(-1, 1), torch.tensor(2.5, dtype=torch.float64)]
    save_state(tmp_path / "c", state)
    assert_same(load_state(tmp_path / "c"), state)


def test_an_optimizer_goes_on_as_if_never_saved(tmp_path):
    def step(model, optimizer):
        optimizer.zero_grad()
        model(torch.ones(2, 3)).square().sum().backward()
        optimizer.step()

    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    step(model, optimizer)
    save_state(tmp_path / "c", {"model": model.state_dict(), "optimizer": optimizer.state_dict()})
    step(model, optimizer)
    expected = {name: value.clone() for name, value in model.state_dict().items()}

    state = load_state(tmp_path / "c")
    assert set(state["optimizer"]["state"]) == {0, 1}  # int keys
    again = torch.nn.Linear(3, 2)
    restored = torch.optim.Adam(again.parameters(), lr=1.0)
    again.load_state_dict(state["model"])
    restored.load_state_dict(state["optimizer"])
    step(again, restored)
    assert_same(dict(again.state_dict()), expected)


def test_the_file_is_plain_safetensors(tmp_path):
    save_state(tmp_path / "c", {"w": torch.tensor([1.0, -2.0]), "lr": math.inf})
    with safe_open(tmp_path / "c", framework="pt") as file:
        assert list(file.keys()) == ["0"]
        assert file.get_tensor("0").tolist() == [1.0, -2.0]
        assert file.metadata()["format"] == "ofmu-checkpoint-1"


def test_views_transposes_conjugates_and_parameters_are_saved_by_value(tmp_path):
    base = torch.arange(6.0).reshape(2, 3)
    complex_base = torch.tensor([1 + 2j, 3 - 1j])
    state = {"t": base.t(), "row": base[1], "conj": complex_base.conj(), "p": torch.nn.Parameter(base)}
    save_state(tmp_path / "c", OrderedDict(state))
    loaded = load_state(tmp_path / "c")
    assert loaded["t"].tolist() == [[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]]
    assert loaded["row"].tolist() == [3.0, 4.0, 5.0]
    assert loaded["conj"].tolist() == [1 - 2j, 3 + 1j]
    assert not loaded["p"].requires_grad
    loaded["row"].zero_()  # tensors of a loaded state share nothing
    assert loaded["t"].tolist() == [[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]]


def test_random_numbers_go_on_where_they_stood(tmp_path):
    def draw():
        return random.random(), np.random.standard_normal(3).tolist(), torch.randn(3).tolist()

    np.random.standard_normal(1)  # leaves a cached half of a pair, which must be saved too
    save_state(tmp_path / "c", random_state())
    expected = draw()
    assert draw() != expected
    set_random_state(load_state(tmp_path / "c"))
    assert draw() == expected


def test_another_number_of_cuda_devices_is_refused():
    state = random_state()
    state["cuda"] = [torch.zeros(16, dtype=torch.uint8)] * 99
    with pytest.raises(UserError, match="saved with 99 CUDA devices, found"):
        set_random_state(state)


@pytest.mark.parametrize(
    ("state", "where"),
    [
        ({"a": [1, {2}]}, r"state\['a'\]\[1\] is set"),
        ({"a": np.zeros(2)}, r"state\['a'\] is ndarray"),
        ({(1, 2): 3}, "a key of state is tuple"),
        (torch.Size([2]), "state is Size"),
        ({"m": torch.empty(2, device="meta")}, r"state\['m'\] is a torch.strided tensor on meta"),
    ],
)
def test_what_is_not_plain_is_refused_before_anything_is_written(tmp_path, state, where):
    with pytest.raises(TypeError, match=where):
        save_state(tmp_path / "c", state)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_torn_or_foreign_file_is_named(tmp_path):
    path = tmp_path / "c.safetensors"
    with pytest.raises(UserError, match=r"found no file .*c\.safetensors; start the run without --resume"):
        load_state(path)
    save_state(path, {"w": torch.ones(100)})
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"c\.safetensors cannot be read"):
        load_state(path)
    from safetensors.torch import save_file

    save_file({"w": torch.ones(1)}, path)
    with pytest.raises(UserError, match="has format None, expected 'ofmu-checkpoint-1'"):
        load_state(path)


@pytest.mark.parametrize("failing", ["fsync", "replace"])
@pytest.mark.parametrize("before", [True, False])
def test_a_full_disk_leaves_the_previous_checkpoint_and_no_rubbish(tmp_path, monkeypatch, failing, before):
    path = tmp_path / "c"
    if before:
        save_state(path, {"step": 1})

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, failing, full)
        with pytest.raises(UserError) as caught:
            save_state(path, {"step": 2, "w": torch.zeros(2**18)})
    message = str(caught.value)
    assert str(path) in message
    assert "1.0 MiB needed" in message
    assert "free" in message
    assert ("previous checkpoint there is whole" in message) is before
    assert [file.name for file in tmp_path.iterdir()] == (["c"] if before else [])
    assert not before or load_state(path) == {"step": 1}


def test_other_write_errors_are_not_taken_for_a_full_disk(tmp_path):
    with pytest.raises(FileNotFoundError):
        save_state(tmp_path / "missing" / "c", {})


KILLER = """
import os, random, signal, sys, time, torch
from pathlib import Path
from ofmu.engine.checkpoint import load_state, save_state
torch.set_num_threads(1)
path, moments, step, torn = Path(sys.argv[1]), random.Random(0), 0, 0

def write_for_ever(step):
    while True:
        save_state(path, {"first": step, "w": torch.full((300_000,), float(step)), "last": step})
        step += 1

for _ in range(25):
    writer = os.fork()  # one import of torch for all of them
    if not writer:
        write_for_ever(step)
    time.sleep(moments.uniform(0.005, 0.05))
    os.kill(writer, signal.SIGKILL)
    os.waitpid(writer, 0)
    torn += (path.parent / ".c.tmp").exists()
    if path.exists():
        state = load_state(path)
        assert state["first"] == state["last"] >= step - 1, state
        assert torch.equal(state["w"], torch.full((300_000,), float(state["last"])))
        step = state["last"] + 1
print(step, torn)
"""


def test_a_kill_at_any_moment_leaves_a_whole_checkpoint(tmp_path):
    command = [sys.executable, "-c", KILLER, str(tmp_path / "c")]
    steps, torn = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split()
    assert int(steps) > 0  # some were saved, and some kills fell inside a write
    assert int(torn) > 0
    assert len(list(tmp_path.iterdir())) <= 2  # the leftovers of kills do not pile up
    save_state(tmp_path / "c", {"step": -1})
    assert [file.name for file in tmp_path.iterdir()] == ["c"]


def test_a_kill_within_a_write_leaves_the_previous_checkpoint(tmp_path):
    # The random moments above may miss the write itself: here the process dies with half of it done.
    path = tmp_path / "c"
    save_state(path, {"step": 1})
    program = """
import os, signal, sys
from pathlib import Path
from ofmu.engine.files import write_whole
def pieces():
    yield b"x" * 100_000
    os.kill(os.getpid(), signal.SIGKILL)
write_whole(Path(sys.argv[1]), pieces())
"""
    done = subprocess.run([sys.executable, "-c", program, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert load_state(path) == {"step": 1}
    assert (tmp_path / ".c.tmp").exists()
