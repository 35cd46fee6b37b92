"""`ofmu attack` and `--gate` on tiny models: what is said, what is written, which exit code."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from cli_world import World, image_world, text_world, write_images
from ofmu.cli import attack_probes
from ofmu.cli.attack_probes import with_probes
from ofmu.cli.attack_shadows import unlearning_of
from ofmu.cli.main import run
from ofmu.data.records import question_answer
from ofmu.engine.prepare import Parts
from ofmu.errors import UserError
from ofmu.evidence import sampling
from ofmu.evidence.case import Case
from ofmu.evidence.gates import parse_gates
from ofmu.evidence.outcome import narrow_words
from small import images, net

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    return image_world(tmp_path_factory.mktemp("images"))


def words(world, *more):
    files = [word for part in ("forget", "retain", "heldout") for word in (f"--{part}", str(world.files[part]))]
    return ["attack", "--model", str(world.model), *files, *more]


def test_the_command_tells_what_was_tested_and_what_was_not(world, tmp_path, capsys):
    out = tmp_path / "evidence"
    both = ("--original", str(world.model), "--retrain", str(world.model))
    assert run(words(world, *both, "--alike", "--attacks", "mia,quantise", "--out", str(out), "--json")) == 0
    said = json.loads(capsys.readouterr().out)
    found = {each["attack"]: each for each in said["findings"]}
    assert {"loss", "entropy", "modified-entropy", "learnt-logistic", "quantise-8", "quantise-4"} <= set(found)
    assert found["loss"]["against"]["value"] == 0.0  # the "retrained" model is the model itself
    assert found["loss"]["verdict"] in ("not detected", "blind")
    assert "from one pool" in said["notes"][0]
    assert said["left_out"]["relearn"] == "not asked for"
    assert {path.name for path in out.iterdir()} == {"evidence.json", "report.html"}
    page = (out / "report.html").read_text()
    assert "What attackers could still get out" in page
    assert "not resolvable" in page
    assert "<li>relearn: not asked for</li>" in page
    assert page.count("What was not tested") == 1
    assert f"<dt>Forget</dt><dd>{world.files['forget']}</dd><dt>Retain</dt><dd>{world.files['retain']}" in page
    assert "and the same question of a model that never saw the rows." in page
    assert f"--out {out}-again" in page
    assert run(words(world, *both, "--attacks", "mia", "--out", str(out))) == 2
    assert json.loads((out / "evidence.json").read_text())["evidence"]["findings"] == said["findings"]  # kept
    stored = json.loads((out / "evidence.json").read_text())
    assert {row["method"] for row in stored["rows"]} == {"Unlearned", "Retrain", "Original"}


def test_what_was_tried_without_an_answer_is_listed_as_not_tested_with_its_reason(world, tmp_path, capsys):
    assert run(words(world, "--attacks", "adapter", "--out", str(tmp_path / "out"))) == 0
    why = "adapter-off: the model has no adapter that could be taken off"
    said = capsys.readouterr().out
    assert said.count(why) == 1
    assert why in said.split("Not tested: ")[1]
    page = (tmp_path / "out" / "report.html").read_text()
    assert f"<li>{why}</li>" in page.split("What was not tested")[1]
    assert "no model that never saw the rows was there" in page  # no --retrain was given


def test_relearning_trains_on_unrelated_rows_where_they_are_given(world, tmp_path, capsys):
    file = write_images(tmp_path / "other.parquet", np.zeros((5, 8, 8), dtype=np.uint8) + 7, [0, 1, 2, 0, 1])
    assert run(words(world, "--attacks", "relearn", "--unrelated", str(file), "--json")) == 0
    found = {each["attack"]: each for each in json.loads(capsys.readouterr().out)["findings"]}["relearn-unrelated"]
    assert found["extra"][0].endswith("on 5 rows")
    assert found["model"]["n_heldout"] == 30  # all of them: none is trained on
    assert run(words(world, "--unrelated", str(world.files["retain"]))) == 2
    assert "--unrelated: 72 rows are in the retain set too" in " ".join(capsys.readouterr().err.split())


def test_a_budget_leaves_attacks_out_and_a_gate_that_was_not_run_is_missed(world, capsys):
    assert run(words(world, "--budget", "1", "--gate", "relearn")) == 5
    said = capsys.readouterr().out
    assert "Gate relearn: missed, since nothing could be tested (it was not run)" in said
    left = re.search(r"costs (\S+) gradient-equivalents, (\S+) of the budget were left", said)
    assert 0 <= float(left[2]) < 1  # in the unit of --budget
    assert float(left[1]) > float(left[2])


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (("--attacks", "magic"), "found 'magic'"),
        (("--gate", "mia=2"), "limit '2'"),
        (("--gate", "mia,mia"), "once"),
        (("--budget", "0.0001"), "nothing is left to run"),
    ],
)
def test_mistakes_are_explained(world, capsys, more, expected):
    assert run(words(world, *more)) == 2
    assert expected in " ".join(capsys.readouterr().err.split())


def test_held_out_rows_are_needed(world, capsys):
    given = words(world)
    at = given.index("--heldout")
    assert run(given[:at] + given[at + 2 :]) == 2
    assert "--heldout" in capsys.readouterr().err


def test_gates_are_read_as_they_are_meant():
    assert [(gate.group, gate.limit) for gate in parse_gates("mia, relearn=0.1")] == [
        ("mia", None),
        ("relearn", 0.1),
    ]
    with pytest.raises(UserError, match="found 'x'"):
        parse_gates("x")


def test_unlearn_with_gates_writes_evidence_and_exits_5_where_one_is_missed(world, tmp_path, capsys):
    out = tmp_path / "out"
    more = (
        "--retrain",
        str(world.model),
        "--budget",
        "20",
        "--method",
        "finetune",
        "--gate",
        "mia,quantise=0.001",
    )
    assert world.unlearn(out, *more) == 5
    said, noted = capsys.readouterr()
    assert "Gate quantise: missed, since no attack" in said  # could find what this model never learned
    first, attacked = " ".join(noted.split()).split("attacking the result")
    assert "beforehand: 24 forgotten and 20 held-out rows detect an AUC of 0.7" in first
    assert "beforehand: the gate quantise=0.001 can hardly be shown to hold" in first
    assert "beforehand" not in attacked
    scores = json.loads((out / "scores.json").read_text())
    assert [gate["group"] for gate in scores["evidence"]["gates"]] == ["mia", "quantise"]
    page = (out / "report.html").read_text()
    assert "Gates" in page
    assert f"<dt>Forget</dt><dd>24 rows, {world.files['forget']}</dd>" in page
    assert json.loads((out / "config.json").read_text())["arguments"]["gate"] == "mia,quantise=0.001"


def test_the_gates_of_a_run_are_told_that_rows_are_alike(world, tmp_path, capsys):
    more = ("--retrain", str(world.model), "--budget", "1", "--method", "finetune", "--gate", "quantise")
    assert world.unlearn(tmp_path / "out", *more, "--alike") == 5
    assert "from one pool" in json.loads((tmp_path / "out" / "scores.json").read_text())["evidence"]["notes"][0]
    assert world.unlearn(tmp_path / "without", "--alike") == 2
    assert "--alike: says how" in " ".join(capsys.readouterr().err.split())


def test_a_gate_is_narrow_where_the_rows_detect_no_leak_of_its_limit():
    gates = parse_gates("mia,relearn=0.1,quantise=0.2")
    (narrow,) = narrow_words(gates, 40, 200, 0)
    assert narrow.startswith("the gate relearn=0.1 can hardly be shown to hold: 40 forgotten and 200 held-out")
    assert narrow.endswith("detect a leak of 0.141 in AUC and more with power 0.8")
    assert "beside retrained models" in narrow_words(gates, 40, 200, 1)[0]
    assert narrow_words(gates, 2000, 2000, 0) == []
    assert "detect no leak" in narrow_words(gates, 2, 2, 0)[0]


def test_gates_of_a_run_without_unseen_rows_are_refused_before_it_starts(world, tmp_path, capsys):
    assert world.unlearn(tmp_path / "out", "--gate", "mia", skip=["heldout", "test"]) == 2
    assert "--gate" in capsys.readouterr().err


@pytest.mark.parametrize(("gate", "expected"), [("mia,u-lira", "found u-lira"), ("lira=0.1,klom", "lira, klom")])
def test_gates_that_train_shadows_are_refused_before_anything_is_loaded(world, tmp_path, capsys, gate, expected):
    nowhere = ("--gate", gate, "--model", str(tmp_path / "nowhere"))
    assert world.unlearn(tmp_path / "out", *nowhere, skip=["model"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert expected in said
    assert "run ofmu attack" in said


def test_gates_that_serve_another_kind_of_model_are_refused_before_the_run(world, tmp_path, capsys):
    assert world.unlearn(tmp_path / "out", "--gate", "elicit") == 2
    assert "found elicit and a model for image, expected some of mia, relearn" in " ".join(
        capsys.readouterr().err.split()
    )


@pytest.fixture(scope="module")
def texts(tmp_path_factory) -> World:
    return text_world(tmp_path_factory.mktemp("texts"))


def test_texts_are_attacked_through_their_tokens(texts, capsys):
    assert run(words(texts, "--original", str(texts.model), "--attacks", "mia,adapter", "--json")) == 0
    said = json.loads(capsys.readouterr().out)
    found = {each["attack"]: each for each in said["findings"]}
    assert {"loss", "min-k", "min-k++", "zlib", "extraction", "adapter-off", "half-precision"} == set(found)
    assert found["adapter-off"]["missing"] == "the model has no adapter that could be taken off"
    assert found["loss"]["verdict"] in ("remembered", "not detected", "blind")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--budget", "nan"], "--budget: found nan"),
        (["--budget", "-3"], "--budget: found -3"),
        (["--seed", "-1"], "--seed: found -1"),
        (["--out", __file__], "is a file, expected a folder"),
    ],
)
def test_numbers_and_places_that_cannot_be_are_refused_first(world, more, said, capsys):
    assert run(words(world, "--attacks", "mia", *more)) == 2
    assert said in " ".join(capsys.readouterr().err.split())


def test_shadows_unlearn_as_the_folder_says_that_the_model_did(world, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("OFMU_STORE", str(tmp_path / "store"))
    assert world.unlearn(tmp_path / "out", "--method", "finetune", "--budget", "0.5") == 0
    given = words(world, "--original", str(world.model), "--attacks", "u-lira", "--shadows", "8", "--json")
    given[given.index("--model") + 1] = str(tmp_path / "out")
    capsys.readouterr()
    assert run(given) == 0
    found, online = json.loads(capsys.readouterr().out)["findings"]
    assert (found["attack"], online["attack"]) == ("u-lira", "lira-online")
    assert "the method over 8 shadows" in found["extra"][0]
    how = unlearning_of(str(tmp_path / "out"), "image", 16)
    assert how is not None
    assert (how.budget, how.batch, type(how.method).__name__) == (128.0, 16, "Scalarised")
    assert unlearning_of(str(world.model), "image", 16) is None
    assert run(words(world, "--shadows", "7")) == 2
    assert "even number" in capsys.readouterr().err


def test_hard_questions_are_made_of_the_rows(texts, capsys, monkeypatch):
    monkeypatch.setattr(sampling, "QUESTIONS", 2)
    monkeypatch.setattr(sampling, "LONGEST", 4)
    assert run(words(texts, "--attacks", "elicit", "--json", "--probes", "made")) == 0
    found = {each["attack"]: each for each in json.loads(capsys.readouterr().out)["findings"]}
    for kind in ("paraphrased", "multi-hop", "cross-lingual", "reversed"):
        assert found[f"probe questions: {kind}"]["model"] is not None, kind


def test_hard_questions_are_read_from_a_file(tmp_path, monkeypatch):
    about, file = ("forget", "heldout"), tmp_path / "questions.jsonl"
    case = Case("text", net(0), Parts(images(6, 1), images(6, 2), images(6, 3)))
    lines = [
        {
            "question": f"Who, {i}?",
            "answer": "No one.",
            "probe": ("own", "its")[i % 4 > 1],
            "about": about[i % 2],
        }
        for i in range(8)
    ]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = with_probes(case, str(file)).probes
    counts = {name: [len(side) for side in sides] for name, sides in found.items()}
    assert counts == {"own": [2, 2], "its": [2, 2]}
    assert [record.prompt for record in found["its"][1]] == ["Who, 3?", "Who, 7?"]
    assert with_probes(case, None) is case
    file.write_text(json.dumps({**lines[0], "about": "them"}) + "\n")
    with pytest.raises(UserError, match="about 'them'"):
        with_probes(case, str(file))
    with pytest.raises(UserError, match="text models"):
        with_probes(replace(case, kind="image"), "made")
    with pytest.raises(UserError, match="no text that could be asked"):
        with_probes(case, "made")
    monkeypatch.setattr(attack_probes, "records_of", lambda _: [question_answer("Q?", "A")])
    with pytest.raises(UserError, match="give a file of questions"):
        with_probes(case, "made")
