"""`ofmu unlearn --method …` for the methods that need more than the samples, and what a resumed run takes up."""

import json

import pytest
import torch

from cli_world import World, image_world, same, text_world
from ofmu.cli.job import Job
from ofmu.cli.main import run
from ofmu.cli.prepared import plain_task, restored
from ofmu.data.encode import TextSamples
from ofmu.data.people import people
from ofmu.data.refusals import REFUSALS
from ofmu.engine.checkpoint import load_state, save_state
from ofmu.engine.models import load_model
from ofmu.engine.prepare import Parts, Sources, prepare
from ofmu.engine.training import Recipe
from ofmu.methods import build_method


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    return text_world(tmp_path_factory.mktemp("texts"))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> World:
    return image_world(tmp_path_factory.mktemp("images"))


@pytest.mark.parametrize("name", ["idkdpo", "rmu", "pcgrad"])
def test_the_method_runs_from_the_command_line(world, tmp_path, capsys, name):
    if name == "pcgrad":
        pytest.importorskip("torchjd")
    assert world.unlearn(tmp_path / "out", "--method", name, "--steps", "2", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert {row["method"] for row in said["rows"]} >= {
        {"idkdpo": "IdkDPO", "pcgrad": "PCGrad"}.get(name, name.upper())
    }
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["method"]["type"] in ("Scalarised", "GradientRule")
    events = (tmp_path / "out" / "events.jsonl").read_text().splitlines()
    assert len(events) == 2


@pytest.mark.parametrize(
    ("name", "kind", "steps"), [("salun", "SalUn", 3), ("scrub", "Scrub", 3), ("ssd", "SSD", 1)]
)
def test_an_image_method_runs_from_the_command_line(pictures, tmp_path, capsys, name, kind, steps):
    assert pictures.unlearn(tmp_path / "out", "--method", name, "--steps", "3", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert {"salun": "SalUn"}.get(name, name.upper()) in {row["method"] for row in said["rows"]}
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["method"]["type"] == kind
    assert len((tmp_path / "out" / "events.jsonl").read_text().splitlines()) == steps


def test_an_image_method_for_texts_and_a_rate_for_none_are_mistakes(world, pictures, tmp_path, capsys):
    assert world.unlearn(tmp_path / "out", "--method", "salun") == 2
    assert "salun serves image classifiers" in capsys.readouterr().err
    assert pictures.unlearn(tmp_path / "out", "--method", "ssd", "--lr", "0.1") == 2
    assert "ssd takes one step without a learning rate" in capsys.readouterr().err


def test_an_unknown_method_lists_the_new_ones(world, tmp_path, capsys):
    assert world.unlearn(tmp_path / "out", "--method", "idkdop") == 2
    said = capsys.readouterr().err
    assert "did you mean 'idkdpo'" in said
    assert "upgrad" in said


def test_the_methods_are_in_the_help(capsys):
    assert run(["unlearn", "--help"]) == 0
    said = capsys.readouterr().out
    assert "idkdpo" in said
    assert "graddiff-bounded" in said


@pytest.mark.parametrize("name", ["idkdpo", "rmu"])
def test_a_resumed_run_has_the_same_task(world, tmp_path, name):
    loaded = load_model(str(world.model))
    rows = people(3, forget=1, retain=2, heldout=1, unseen=1, questions=6)
    encoder = loaded_encoder(loaded)
    parts = Parts(TextSamples(rows.forget, encoder), TextSamples(rows.retain, encoder))
    method = build_method(name, "text", width=16)
    job = Job(loaded.module, "text", parts, method, Sources(), 0, 100.0, 2, {})
    made = prepare(loaded.module, "text", parts, method, Sources(), 0)
    save_state(tmp_path / "task.safetensors", plain_task(made, job))
    again = restored(load_state(tmp_path / "task.safetensors"), job)
    assert again.cost == made.cost
    assert again.task.layer == made.task.layer
    assert (made.task.layer is None) == (name == "idkdpo")
    if name == "idkdpo":
        assert torch.equal(again.task.refusal_nll, made.task.refusal_nll)
        ours, theirs = made.task.refusals.batch([0, 1]), again.task.refusals.batch([0, 1])
        assert torch.equal(ours.labels, theirs.labels)
        assert again.task.refusals.records[0].completion in REFUSALS


def test_a_resumed_run_has_the_same_confidence_and_neutral_text(world, tmp_path):
    loaded, base = load_model(str(world.model)), load_model(str(world.model)).module
    with torch.no_grad():
        next(iter(base.parameters())).mul_(0.5)
    rows = people(3, forget=1, retain=2, heldout=1, unseen=1, questions=6)
    encoder = loaded_encoder(loaded)
    forget, retain, heldout = (TextSamples(part, encoder) for part in (rows.forget, rows.retain, rows.heldout))
    method = build_method("ofmu-matched", "text", width=16)
    job = Job(loaded.module, "text", Parts(forget, retain, heldout), method, Sources(base=base), 3, 100.0, 2, {})
    made = prepare(loaded.module, "text", job.parts, method, job.sources, 3)
    save_state(tmp_path / "task.safetensors", plain_task(made, job))
    again = restored(load_state(tmp_path / "task.safetensors"), job).task
    assert again.confidence == made.task.confidence != 1.0
    assert again.reference is not None
    assert torch.equal(again.neutral.next(3).rows, made.task.neutral.next(3).rows)


def test_a_resumed_run_has_the_copy_of_the_base_model_that_was_tuned(world, tmp_path):
    loaded, base = load_model(str(world.model)), load_model(str(world.model)).module
    rows = people(3, forget=1, retain=2, heldout=1, unseen=1, questions=6)
    encoder = loaded_encoder(loaded)
    parts = Parts(*(TextSamples(part, encoder) for part in (rows.forget, rows.retain, rows.heldout)))
    sources = Sources(base=base, recipe=Recipe(epochs=3, batch=4, lr=1e-3), targets="base-tuned")
    method = build_method("ofmu", "text", width=16)
    job = Job(loaded.module, "text", parts, method, sources, 3, 100.0, 2, {})
    made = prepare(loaded.module, "text", parts, method, sources, 3)
    save_state(tmp_path / "task.safetensors", plain_task(made, job))
    again = restored(load_state(tmp_path / "task.safetensors"), job)
    assert again.cost == made.cost > len(parts.retain)
    state, before = made.task.unseen.state_dict(), base.state_dict()
    assert same(again.task.unseen.state_dict(), state)
    assert not same(before, state)
    assert not any(p.requires_grad for p in again.task.unseen.parameters())


def loaded_encoder(loaded):
    from ofmu.data.encode import Encoder

    return Encoder.from_settings(loaded.tokenizer, loaded.settings)


def test_help_says_which_rate_lr_is_of_the_two_loops(capsys):
    assert run(["unlearn", "--help"]) == 0
    said = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "it is the repair's (outer loop)" in said
    printed, ours = (build_method(name, "image", lr=0.5) for name in ("ofmu-paper", "ofmu"))
    assert "ofmu-paper's stay at 0.01" in said
    assert (printed.outer.lr, printed.scaling, printed.rate) == (0.5, "fixed", 0.01)
    assert "ofmu's ascents (inner loop) scale with it" in said
    assert (ours.outer.lr, ours.scaling) == (0.5, "adam")  # a step is ≤ rate · (outer lr) · √(#parameters)
    assert "ofmu: 0.002 for images" in said
    assert build_method("ofmu", "image").outer.lr == 0.002
    assert "ofmu-paper: 0.01" in said
    assert {build_method("ofmu-paper", kind).outer.lr for kind in ("image", "text")} == {0.01}
