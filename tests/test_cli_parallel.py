"""The command line in two processes: what one process gives, stopped together, resumed bit for bit."""

from __future__ import annotations

import json
import sys

import pytest
import torch

from cli_world import image_world, parameters, same
from ofmu.cli.main import run
from processes import environment, free_port, together

STEPS = ("--method", "ofmu-paper", "--steps", "3", "--budget", "1000000", "--checkpoint-every", "10")


def distance(a, b, start):
    """‖a − b‖ / ‖b − start‖ over all parameters."""
    a, b, start = (torch.cat([x.double().reshape(-1) for x in model.values()]) for model in (a, b, start))
    return float((a - b).norm() / (b - start).norm())


def test_two_processes_write_the_model_of_one_and_stop_and_resume_together(tmp_path, capfd):
    world = image_world(tmp_path)
    words = world.arguments(tmp_path / "one", *STEPS)
    assert run(words) == 0
    (tmp_path / "arguments.json").write_text(json.dumps([w for w in words[1:] if w not in ("--out", words[2])]))
    (tmp_path / "ports").write_text(" ".join(str(free_port()) for _ in range(4)))
    together("command", tmp_path)
    start, one = parameters(world.model), parameters(tmp_path / "one" / "model")
    assert distance(parameters(tmp_path / "ddp" / "model"), one, start) <= 1e-5
    assert distance(parameters(tmp_path / "fsdp2" / "model"), one, start) <= 3e-2  # differences, not exact
    assert same(parameters(tmp_path / "fsdp2" / "model"), parameters(tmp_path / "again" / "model"))
    assert sorted(p.name for p in (tmp_path / "ddp").iterdir()) == sorted(
        p.name for p in (tmp_path / "one").iterdir()
    )
    assert not list(tmp_path.glob("*.partial"))
    said, silent = ((tmp_path / f"command-{rank}.err").read_text() for rank in (0, 1))
    assert silent == ""
    for text in (
        "only `ofmu unlearn` works in several",
        "--parallel: found none with 2",
        "--base: serves text models",
    ):
        assert text in said


LAUNCHERS = {
    "torchrun": ("torch.distributed.run", "--nproc_per_node", "2", "--master_port"),
    # --multi_gpu, since --cpu starts one process whatever is asked for; without a GPU they run on the CPU
    "accelerate launch": (
        "accelerate.commands.launch",
        *("--multi_gpu", "--num_processes", "2", "--num_machines", "1", "--mixed_precision", "no"),
        *("--dynamo_backend", "no", "--main_process_port"),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_launcher_starts_it_and_a_single_process_does_not_take_it_over(launcher, tmp_path, capfd):
    import subprocess

    world = image_world(tmp_path)
    words = world.arguments(tmp_path / "out", *STEPS)
    launch = ["-m", *LAUNCHERS[launcher], str(free_port()), "-m", "ofmu"]
    variables = {k: v for k, v in environment(0, 2, 0).items() if k not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    done = subprocess.run([sys.executable, *launch, *words], env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("OFMU") > 0
    assert done.stdout.count("stopped because") == 1  # one process speaks
    assert run([*words, "--parallel", "ddp", "--overwrite"]) == 2
    assert "needs processes that a launcher started" in capfd.readouterr().err.replace("\n", " ")
