"""What the processes of a test do; called by `processes.together`, never collected."""

from __future__ import annotations

import json
import os
import random
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed.checkpoint
import torch.distributed.device_mesh
import torch.distributed.fsdp
import transformers.models.llama.modeling_llama
from accelerate import Accelerator, PartialState
from safetensors.torch import load_file
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import Shard, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from ofmu.benchmarks.accuracy.problems import Words, cnn
from ofmu.benchmarks.cost.workloads import adapted
from ofmu.benchmarks.parallel import runs
from ofmu.cli import watching
from ofmu.cli.main import run
from ofmu.core.oracle import TorchOracle
from ofmu.core.vectors import bad, copy_of
from ofmu.engine import sharded_checkpoint
from ofmu.engine.checkpoint import random_state
from ofmu.engine.launched import Processes, joined
from ofmu.engine.loop import Event, unlearn
from ofmu.engine.parallel import parallel_oracle
from ofmu.engine.shard import export_safetensors, shard, whole_state
from ofmu.engine.sharded_checkpoint import load_sharded, newest, save_sharded
from ofmu.errors import UserError
from ofmu.losses import class_nll
from ofmu.methods import OFMU
from ofmu.tasks import Task
from small import images, llama, net, task, texts

PRELOADED = (PartialState, torch.distributed.checkpoint, transformers)  # imported once, before processes fork


def some_state(processes: Processes, seed: int) -> dict:
    """Replicas, tensors sharded evenly and not, numbers JSON cannot say, and each process's own generators."""
    torch.manual_seed(seed)
    whole = [torch.randn(3, 2), torch.randn(1, 4, dtype=torch.float64), torch.randn(())]
    cut = [distribute_tensor(t, processes.mesh, [Shard(0)]) for t in whole[:2]]
    for generator in (torch.manual_seed, np.random.seed, random.seed):
        generator(100 * seed + processes.rank)
    return {
        "step": 3 + seed,
        "numbers": (float("inf"), float("nan"), 0.1, None, True, "ü"),
        "moments": {0: {"exp_avg": cut[0], "step": torch.tensor(7.0)}, 1: {"exp_avg": cut[1]}},
        "parameters": [whole[0], whole[1].bfloat16(), whole[2].to(torch.complex64), torch.empty(0, 3)],
        "random": random_state(),
    }


def alike(a: object, b: object) -> bool:
    """Equal bit for bit, types and placements included."""
    if hasattr(a, "device_mesh"):
        return a.placements == b.placements and a.shape == b.shape and alike(a.to_local(), b.to_local())
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and torch.equal(a, b)
    if isinstance(a, dict):
        return list(a) == list(b) and all(alike(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(alike, a, b))
    return type(a) is type(b) and (a == b or (a != a and b != b))


def checkpoint(processes: Processes, folder: Path) -> None:
    """Whole or absent, bit for bit, own parts own, each kind of damage refused."""
    first, second = some_state(processes, 1), some_state(processes, 2)
    place = folder / "checkpoint"
    with pytest.raises(UserError, match="found no save"):
        load_sharded(place, processes)
    save_sharded(place, first, processes)
    assert alike(load_sharded(place, processes), first)
    assert not alike(load_sharded(place, processes), second)
    for broken in ("write", "dcp", "rename"):
        with pytest.MonkeyPatch.context() as patch:
            break_save(patch, broken, processes)
            with pytest.raises((UserError, OSError), match=r"broken|stopped"):
                save_sharded(place, second, processes)
        assert alike(load_sharded(place, processes), first)
    save_sharded(place, second, processes)
    assert alike(load_sharded(place, processes), second)
    assert sorted(path.name for path in place.iterdir()) == ["save-2"]
    assert newest(place) == place / "save-2"


def break_save(patch: pytest.MonkeyPatch, where: str, processes: Processes) -> None:
    """One process alone fails: in writing its own file, inside torch's save, or before the rename."""

    def fail(*args: object, **more: object) -> None:
        raise OSError(f"broken {where}")

    if where == "write" and processes.rank == 1:
        patch.setattr(sharded_checkpoint, "write_whole", fail)
    if where == "dcp" and processes.rank == 1:
        from torch.distributed.checkpoint import filesystem

        patch.setattr(filesystem, "_write_item", fail)
    if where == "rename" and processes.rank == 0:
        patch.setattr(os, "replace", fail)


def killed(processes: Processes, folder: Path) -> None:
    """The first save is whole; in the second, process 1 is gone while its tensors are being written."""
    place = folder / "checkpoint"
    save_sharded(place, some_state(processes, 1), processes)
    if processes.rank == 1:
        from torch.distributed.checkpoint import filesystem

        filesystem._write_item = lambda *args, **more: os._exit(9)
    save_sharded(place, some_state(processes, 2), processes)


def after_kill(processes: Processes, folder: Path) -> None:
    place = folder / "checkpoint"
    assert (place / ".saving").is_dir()
    assert alike(load_sharded(place, processes), some_state(processes, 1))
    save_sharded(place, some_state(processes, 2), processes)
    assert alike(load_sharded(place, processes), some_state(processes, 2))
    assert sorted(path.name for path in place.iterdir()) == ["save-2"]


def other_size(processes: Processes, folder: Path) -> None:
    with pytest.raises(UserError, match="was saved by 2 processes, found 1; go on with --nproc_per_node 2"):
        load_sharded(folder / "checkpoint", processes)


def image_task(dtype: torch.dtype) -> Task:
    """Batches of 5, 5 and 1 forgotten samples: an uneven share, and a process that has none."""
    forget, retain = images(11, 1), images(21, 2)
    for part in (forget, retain):
        part.pixels = part.pixels.to(dtype)
    tau = [1.2 + 0.1 * i for i in range(11)]
    return task(forget, retain, tau, retain_level=1.0, forget_batch=5, retain_batch=7)


def text_task(dtype: torch.dtype) -> Task:
    """Questions and answers of 1 to 5 tokens: shares of unlike widths and weights."""
    forget, retain = texts(7, 1), texts(11, 2)
    tau = [torch.full((len(answer),), 9.0) for _, answer in forget.pairs]
    return task(forget, retain, tau, retain_level=3.3, forget_batch=3, retain_batch=5)


def lora() -> nn.Module:
    """Trained and frozen parameters, the same on every process."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return adapted(llama(), 2, 0.05)


def kinked() -> nn.Module:
    """A convolution, BatchNorm, ReLU and max-pool: masks that probes hold."""
    with torch.random.fork_rng():
        return cnn(nn.ReLU, nn.MaxPool2d)


WORLDS: dict[str, tuple[Callable, Callable]] = {
    "images": (net, image_task),
    "kinks": (kinked, image_task),
    "words": (Words, text_task),
    "llama": (llama, text_task),
    "lora": (lora, text_task),
}
METHODS = {  # few steps in each loop: what costs time here is that processes wait for each other
    "printed": OFMU.paper(inner_steps=2, inner_lr=0.05, outer_lr=0.05, rho=0.1),
    "default": OFMU(inner_steps=2, repair=(1, 2)),
    "text preset": replace(OFMU.text(1e-3), inner_steps=2, repair=(1, 2), beta=0.1),
}
BOTH = (torch.float32, torch.float64)
RUNS = [  # what runs on which engine, with which derivatives, how many samples together, in which precision
    ("images", "printed", "ddp", "exact", None, BOTH),
    ("images", "default", "ddp", "exact", 2, BOTH),
    ("images", "printed", "ddp", "differences", None, BOTH),
    ("images", "default", "ddp", "differences", 2, BOTH),
    ("images", "printed", "fsdp2", "differences", None, BOTH),
    ("images", "default", "fsdp2", "differences", 2, BOTH),
    ("images", "printed", "ddp", "auto", None, BOTH),
    ("kinks", "printed", "ddp", "differences", None, BOTH),
    ("kinks", "printed", "fsdp2", "differences", 2, BOTH),
    ("words", "printed", "ddp", "exact", 1, BOTH),
    ("words", "text preset", "ddp", "differences", None, BOTH),
    ("words", "printed", "fsdp2", "differences", None, BOTH),
    ("llama", "printed", "ddp", "exact", None, BOTH[:1]),
    ("llama", "text preset", "fsdp2", "differences", None, BOTH[:1]),
    ("lora", "printed", "fsdp2", "differences", None, BOTH[:1]),
]


def moved(processes: Processes, kind: tuple, dtype: torch.dtype, alone: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """(θ₀, θ) of three outer iterations, whole; the single process runs every batch at once."""
    world, method, engine, derivatives, micro, _ = kind
    products, scheme = ("differences", "auto") if derivatives == "auto" else (derivatives, "central")
    module, given = WORLDS[world][0]().to(dtype), WORLDS[world][1](dtype)
    where = ("none", products) if alone else (engine, products)
    return runs.moved(module, given, METHODS[method], processes, *where, scheme, None if alone else micro)


def agree(processes: Processes, folder: Path) -> None:
    """‖θ of all − θ of one‖ / ‖θ of one − θ₀‖ for every run, in float32 and float64."""
    found = {}
    for kind in RUNS:
        for dtype in kind[5]:
            start, one = moved(processes, kind, dtype, alone=True)
            _, many = moved(processes, kind, dtype, alone=False)
            assert processes.gather(many.tolist())[0] == many.tolist()  # bit for bit alike everywhere
            name = " ".join(map(str, (*kind[:4], f"micro={kind[4]}", str(dtype).removeprefix("torch."))))
            found[name] = float((many - one).norm() / (one - start).norm())
            print(f"{found[name]:.1e} {name}", flush=True)
    if processes.leads:
        (folder / "agree.json").write_text(json.dumps(found, indent=1))


def sharded_problem(processes: Processes, engine: str) -> tuple[Task, TorchOracle]:
    products = "differences" if engine == "fsdp2" else "exact"
    module = net().float()
    if engine == "fsdp2":
        shard(module, processes)
    asked = {"products": products, "outer": products, "scheme": "auto"}
    return image_task(torch.float32), parallel_oracle(module, processes, engine, **asked)


def resume(processes: Processes, folder: Path) -> None:
    """Four steps at once, and two, a checkpoint, two more: bit for bit, on each engine, with Adam's moments."""
    method = replace(METHODS["text preset"], forget=OFMU().forget)
    for engine in ("ddp", "fsdp2"):
        given, oracle = sharded_problem(processes, engine)
        whole = [(e.step, e.log, e.cost) for e in unlearn(given, method, oracle, 4)]
        expected = copy_of(oracle.params)
        given, oracle = sharded_problem(processes, engine)
        for event in unlearn(given, method, oracle, 4):
            if event.step == 2:
                break
        save_sharded(folder / engine, event.snapshot(), processes)
        given, oracle = sharded_problem(processes, engine)
        with torch.no_grad():
            for p in oracle.params:
                p.add_(1.0)  # whatever the new processes start from
        saved = load_sharded(folder / engine, processes)
        resumed = [(e.step, e.log, e.cost) for e in unlearn(given, method, oracle, 4, resume=saved)]
        assert resumed == whole[2:]
        assert alike(copy_of(oracle.params), expected)


def refusals(processes: Processes, folder: Path) -> None:
    """What would be silently wrong, or cannot be, is refused; what Accelerate wrapped for DDP is taken."""
    plain = net()
    with pytest.raises(UserError, match="fsdp2: 0\\.weight and 3 more parameters are not sharded"):
        parallel_oracle(plain, processes, "fsdp2", products="differences", outer="differences")
    cut = shard(net(), processes)
    with pytest.raises(UserError, match="expected differences for both"):
        parallel_oracle(cut, processes, "fsdp2")
    with pytest.raises(UserError, match="ddp: the model's parameters are sharded"):
        parallel_oracle(cut, processes, "ddp")
    mixed = net()
    mixed[0].float()
    with pytest.raises(UserError, match="expected one dtype"):
        shard(mixed, processes)
    other = net(seed=processes.rank)  # replicas start from process 0's, even if they were made differently
    oracle = parallel_oracle(DistributedDataParallel(other), processes, "ddp")
    assert type(oracle.model) is torch.nn.Sequential
    assert alike(copy_of(oracle.params), copy_of(list(net(seed=0).parameters())))
    oracle.move(float("nan") if processes.rank == 1 else 0.0, [torch.ones_like(p) for p in oracle.params])
    assert float(oracle.group.total(bad(oracle.params))) == 1.0  # one process's trouble is everyone's


def whole(processes: Processes, folder: Path) -> None:
    """A sharded model is exported as the plain one, and a root that keeps what it gathered is told not to."""
    module = net()
    expected = {name: value.clone() for name, value in module.state_dict().items()}
    fully_shard(module, mesh=processes.mesh)
    oracle = parallel_oracle(module, processes, "fsdp2", products="differences", outer="differences")
    batch = images(5, 1).batch(range(5))
    before = float(oracle.values(class_nll, batch).mean())
    oracle.move(1.0, [torch.ones_like(p) for p in oracle.params])
    assert float(oracle.values(class_nll, batch).mean()) != before
    export_safetensors(module, folder / "model.safetensors", processes)
    found = load_file(folder / "model.safetensors")
    assert alike(found, {name: expected[name] + 1.0 for name in found})
    assert set(found) == set(expected)
    assert (whole_state(module, processes) is None) == (processes.rank == 1)


def prepared(processes: Processes, folder: Path) -> None:
    """What Accelerate has prepared is taken as it is, and steps as the module itself does."""
    made = Accelerator(cpu=True).prepare(net())
    assert isinstance(made, DistributedDataParallel)
    ends = []
    for module in (made, net()):
        oracle = parallel_oracle(module, processes, "ddp")
        taken = list(unlearn(image_task(torch.float64), METHODS["printed"], oracle, 2))
        assert len(taken) == 2
        ends.append(copy_of(oracle.params))
    assert alike(*ends)
    assert not alike(ends[0], copy_of(list(net().parameters())))


def together_or_not(processes: Processes, folder: Path) -> None:
    """An error of one process is an error of all."""
    divisor = 1 - processes.rank
    with pytest.raises(ZeroDivisionError if processes.rank else UserError, match=r"zero|process 1 of 2"):  # noqa: SIM117
        with processes.together():
            assert 1 / divisor == 1
    assert processes.of_leader(lambda: processes.rank + 7) == 7
    assert processes.any(processes.rank == 1)
    assert not processes.any(False)


def small_cases(processes: Processes, folder: Path) -> None:
    for case in (refusals, whole, prepared, together_or_not, resume):
        case(processes, folder)


def command(folder: Path) -> None:
    """The command line in two processes: a whole run with ddp; one with fsdp2 that process 1 is asked to stop."""
    rank = int(os.environ["RANK"])
    assert unlearnt(folder, 0, "ddp") == 0
    with pytest.MonkeyPatch.context() as patch:
        event = watching.Watch.event

        def stopped(watch: object, last: Event) -> None:
            event(watch, last)
            if rank == 1 and last.step == 2:
                os.kill(os.getpid(), signal.SIGINT)

        patch.setattr(watching.Watch, "event", stopped)
        assert unlearnt(folder, 1, "fsdp2") == 130
    assert (folder / "fsdp2.partial" / "checkpoint" / "save-2").is_dir()
    assert unlearnt(folder, 1, "fsdp2", "--resume") == 0
    assert unlearnt(folder, 2, "again", "--parallel", "fsdp2") == 0
    assert run(["evaluate", "--model", "x"]) == 2
    assert unlearnt(folder, 2, "none") == 2
    assert unlearnt(folder, 3, "missing", "--base", "nowhere") == 2


def unlearnt(folder: Path, group: int, out: str, *more: str) -> int:
    """The exit code of one command; each new group of processes meets at a port of its own."""
    os.environ["MASTER_PORT"] = (folder / "ports").read_text().split()[group]
    words = json.loads((folder / "arguments.json").read_text())
    parallel = ["--parallel", out] if out in ("fsdp2", "none") else []
    return run(["unlearn", *words, "--out", str(folder / out), *parallel, *more])


def main(case: str, folder: Path) -> None:
    torch.set_num_threads(1)
    if case == "command":
        command(folder)
        return
    with joined("ddp") as processes:
        globals()[case](processes, folder)
