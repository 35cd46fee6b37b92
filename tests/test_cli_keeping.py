"""`--gate-every`: the best state is kept by the stated rule, and a stopped run keeps the same one bit for bit."""

import json
import os
import shutil
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from cli_world import World, image_world, parameters, same
from ofmu.cli import gating, keeping, watching
from ofmu.cli.attack import case_of
from ofmu.cli.job import Progress
from ofmu.cli.main import run
from ofmu.evidence.finding import Finding, judged
from ofmu.evidence.gates import Gate, Outcome, Standing, decide, standing

RUN = ("--method", "graddiff", "--steps", "7", "--budget", "1000000", "--checkpoint-every", "3", "--lr", "0.1")
GATES = ("--gate", "mia=0.2,quantise=0.2", "--gate-every", "2")


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    return image_world(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module", autouse=True)
def no_control():
    """The tiny model was never trained: with it as the control all attacks are blind, and all states equal."""

    def without(loaded, request, retrains, original, *more):
        return case_of(loaded, request, retrains, None, *more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gating, "case_of", without)
        yield


@pytest.fixture(scope="module")
def kept(world, tmp_path_factory):
    """A whole run with gates after every other of its 7 steps."""
    out = tmp_path_factory.mktemp("kept") / "out"
    assert world.unlearn(out, *RUN, *GATES) in (0, 5)
    return out


def events(out):
    return [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]


def test_the_state_that_does_best_is_what_out_holds(world, kept, tmp_path):
    gated = [event for event in events(kept) if "gates" in event]
    assert [event["step"] for event in gated] == [2, 4, 6, 7]
    best = min(gated, key=lambda e: [e["gates"][name] for name in ("missed", "excess", "retain_loss")])
    assert best["step"] < 7
    states = json.loads((kept / "scores.json").read_text())["evidence"]["states"]
    assert states["kept"] == best["step"]
    assert states["attacked"] == [{"step": event["step"], **event["gates"]} for event in gated]
    plain = tmp_path / "plain"
    until = ("--steps", str(best["step"]))
    assert world.unlearn(plain, *RUN[:2], *until, *RUN[4:]) == 0  # attacks changed nothing on the way
    assert same(parameters(plain / "model"), parameters(kept / "model"))
    page = (kept / "report.html").read_text()
    assert "Which state was kept" in page
    assert f"<strong>{best['step']}, kept</strong>" in page
    assert "which favours it; the unseen rows" in page  # --test judges, --heldout chose


@pytest.mark.parametrize("moment", ["step", "attack"])
def test_stopped_at_a_step_or_in_an_attack_it_ends_with_the_same_state(world, kept, tmp_path, monkeypatch, moment):
    words = world.arguments(tmp_path / "out", *RUN, *GATES)
    place, name = (watching.Watch, "event") if moment == "step" else (keeping.Keeper, "_attacked")
    inner, seen = getattr(place, name), []

    def stop_at_the_third(self, *given):
        seen.append(1)
        if len(seen) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return inner(self, *given)

    with monkeypatch.context() as patch:
        patch.setattr(place, name, stop_at_the_third)
        assert run(words) == 130
    assert run([*words, "--resume"]) in (0, 5)
    assert same(parameters(kept / "model"), parameters(tmp_path / "out" / "model"))
    assert events(kept) == events(tmp_path / "out")


def test_other_gates_are_another_run(world, tmp_path, monkeypatch, capsys):
    words = world.arguments(tmp_path / "out", *RUN, *GATES)
    with monkeypatch.context() as patch:
        patch.setattr(watching.Watch, "event", lambda self, seen: os.kill(os.getpid(), signal.SIGINT))
        assert run(words) == 130
    assert run([*words[:-1], "3", "--resume"]) == 2
    assert "--gate-every" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "expected"), [(("--gate-every", "2"), "no --gate"), ((*GATES[:3], "0"), "least 1")]
)
def test_mistakes_are_explained(world, tmp_path, capsys, more, expected):
    assert world.unlearn(tmp_path / "out", *more) == 2
    assert expected in " ".join(capsys.readouterr().err.split())


def test_states_are_ordered_by_the_rule():
    held, missed = (Outcome(Gate("mia"), ok, "", excess) for ok, excess in ((True, 0.0), (False, 0.3)))
    assert standing([held, missed], 1.5) == Standing(1, 0.3, 1.5)
    assert standing([held, held], 9.0) < standing([held, missed], 0.1)
    assert Standing(1, 0.1, 2.0) < Standing(1, 0.2, 1.0)
    assert Standing(1, 0.1, 1.0) < Standing(1, 0.1, 2.0)


def test_the_excess_of_a_gate_by_hand():
    rows = torch.arange(40, dtype=torch.float64).numpy()
    seen, unseen = judged(Finding("loss", "membership", "?"), (rows + 100, rows), [], None), rows
    assert decide(Gate("mia"), [seen]).excess == 0.5  # AUC 1 beside chance
    assert decide(Gate("mia", 0.2), [seen]).excess == pytest.approx(0.3)
    assert decide(Gate("mia"), []).excess == 0.5
    alike = judged(Finding("loss", "membership", "?"), (unseen, unseen), [], None)
    assert decide(Gate("mia"), [alike]).excess == 0.0


def test_a_state_is_attacked_once_and_the_last_one_always():
    keeper = keeping.Keeper(None, None, None, [], 2)  # type: ignore[arg-type]
    due = [
        keeper.due(Progress(events=[{"step": step}], ended=ended))
        for step, ended in ((1, None), (2, None), (3, "x"))
    ]
    assert due == [False, True, True]
    assert not keeper.due(Progress(events=[{"step": 2}], gated=[{"step": 2}]))
    assert not keeper.due(Progress())


def test_gates_compare_with_every_retrained_model_that_is_given(world, tmp_path, capsys):
    out, twice = tmp_path / "out", ("--retrain", str(world.model), "--retrain", str(world.model))
    assert world.unlearn(out, "--method", "graddiff", "--steps", "1", *twice, "--gate", "mia=0.4") == 2
    assert "the same weights as number 1 and number 2" in " ".join(capsys.readouterr().err.split())
    second = Path(shutil.copytree(world.model, tmp_path / "second"))
    weights = load_file(second / "model.safetensors")
    moved = {name: 1.01 * value for name, value in weights.items()}
    save_file(moved, second / "model.safetensors", {"format": "pt"})
    given = ("--retrain", str(world.model), "--retrain", str(second))
    assert world.unlearn(out, "--method", "graddiff", "--steps", "1", *given, "--gate", "mia=0.4") in (0, 4, 5)
    evidence = json.loads((out / "scores.json").read_text())["evidence"]
    loss = next(each for each in evidence["findings"] if each["attack"] == "loss")
    assert len(loss["retrains"]) == loss["against"]["retrains"] == 2
    assert (
        f"--retrain {world.model} --retrain {second}" in json.loads((out / "config.json").read_text())["command"]
    )
    assert "Retrain (2nd)" not in (out / "report.html").read_text()  # scores compare with the first
