import errno
import hashlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ofmu.engine import measure
from ofmu.engine.hashing import content_key, ids_fingerprint, model_fingerprint
from ofmu.engine.measure import Meter
from ofmu.engine.store import Store, default_root
from ofmu.errors import UserError


def write(text):
    return lambda folder: (folder / "data").write_text(text) and None


def refuse(folder):
    raise AssertionError("made again")


def names(folder):
    return sorted(path.name for path in folder.iterdir() if path.name != ".locks")


# ---- keys and fingerprints


def test_the_key_is_the_hash_of_canonical_json():
    parts = {"b": [1, 2.5, None], "a": {"é": True}}
    text = '{"a":{"é":true},"b":[1,2.5,null]}'
    assert content_key(parts) == hashlib.sha256(text.encode()).hexdigest()
    assert content_key({"a": {"é": True}, "b": (1, 2.5, None)}) == content_key(parts)


simple = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text()
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(), inner, max_size=3)),
    max_leaves=8,
)


@given(parts=st.dictionaries(st.text(), simple, max_size=4))
def test_the_order_of_a_dict_does_not_count_and_json_keeps_the_key(parts):
    assert content_key(dict(reversed(parts.items()))) == content_key(parts)
    assert content_key(json.loads(json.dumps(parts))) == content_key(parts)


@pytest.mark.parametrize(
    ("one", "other"), [(1, 1.0), (1, True), (1, "1"), (0.0, -0.0), ([1, 2], [2, 1]), (None, "")]
)
def test_unlike_parts_have_unlike_keys(one, other):
    assert content_key({"a": one}) != content_key({"a": other})


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (float("nan"), ValueError, r"key parts\['a'\] is nan"),
        ([float("inf")], ValueError, r"key parts\['a'\]\[0\] is inf"),
        ({1: 2}, TypeError, r"key parts\['a'\]: key 1 is int"),
        (Path("x"), TypeError, r"key parts\['a'\] is \w+Path"),
    ],
)
def test_what_json_cannot_say_is_refused(value, error, message):
    with pytest.raises(error, match=message):
        content_key({"a": value})


def test_a_models_fingerprint_depends_on_names_shapes_dtypes_and_every_bit():
    def linear(weight):
        model = torch.nn.Linear(2, 3, bias=False)
        model.weight = torch.nn.Parameter(weight)
        return model

    weight = torch.arange(6.0).reshape(3, 2)
    base = model_fingerprint(linear(weight))
    assert model_fingerprint(linear(weight.clone().requires_grad_(False))) == base
    nudged = weight.clone()
    nudged[2, 1] = torch.nextafter(nudged[2, 1], torch.tensor(9.0))
    others = [nudged, -weight * 0.0, weight.reshape(2, 3), weight.double(), weight.t().contiguous().t() + 1]
    prints = [model_fingerprint(linear(other)) for other in others]
    prints += [model_fingerprint(torch.nn.Sequential(linear(weight))), base]
    assert len(set(prints)) == len(prints)
    assert model_fingerprint(linear(weight.t().contiguous().t())) == base  # the same values in another layout


def test_a_models_fingerprint_sees_buffers_and_not_the_order_of_its_parts():
    norm = torch.nn.BatchNorm1d(2)
    before = model_fingerprint(norm)
    norm.running_mean.add_(1)
    assert model_fingerprint(norm) != before
    parts = {"a": torch.nn.Linear(1, 1), "b": torch.nn.Linear(1, 1)}
    forward = torch.nn.Sequential(OrderedDict(parts))
    backward = torch.nn.Sequential(OrderedDict(reversed(parts.items())))
    assert model_fingerprint(forward) == model_fingerprint(backward)


def test_ids_are_told_apart_by_bounds_and_order():
    prints = [ids_fingerprint(ids) for ids in (["ab", "c"], ["a", "bc"], ["c", "ab"], ["ab"], [], ["abc"])]
    assert len(set(prints)) == 6
    assert ids_fingerprint(iter(["ab", "c"])) == prints[0]


# ---- the store


def test_an_entry_is_made_once(tmp_path):
    store = Store(tmp_path / "store")
    folder = store.get_or_make({"seed": 1}, write("abc"), note="retrain, seed 1")
    assert folder == tmp_path / "store" / content_key({"seed": 1})
    assert (folder / "data").read_text() == "abc"
    assert Store(tmp_path / "store").get_or_make({"seed": 1}, refuse) == folder
    assert store.get_or_make({"seed": 2}, write("d")) != folder
    (entry,) = (entry for entry in store.entries() if entry.key == folder.name)
    assert (dict(entry.parts), entry.bytes, entry.note) == ({"seed": 1}, 3, "retrain, seed 1")
    assert entry.seconds >= 0
    assert json.loads((folder / "entry.json").read_text())["parts"] == {"seed": 1}


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failed_make_leaves_nothing(tmp_path, error):
    store = Store(tmp_path)

    def fail(folder):
        (folder / "half").touch()
        raise error("stop")

    with pytest.raises(error, match="stop"):
        store.get_or_make({}, fail)
    assert names(tmp_path) == []
    assert (store.get_or_make({}, write("x")) / "data").read_text() == "x"


def test_a_full_disk_is_explained_and_leaves_nothing(tmp_path):
    def fill(folder):
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(UserError, match=r"store: no space left for .*free\). The store's other entries are whole"):
        Store(tmp_path).get_or_make({}, fill)
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "entry.json").unlink(),
        lambda folder: (folder / "entry.json").write_text("{"),
        lambda folder: (folder / "entry.json").write_text('{"key": 1}'),
        lambda folder: (folder / "data").write_text("sho"),
        lambda folder: (folder / "data").unlink(),
    ],
    ids=["no entry.json", "torn entry.json", "wrong entry.json", "truncated", "missing"],
)
def test_a_broken_entry_is_made_anew(tmp_path, damage):
    store = Store(tmp_path)
    damage(store.get_or_make({}, write("short")))
    assert store.entries() == []
    assert (store.get_or_make({}, write("whole")) / "data").read_text() == "whole"
    assert len(store.entries()) == 1


def test_make_may_not_write_the_stores_own_file(tmp_path):
    with pytest.raises(ValueError, match=r"make wrote entry\.json"):
        Store(tmp_path).get_or_make({}, lambda folder: (folder / "entry.json").touch())


def test_an_entry_can_be_made_from_another(tmp_path):
    store = Store(tmp_path)

    def outer(folder):
        inner = store.get_or_make({"a": 1}, write("inner"))
        (folder / "data").write_text((inner / "data").read_text() + " and outer")

    assert (store.get_or_make({"a": 2}, outer) / "data").read_text() == "inner and outer"


def race(root, log, start):
    def make(folder):
        with open(log, "a") as file:
            file.write(f"{os.getpid()}\n")
        time.sleep(0.2)
        (folder / "data").write_text(str(os.getpid()))

    start.wait()
    folder = Store(root).get_or_make({"race": 1}, make)
    assert (folder / "data").read_text() in Path(log).read_text().split()


def test_of_racing_processes_one_makes_the_entry(tmp_path):
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(2)
    arguments = (tmp_path / "store", tmp_path / "log", start)
    racers = [context.Process(target=race, args=arguments) for _ in range(2)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join(60)
    assert [racer.exitcode for racer in racers] == [0, 0]
    assert len((tmp_path / "log").read_text().split()) == 1
    assert names(tmp_path / "store") == [content_key({"race": 1})]


def kill_while_making(root):
    program = """
import os, signal, sys
from pathlib import Path
from ofmu.engine.store import Store
def make(folder):
    (folder / "half").touch()
    os.kill(os.getpid(), signal.SIGKILL)
Store(Path(sys.argv[1])).get_or_make({"a": 1}, make)
"""
    done = subprocess.run([sys.executable, "-c", program, str(root)], check=False)
    assert done.returncode == -signal.SIGKILL


def test_a_killed_make_is_never_seen_and_is_cleared_away(tmp_path):
    store = Store(tmp_path)
    kill_while_making(tmp_path)
    assert store.entries() == []
    assert names(tmp_path) == [".making-" + content_key({"a": 1})]
    folder = store.get_or_make({"a": 1}, write("x"))
    assert names(folder) == ["data", "entry.json"]
    assert names(tmp_path) == [folder.name]


def test_prune_removes_the_least_recently_used_and_all_rubbish(tmp_path):
    store = Store(tmp_path)
    folders = [store.get_or_make({"n": n}, write("x" * 10)) for n in range(4)]
    for age, folder in enumerate(folders):
        os.utime(folder / "entry.json", (1000 + age, 1000 + age))
    store.get_or_make({"n": 0}, refuse)  # used now
    assert [entry.parts["n"] for entry in store.entries()] == [1, 2, 3, 0]
    making = tmp_path / (".making-" + "a" * 64)
    making.mkdir()
    (folders[3] / "data").unlink()  # broken
    for foreign in ("thesis", ".config"):
        (tmp_path / foreign).mkdir()
    assert [entry.parts["n"] for entry in store.prune(25)] == [1]
    assert names(tmp_path) == sorted([folders[0].name, folders[2].name, "thesis", ".config"])
    assert len(store.prune(0)) == 2
    assert names(tmp_path) == [".config", "thesis"]
    with pytest.raises(UserError, match="max_bytes: found -1"):
        store.prune(-1)


def test_prune_leaves_what_is_being_made(tmp_path):
    store = Store(tmp_path)

    def make(folder):
        (folder / "data").write_text("kept")
        assert Store(tmp_path).prune(0) == []

    assert (store.get_or_make({}, make) / "data").read_text() == "kept"


def test_remove_takes_keys_only(tmp_path):
    store = Store(tmp_path / "store")
    folder = store.get_or_make({}, write("x"))
    (tmp_path / "precious").mkdir()
    for wrong in ("", ".locks", "../precious", "f" * 64):
        with pytest.raises(UserError, match="found no entry"):
            store.remove(wrong)
    store.remove(folder.name)
    assert names(tmp_path / "store") == []


def test_where_the_store_lives(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_root({}) == default_root({"OFMU_STORE": ""}) == tmp_path / ".cache" / "ofmu"
    assert default_root({"OFMU_STORE": "~/big"}) == tmp_path / "big"
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file/store cannot be made .* set OFMU_STORE"):
        Store(tmp_path / "file" / "store")


# ---- meters


def test_a_meter_tells_wall_time_from_processor_time():
    with Meter() as meter:
        with pytest.raises(RuntimeError, match="still runs"):
            _ = meter.usage
        time.sleep(0.2)
    assert 0.2 <= meter.usage.wall_seconds < 2
    assert meter.usage.cpu_seconds < 0.15
    with Meter() as meter:
        until = time.process_time() + 0.1
        while time.process_time() < until:
            pass
    assert meter.usage.cpu_seconds >= 0.1


def test_a_meter_sees_a_peak_that_is_gone_and_not_one_before_it():
    big = torch.zeros(2**25)  # 128 MiB, touched
    del big
    with Meter() as quiet:
        pass
    with Meter() as outer:
        big = torch.zeros(2**25)
        del big
        with Meter() as inner:
            pass
    if quiet.usage.process_wide:
        pytest.skip("this system cannot reset the high-water mark of memory")
    size = 2**27
    assert quiet.usage.peak_bytes - quiet.usage.start_bytes < size / 4
    assert inner.usage.peak_bytes - inner.usage.start_bytes < size / 4
    assert outer.usage.peak_bytes - outer.usage.start_bytes > size * 0.9  # though the inner meter reset the mark


def test_where_the_mark_cannot_be_reset_the_peak_is_said_to_be_the_process_own(monkeypatch, tmp_path):
    monkeypatch.setattr(measure, "_STATUS", tmp_path / "missing")
    with Meter() as meter:
        pass
    assert meter.usage.process_wide
    assert meter.usage.start_bytes is None
    assert meter.usage.peak_bytes > 2**25  # torch alone takes more


def test_a_meter_without_cuda_reports_no_cuda_peak():
    with Meter() as meter:
        pass
    assert (meter.usage.cuda_peak_bytes is None) is not torch.cuda.is_available()
