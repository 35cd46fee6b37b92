"""The command line on a tiny image model: what OUT holds, resuming bit for bit, comparing."""

import errno
import html
import json
import os
import random
import re
import shlex
import signal
import subprocess
import sys
import time

import pytest
import torch

from cli_world import World, image_world, parameters, rows, same, write_images
from ofmu.cli import session, watching
from ofmu.cli import unlearn as command
from ofmu.cli.main import run
from ofmu.core.backend import Backend
from ofmu.data.images import read_images
from ofmu.engine import oracles as engine_oracles

STEPS = ("--budget", "1000000", "--checkpoint-every", "3")


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    return image_world(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def finished(world, tmp_path_factory):
    """An uninterrupted run of 12 steps of ofmu-paper, which has no exit rule."""
    out = tmp_path_factory.mktemp("done") / "out"
    assert world.unlearn(out, "--method", "ofmu-paper", "--steps", "12", *STEPS) == 0
    return out


def test_out_holds_model_scores_config_events_and_a_page(world, tmp_path, capsys):
    out = tmp_path / "out"
    code = world.unlearn(out, "--budget", "40", "--retrain", str(world.model), "--json")
    said = json.loads(capsys.readouterr().out)  # one JSON object and nothing else
    assert code == said["exit_code"] == 0
    assert said["missed"] == []
    names = {path.name for path in out.iterdir()}
    assert names == {"model", "config.json", "scores.json", "events.jsonl", "forget_ids.txt", "report.html"}
    metrics = {row["metric"] for row in rows(out) if row["method"] == "OFMU"}
    assert metrics == {"UA", "RA", "TA", "MIA", "gap", "W1", "PS"}
    retrain = [row for row in rows(out) if row["method"] == "Original" and row["metric"] == "PS"]
    assert retrain[0]["value"] == pytest.approx(0, abs=1e-9)  # the "Retrain" here is the original itself
    events = [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]
    assert [event["step"] for event in events] == list(range(1, len(events) + 1))
    assert events[-1]["cost"] == pytest.approx(said["cost"]["gradients"])
    assert not same(parameters(world.model), parameters(out / "model"))
    assert not (tmp_path / "out.partial").exists()


def test_the_config_reproduces_the_run(world, finished, tmp_path):
    program, *words = shlex.split(json.loads((finished / "config.json").read_text())["command"])
    assert program == "ofmu"
    assert shlex.join([program, *words]) in html.unescape((finished / "report.html").read_text())
    assert run(words) == 0  # as it stands: it names another --out
    again = finished.with_name("out-again")
    assert same(parameters(finished / "model"), parameters(again / "model"))
    assert rows(finished) == rows(again)


def test_without_a_test_set_accuracy_there_is_missing_with_its_reason(world, tmp_path):
    assert world.unlearn(tmp_path / "out", "--method", "finetune", "--budget", "2", skip=["test"]) == 0
    found = {row["metric"]: row for row in rows(tmp_path / "out") if row["method"] == "FineTune"}
    assert found["TA"]["value"] is None
    assert "--test" in found["TA"]["missing"]
    assert found["forget_over_unseen"]["value"] == pytest.approx(
        found["forget_loss"]["value"] - found["heldout_loss"]["value"], abs=1e-5
    )
    for name in ("forget_over_unseen", "attack_auc"):
        assert found[name]["low"] < found[name]["value"] < found[name]["high"], name


def test_killed_at_three_random_moments_it_ends_bit_for_bit_the_same(world, finished, tmp_path):
    out, rng = tmp_path / "out", random.Random(7)
    words = world.arguments(out, "--method", "ofmu-paper", "--steps", "12", *STEPS)
    slow = (
        "import sys, time\nfrom ofmu.cli import watching\nfrom ofmu.cli.main import main\n"
        "import torch; torch.set_num_threads(1)\nevent = watching.Watch.event\n"
        "def late(self, seen):\n    time.sleep(.15)\n    event(self, seen)\n"
        "watching.Watch.event = late\nmain(sys.argv[1:])\n"
    )
    checkpoint = tmp_path / "out.partial" / "checkpoint.safetensors"
    for kill in range(3):
        again = ["--resume"] if kill else []
        before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        process = subprocess.Popen([sys.executable, "-c", slow, *words, *again], stderr=subprocess.DEVNULL)
        while process.poll() is None and not (checkpoint.exists() and checkpoint.stat().st_mtime_ns > before):
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.4))
        assert process.poll() is None, "the run ended before it could be killed"
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert not out.exists()
    assert run([*words, "--resume"]) == 0
    assert same(parameters(finished / "model"), parameters(out / "model"))
    assert (finished / "events.jsonl").read_text() == (out / "events.jsonl").read_text()
    assert rows(finished) == rows(out)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_first_and_the_run_goes_on_exactly(world, finished, tmp_path, monkeypatch, capsys, number):
    words = world.arguments(tmp_path / "out", "--method", "ofmu-paper", "--steps", "12", *STEPS)
    event = watching.Watch.event

    def stop_at_5(self, seen):
        event(self, seen)
        if seen.step == 5:
            os.kill(os.getpid(), number)

    with monkeypatch.context() as patch:
        patch.setattr(watching.Watch, "event", stop_at_5)
        assert run(words) == 130
    assert "--resume" in capsys.readouterr().err
    steps = []
    with monkeypatch.context() as patch:
        patch.setattr(watching.Watch, "event", lambda self, seen: (steps.append(seen.step), event(self, seen)))
        # targets are taken from the interrupted run, not estimated again
        patch.setattr(session, "prepare", lambda *a, **k: pytest.fail("prepared twice"))
        assert run([*words, "--resume"]) == 0
    assert steps == list(range(6, 13))  # step 5 was saved although checkpoints come every 3
    assert same(parameters(finished / "model"), parameters(tmp_path / "out" / "model"))


def test_stopped_before_the_first_step_it_goes_on_from_the_same_start(world, tmp_path, monkeypatch):
    """The run begins at a head start, which is in no checkpoint but in what was prepared."""

    def interrupted(*_):
        raise KeyboardInterrupt

    words = [world.arguments(tmp_path / out, "--steps", "2", *STEPS) for out in ("whole", "resumed")]
    assert run(words[0]) in (0, 4)
    with monkeypatch.context() as patch:
        patch.setattr(command, "go_on", interrupted)
        assert run(words[1]) == 130
    monkeypatch.setattr(session, "prepare", lambda *a, **k: pytest.fail("prepared twice"))
    assert run([*words[1], "--resume"]) in (0, 4)
    assert same(parameters(tmp_path / "whole" / "model"), parameters(tmp_path / "resumed" / "model"))
    assert not same(parameters(tmp_path / "whole" / "model"), parameters(world.model))
    page = (tmp_path / "resumed" / "report.html").read_text()
    assert "begun with the last 2 layers reset" in page


def test_resuming_with_other_arguments_is_refused(world, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(watching.Watch, "event", lambda self, seen: os.kill(os.getpid(), signal.SIGINT))
    assert world.unlearn(tmp_path / "out", "--method", "ofmu-paper", "--steps", "9", *STEPS) == 130
    capsys.readouterr()
    assert world.unlearn(tmp_path / "out", "--method", "ofmu-paper", "--steps", "10", *STEPS, "--resume") == 2
    assert "--steps is 10, but the interrupted run had 9" in capsys.readouterr().err


def test_a_resumed_run_takes_its_derivatives_as_it_began(world, tmp_path, monkeypatch, capsys):
    """Where less memory is free another backend might be chosen, whose numbers are others."""
    words = world.arguments(tmp_path / "out", "--method", "ofmu-paper", "--steps", "2", *STEPS)
    with monkeypatch.context() as patch:
        patch.setattr(engine_oracles, "choose", lambda *_: Backend("mixed", "as on the first day", streamed=True))
        patch.setattr(watching.Watch, "event", lambda self, seen: os.kill(os.getpid(), signal.SIGINT))
        assert run(words) == 130
    said = "derivatives: mixed, one graph at a time (as on the first day)"
    assert said in capsys.readouterr().err
    monkeypatch.setattr(engine_oracles, "choose", lambda *_: pytest.fail("chosen again"))
    assert run([*words, "--resume"]) in (0, 4)
    assert said in capsys.readouterr().err


def test_nan_stops_keeps_the_last_good_model_and_says_where(world, tmp_path, capsys):
    out = tmp_path / "out"
    assert world.unlearn(out, "--method", "graddiff", "--lr", "1e30", *STEPS) == 3
    said = capsys.readouterr().err
    assert "step 1: forget loss is not a finite number" in said
    assert "that of step 0" in said
    assert "last-good" in said
    assert "--method ofmu" in said
    assert "give the same command with --overwrite and a lower --lr" in said
    assert "Traceback" not in said
    assert "run the same command with --resume" not in said
    assert not out.exists()
    assert same(parameters(world.model), parameters(tmp_path / "out.partial" / "last-good"))
    for again in ([], ["--resume"]):
        assert world.unlearn(out, "--method", "graddiff", "--lr", "1e30", *STEPS, *again) == 2
        said = capsys.readouterr().err
        assert said.endswith("diverged, and would again; start it anew with --overwrite and a lower --lr\n")
    assert world.unlearn(out, "--method", "graddiff", "--steps", "2", *STEPS, "--overwrite") in (0, 4)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_bounded_method_that_diverges_is_told_no_bounded_one(world, tmp_path, capsys):
    assert world.unlearn(tmp_path / "out", "--method", "ofmu-both", "--lr", "1e30", *STEPS) == 3
    said = capsys.readouterr().err
    assert "Lower the learning rate" in said
    assert "--method" not in said
    assert "whose forget loss" not in said


def test_a_run_stopped_after_one_that_diverged_can_be_resumed(world, tmp_path, monkeypatch, capsys):
    """What the diverged run had kept is gone with it."""
    out = tmp_path / "out"
    assert world.unlearn(out, "--method", "graddiff", "--lr", "1e30", *STEPS) == 3
    capsys.readouterr()
    monkeypatch.setattr(watching.Watch, "event", lambda self, seen: os.kill(os.getpid(), signal.SIGINT))
    assert world.unlearn(out, "--method", "graddiff", "--steps", "5", *STEPS, "--overwrite") == 130
    said = capsys.readouterr().err
    assert "run the same command with --resume to go on" in said
    assert "diverge" not in said


def test_a_training_that_diverges_leaves_nothing_and_says_what_helps(world, tmp_path, capsys):
    words = [
        "train",
        "--model",
        "digits-cnn",
        "--data",
        str(world.files["retain"]),
        "--out",
        str(tmp_path / "out"),
    ]
    assert run([*words, "--lr", "1e39", "--epochs", "0.1"]) == 3
    assert "step 1: a parameter is not a finite number" in capsys.readouterr().err
    assert run([*words, "--lr", "1e30", "--epochs", "3", "--checkpoint-every", "1"]) == 3
    said = capsys.readouterr().err
    assert "the training loss is not a finite number" in said
    assert "Give a lower --lr than 1e+30" in said
    assert "--method" not in said
    assert "--resume" not in said
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_loses_nothing_that_is_finished(world, finished, tmp_path, monkeypatch, capsys):
    words = world.arguments(tmp_path / "out", "--method", "ofmu-paper", "--steps", "12", *STEPS)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(command, "save_model", full)
        assert run(words) == 1
    said = capsys.readouterr().err
    assert "no space left" in said
    assert "--resume" in said
    monkeypatch.setattr(session, "unlearn", lambda *a, **k: pytest.fail("ran again"))
    assert run([*words, "--resume"]) == 0
    assert same(parameters(finished / "model"), parameters(tmp_path / "out" / "model"))


def test_a_full_disk_at_a_checkpoint_is_one_message(world, tmp_path, monkeypatch, capsys):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("ofmu.engine.checkpoint.write_whole", full)
    assert world.unlearn(tmp_path / "out", *STEPS) == 1
    assert "no space left" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_labels_that_the_model_does_not_know_are_refused(world, tmp_path, capsys):
    pixels = torch.randint(0, 256, (4, 8, 8), dtype=torch.uint8).numpy()
    strange = write_images(tmp_path / "strange.parquet", pixels, [0, 1, 7, 2])
    assert world.unlearn(tmp_path / "out", "--forget", str(strange), skip=["forget"]) == 2
    said = capsys.readouterr().err
    assert "has 7" in said
    assert "0 … 2" in said


def test_images_in_forget_and_retain_are_refused_whatever_the_files_call_them(world, tmp_path, capsys):
    copy = tmp_path / "renamed.parquet"
    copy.write_bytes(world.files["forget"].read_bytes())
    assert world.unlearn(tmp_path / "out", "--retain", str(copy), skip=["retain"]) == 2
    assert "share 24 images" in capsys.readouterr().err


def test_forgetting_a_class_leaves_it_out_of_the_other_sets(world, tmp_path, capsys):
    words = ["unlearn", "--model", str(world.model), "--data", str(world.files["retain"])]
    words += ["--forget-where", "label=1", "--test", str(world.files["test"]), "--out", str(tmp_path / "out")]
    assert run([*words, "--method", "finetune", "--budget", "2"]) == 0
    assert "rows of classes to forget are left out" in capsys.readouterr().err
    found = {row["metric"]: row["n"] for row in rows(tmp_path / "out") if row["method"] == "FineTune"}
    test = read_images(world.files["test"]).samples.labels
    assert found["UA"] == 24
    assert found["TA"] == int((test != 1).sum())


def test_an_interrupted_training_goes_on_to_the_same_bits(world, tmp_path, monkeypatch, capsys):
    from ofmu.cli import train as command

    words = ["train", "--model", "digits-cnn", "--data", str(world.files["retain"]), "--epochs", "4"]
    assert run([*words, "--out", str(tmp_path / "whole")]) == 0
    real, steps = command.training, []

    def stopping(*given, **named):
        for progress in real(*given, **named):
            steps.append(progress.step)
            if progress.step == 3 and len(steps) == 3:
                os.kill(os.getpid(), signal.SIGINT)
            yield progress

    monkeypatch.setattr(command, "training", stopping)
    words += ["--out", str(tmp_path / "out")]
    assert run(words) == 130
    assert "--resume" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert run([*words, "--resume", "--seed", "1"]) == 2
    assert "but the interrupted run had" in capsys.readouterr().err
    assert run([*words, "--resume"]) == 0
    assert steps == [1, 2, 3, 4, 5, 6, 7, 8]
    assert same(parameters(tmp_path / "whole"), parameters(tmp_path / "out"))
    assert run([*words, "--overwrite", "--checkpoint-every", "0"]) == 2


def test_train_evaluate_and_compare(world, finished, tmp_path, capsys):
    model = tmp_path / "cnn"
    words = ["train", "--model", "digits-cnn", "--data", str(world.files["retain"]), "--out", str(model)]
    assert run([*words, "--epochs", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["steps"] == 4
    recipe = json.loads((model / "training.json").read_text())
    assert (recipe["init"], recipe["recipe"]["epochs"], recipe["rows"]) == ("scratch", 2, 72)
    parts = [f"--{part}={world.files[part]}" for part in ("forget", "retain", "test")]
    assert run(["evaluate", "--model", str(finished), *parts, "--json"]) == 0
    now = {row["metric"]: row["value"] for row in json.loads(capsys.readouterr().out)["rows"]}
    then = {row["metric"]: row["value"] for row in rows(finished) if row["method"] == "OFMU as printed"}
    assert now["UA"] == then["UA"]
    assert now["TA"] == then["TA"]
    assert world.unlearn(tmp_path / "ft", "--method", "finetune", "--budget", "2") == 0
    page = tmp_path / "page.html"
    capsys.readouterr()
    assert run(["compare", str(finished), str(tmp_path / "ft"), "--out", str(page), "--json"]) == 0
    compared = json.loads(capsys.readouterr().out)
    assert {row["method"] for row in compared["rows"]} == {"Original", "FineTune", "OFMU as printed"}
    assert "FineTune" in page.read_text()
    typed = re.search(r"<code>(ofmu compare .*)</code>", page.read_text())
    assert run(shlex.split(html.unescape(typed[1]))[1:]) == 0  # as it stands: it names another --out
    assert (tmp_path / "page-again.html").is_file()


def test_a_methods_runs_are_told_apart_by_folder_then_by_place(world, tmp_path, capsys):
    runs = [tmp_path / name for name in ("a/run", "b/run", "c/run")]
    for number, out in enumerate(runs, 1):
        out.parent.mkdir()
        assert world.unlearn(out, "--method", "finetune", "--budget", str(number)) == 0
    capsys.readouterr()
    assert run(["compare", *map(str, runs[:2]), str(runs[2] / "scores.json"), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    names = ["FineTune", "FineTune (run)", f"FineTune ({runs[2]})"]
    assert [cost["method"] for cost in said["costs"]] == names
    assert list(dict.fromkeys(row["method"] for row in said["rows"])) == ["Original", *names]
    assert run(["compare", *[str(runs[0])] * 4]) == 2
    assert "more than once" in capsys.readouterr().err
