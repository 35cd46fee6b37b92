"""The command line on a tiny language model: OUT without forgotten content, adapters, resuming."""

import json
import os
import signal

import pytest
import torch

from cli_world import World, parameters, rows, same, text_world, write_jsonl
from ofmu.cli import session, shortcut, watching
from ofmu.cli.main import run
from ofmu.cli.scoring import Scorer
from ofmu.data.read import open_records

FEW = ("--budget", "8", "--checkpoint-every", "2")


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    return text_world(tmp_path_factory.mktemp("texts"))


@pytest.fixture(scope="module")
def finished(world, tmp_path_factory):
    out = tmp_path_factory.mktemp("done") / "out"
    assert world.unlearn(out, "--retrain", str(world.model), *FEW) == 4  # so small a budget does not get there
    return out


def secrets(world):
    """Words that only forget rows have: names and facts, and whole questions and answers."""
    forget, retain = (list(open_records(world.files[part])) for part in ("forget", "retain"))
    words = {word.strip(".,?'") for record in forget for word in f"{record.prompt} {record.completion}".split()}
    kept = " ".join(f"{record.prompt} {record.completion}" for record in retain)
    rare = {word for word in words if len(word) > 5 and word not in kept}
    assert len(rare) > 3
    return rare | {record.completion for record in forget} | {record.prompt for record in forget}


def holding(out, words):
    """The files under `out` in which one of the words stands."""
    files = [path for path in out.rglob("*") if path.is_file()]
    assert len(files) > 8
    return {path.name for path in files for word in words if word.encode() in path.read_bytes()}


def test_a_run_that_falls_short_says_so_everywhere_and_one_that_does_not_ends_with_0(world, tmp_path, capsys):
    assert world.unlearn(tmp_path / "short", "--budget", "8", "--json") == 4
    seen = capsys.readouterr()
    sentence = json.loads(seen.out)["missed"][-1]  # so short a run has not repaired what forgetting did
    assert sentence.startswith("the rows to keep are not known as before: mean loss ")
    assert "the rows to keep are not known" in " ".join(seen.err.split()).partition("Not reached: ")[2]
    assert sentence in (tmp_path / "short" / "report.html").read_text()
    assert world.unlearn(tmp_path / "whole", "--budget", "200", "--json") == 0
    assert json.loads(capsys.readouterr().out)["missed"] == []
    assert "Not reached" not in (tmp_path / "whole" / "report.html").read_text()


def test_means_of_samples_have_intervals(finished):
    having = {row["metric"] for row in rows(finished) if "low" in row}
    expected = "forget_nll forget_prob retain_prob nll_error extraction_strength min_k_plus_plus_auc"
    assert having >= set(expected.split())
    assert "ks_p" not in having  # of redrawn samples it means nothing
    assert all(row["low"] <= row["value"] <= row["high"] for row in rows(finished) if "low" in row)


def test_nothing_of_the_forget_rows_stands_in_out(world, finished):
    assert holding(finished, secrets(world)) == set()
    ids = (finished / "forget_ids.txt").read_text().split("\n")[:-1]
    assert ids == open_records(world.files["forget"]).ids


def test_show_forgotten_shows_answers(world, tmp_path):
    assert world.unlearn(tmp_path / "out", "--method", "finetune", "--budget", "1", "--show-forgotten") == 0
    answers = {record.completion for record in open_records(world.files["forget"])}
    assert "report.html" in holding(tmp_path / "out", answers)


def test_a_column_filter_leaves_no_trace_of_its_value(world, tmp_path):
    every = [*open_records(world.files["forget"]), *open_records(world.files["retain"])]
    whole, person = write_jsonl(tmp_path / "all.jsonl", every), every[0].meta["person"]
    words = ["unlearn", "--model", str(world.model), "--data", str(whole), "--out", str(tmp_path / "out")]
    more = ["--heldout", str(world.files["heldout"]), "--method", "simnpo", "--budget", "1"]
    assert run([*words, "--forget-where", f"person={person}", *more]) == 0
    assert holding(tmp_path / "out", secrets(world) | {str(person)}) == set()
    ids = tmp_path / "out" / "forget_ids.txt"
    assert len(ids.read_text().split()) == 6
    words[-1] = str(tmp_path / "again")
    assert run([*words, "--forget-ids", str(ids), *more]) == 0  # the config names this way to do it again
    assert same(parameters(tmp_path / "out" / "model"), parameters(tmp_path / "again" / "model"))


def test_scores_hold_truth_ratio_and_distances_to_retrain(finished):
    metrics = {row["metric"] for row in rows(finished) if row["method"] == "OFMU"}
    assert {"forget_nll", "retain_prob", "unseen_prob", "truth_ratio", "ks_p", "nll_error"} <= metrics
    assert {"extraction_strength", "exact_memorization", "min_k_plus_plus_auc"} <= metrics
    found = [row for row in rows(finished) if row["metric"] == "min_k_plus_plus_auc"]
    assert all(row["low"] <= row["value"] <= row["high"] for row in found)


def test_without_a_retrain_nothing_is_said_of_one_and_nothing_twice(world, tmp_path):
    assert world.unlearn(tmp_path / "out", "--method", "finetune", "--budget", "1") == 0
    metrics = [row["metric"] for row in rows(tmp_path / "out") if row["method"] == "FineTune"]
    assert len(metrics) == len(set(metrics))
    assert "forget_nll" not in metrics  # it is forget_loss, which stands beside the unseen level
    assert {"forget_loss", "forget_prob", "forget_over_unseen"} <= set(metrics)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Retrain" not in page.partition("<h2>The results</h2>")[2].partition("<h2>")[0]


def test_a_retrained_model_is_looked_at_once(world, finished, tmp_path, monkeypatch):
    looks = []
    look = Scorer.look
    monkeypatch.setattr(Scorer, "look", lambda scorer, module: looks.append(1) or look(scorer, module))
    words = ["evaluate", "--model", str(world.model), "--retrain", str(world.model)]
    words += [word for part, file in world.files.items() for word in (f"--{part}", str(file))]
    assert run([*words, "--out", str(tmp_path / "scores.json")]) == 0
    assert len(looks) == 1  # --model's; the same model as --retrain was looked at when `finished` was made
    again = {row["metric"]: row for row in json.loads((tmp_path / "scores.json").read_text())["rows"][::-1]}
    for row in rows(finished):
        if row["method"] == "Original" and row["metric"] in ("forget_nll", "nll_error", "truth_ratio"):
            assert again[row["metric"]]["value"] == pytest.approx(row["value"], abs=1e-5)
    monkeypatch.setenv("OFMU_STORE", str(world.model / "config.json"))  # a file: the store cannot be made
    assert run([*words, "--out", str(tmp_path / "more.json")]) == 0
    assert len(looks) == 3


def test_interrupted_it_goes_on_bit_for_bit_with_the_reference_it_had_trained(
    world, finished, tmp_path, monkeypatch
):
    words = world.arguments(tmp_path / "out", "--retrain", str(world.model), *FEW)
    event = watching.Watch.event

    def stop_at_2(self, seen):
        event(self, seen)
        if seen.step == 2:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(watching.Watch, "event", stop_at_2)
        assert run(words) == 130
    monkeypatch.setattr(session, "prepare", lambda *a, **k: pytest.fail("prepared twice"))
    assert run([*words, "--resume"]) == 4
    assert same(parameters(finished / "model"), parameters(tmp_path / "out" / "model"))
    assert (finished / "events.jsonl").read_text() == (tmp_path / "out" / "events.jsonl").read_text()


def test_an_adapter_is_merged_or_kept(world, tmp_path):
    more = ("--trainable", "lora:2", "--method", "graddiff", "--budget", "2")
    assert world.unlearn(tmp_path / "whole", *more) == 0
    assert world.unlearn(tmp_path / "adapter", *more, "--no-merge") == 0
    names = {path.name for path in (tmp_path / "adapter" / "model").iterdir()}
    assert {"adapter_model.safetensors", "adapter_config.json"} <= names
    assert "model.safetensors" not in names
    whole, before = parameters(tmp_path / "whole" / "model"), parameters(world.model)
    assert whole.keys() == before.keys()
    assert not same(whole, before)


@pytest.mark.parametrize(("spec", "others"), [("top:1", ("model.norm",)), ("lora:2,top:1", ())])
def test_training_the_top_through_the_upper_part_gives_the_numbers_of_the_whole_model(
    spec, others, world, tmp_path, monkeypatch
):
    more = ("--trainable", spec, "--base", str(world.model), "--retrain", str(world.model))
    more += ("--method", "npo", "--budget", "4")
    assert world.unlearn(tmp_path / "upper", *more) == 0
    monkeypatch.setattr(shortcut, "cut_below", lambda *_: None)
    assert world.unlearn(tmp_path / "whole", *more) == 0
    upper, whole = parameters(tmp_path / "upper" / "model"), parameters(tmp_path / "whole" / "model")
    before = parameters(world.model)
    changed = {name for name in before if not torch.equal(upper[name], before[name])}
    top = {name for name in before if name.startswith(("model.layers.1.", *others))}
    assert changed == {name for name in top if others or "norm" not in name}
    assert all(torch.allclose(upper[name], whole[name], atol=1e-3) for name in before)
    for ours, theirs in zip(rows(tmp_path / "upper"), rows(tmp_path / "whole"), strict=True):
        assert ours["metric"] == theirs["metric"]
        assert ours["value"] == pytest.approx(theirs["value"], abs=1e-2)


def test_train_a_tiny_llama_then_fine_tune_it(world, tmp_path, capsys):
    data = str(world.files["retain"])
    words = ["train", "--data", data, "--epochs", "1", "--json"]
    assert run([*words, "--model", "tiny-llama", "--vocabulary", "300", "--out", str(tmp_path / "first")]) == 0
    first = json.loads((tmp_path / "first" / "training.json").read_text())
    assert (first["init"], first["recipe"]["rule"]) == ("scratch", "adamw")
    second = [
        *words,
        "--model",
        str(tmp_path / "first"),
        "--trainable",
        "lora:2",
        "--out",
        str(tmp_path / "second"),
    ]
    assert run(second) == 0
    record = json.loads((tmp_path / "second" / "training.json").read_text())
    assert (record["init"], record["trainable"]) == (str(tmp_path / "first"), "lora:2")
    assert parameters(tmp_path / "first").keys() == parameters(tmp_path / "second").keys()


def test_a_base_model_gives_the_targets(world, tmp_path):
    more = ("--base", str(world.model), "--budget", "4")
    assert world.unlearn(tmp_path / "out", *more, skip=["heldout", "test"]) == 0
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["targets"] == "the base model's own token losses"


def test_without_anything_unseen_it_refuses_and_explains(world, tmp_path, capsys):
    (world.model / "training.json").rename(tmp_path / "aside.json")
    try:
        assert world.unlearn(tmp_path / "out", *FEW, skip=["heldout", "test"]) == 2
    finally:
        (tmp_path / "aside.json").rename(world.model / "training.json")
    said = capsys.readouterr().err
    assert "--heldout" in said
    assert "--base" in said
