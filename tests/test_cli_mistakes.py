"""Every mistake of a user: one message that says what was found and what to do, exit code 2, nothing written."""

import json

import pytest
import torch

from cli_world import World, image_world, text_world, write_jsonl
from ofmu.cli.main import run
from ofmu.data.read import open_records


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    return text_world(tmp_path_factory.mktemp("texts"))


@pytest.fixture
def refused(world, tmp_path, capsys):
    """Run unlearn with one thing replaced, and give back the message."""

    def refuse(*more: str, skip: tuple[str, ...] = ()) -> str:
        before = sorted(path.name for path in tmp_path.iterdir())
        assert world.unlearn(tmp_path / "out", *more, skip=skip) == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert "Traceback" not in said.err
        assert sorted(path.name for path in tmp_path.iterdir()) == before
        return said.err

    return refuse


def test_a_missing_file(refused, world):
    near = str(world.files["forget"]).replace("forget", "forgett")
    said = refused("--forget", near, skip=("forget",))
    assert near in said
    assert "did you mean" in said


def test_an_empty_forget_set(refused, tmp_path):
    empty = tmp_path / "empty.jsonl"
    empty.write_text("")
    assert "is empty" in refused("--forget", str(empty), skip=("forget",))
    empty.write_text("\n\n")
    assert "has no rows" in refused("--forget", str(empty), skip=("forget",))


def test_rows_in_forget_and_retain_are_named(refused, world, tmp_path):
    forget, retain = list(open_records(world.files["forget"])), list(open_records(world.files["retain"]))
    both = write_jsonl(tmp_path / "both.jsonl", [*retain, forget[2]])
    said = refused("--retain", str(both), skip=("retain",))
    assert "share 1 row" in said
    assert forget[2].id in said


@pytest.mark.parametrize("part", ["heldout", "test"])
def test_members_are_no_unseen_rows(refused, world, tmp_path, part):
    member = next(iter(open_records(world.files["retain"])))
    other = write_jsonl(tmp_path / "other.jsonl", [member])
    said = refused(f"--{part}", str(other), skip=(part,))
    assert member.id in said
    assert "in the retain set too" in said


def test_targets_are_not_made_from_what_the_table_reports(refused, world):
    assert "in the heldout set too" in refused("--test", str(world.files["heldout"]), skip=("test",))


def test_a_row_without_its_fields_is_named_by_file_and_line(refused, world, tmp_path):
    lines = world.files["forget"].read_text().splitlines()
    row = json.loads(lines[1])
    del row["answer"]
    broken = tmp_path / "broken.jsonl"
    broken.write_text("\n".join([lines[0], json.dumps(row)]))
    said = refused("--forget", str(broken), skip=("forget",))
    assert f"{broken}:2" in said
    assert "has 'question' but no 'answer'" in said


def test_a_directory_without_a_model(refused, world, tmp_path):
    (tmp_path / "nothing").mkdir()
    assert "not a model directory" in refused("--model", str(tmp_path / "nothing"), skip=("model",))


def test_a_pickle_is_never_read(refused, tmp_path):
    (tmp_path / "pickled").mkdir()
    torch.save({}, tmp_path / "pickled" / "pytorch_model.bin")
    assert "executes any code" in refused("--model", str(tmp_path / "pickled"), skip=("model",))


def test_an_unknown_method(refused):
    said = refused("--method", "omfu")
    assert "did you mean 'ofmu'?" in said


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("lora:4", "needs a transformers model, found a CNN; use full or top:K"),
        ("top:9", "trainable: found top:9, expected at most top:4 (the model's layers)"),
    ],
)
def test_what_cannot_be_trained_of_this_model(tmp_path, capsys, spec, expected):
    images = image_world(tmp_path)
    assert images.unlearn(tmp_path / "out", "--trainable", spec) == 2
    said = capsys.readouterr().err
    assert expected in said
    assert said.startswith("ofmu: ")  # before any work
    assert not list(tmp_path.glob("out*"))


def test_what_cannot_be_trained_of_a_text_model(refused):
    assert "expected at most top:2 (the model's blocks)" in refused("--trainable", "top:3")
    assert "expected at most top:2 (the model's blocks)" in refused("--trainable", "lora:4,top:3")


def test_an_out_that_is_there(world, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious").write_text("mine")
    assert world.unlearn(tmp_path / "out") == 2
    assert "--overwrite" in capsys.readouterr().err
    assert (tmp_path / "out" / "precious").read_text() == "mine"


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (("--budget", "-1"), "--budget: found -1"),
        (("--budget", "0%"), "--budget: found 0%"),
        (("--budget", "much"), "a share of retraining such as 5%"),
        (("--budget", "nan"), "--budget: found nan"),
        (("--lr", "0"), "--lr: found 0"),
        (("--lr", "inf"), "--lr: found inf"),
        (("--seed", "-1"), "--seed: found -1"),
        (("--steps", "0"), "--steps: found 0"),
        (("--steps", "many"), "--steps"),
        (("--trainable", "half"), "full, top:K"),
        (("--resume",), "no interrupted run"),
        (("--forget-where", "a=b"), "--data"),
        (("--budget", ".001"), "the targets alone cost"),
        (("--max-length", "3"), "raise max_length"),
        (("--max-length", "0"), "--max-length: found 0, expected at least 2"),
        (("--retrain", "not/a/model"), "ofmu: --retrain: not/a/model does not exist"),
        (("--base", "not/a/model"), "ofmu: --base: not/a/model does not exist"),
        (("--metod", "ofmu"), "--metod"),
    ],
)
def test_arguments_that_cannot_be(refused, more, expected):
    assert expected in refused(*more)


def test_a_broken_model_is_refused(refused, world, tmp_path):
    from ofmu.engine.models import load_model, save_model

    loaded = load_model(world.model)
    with torch.no_grad():
        next(loaded.module.parameters())[0, 0] = float("nan")
    (tmp_path / "nan").mkdir()
    save_model(loaded, tmp_path / "nan")
    assert "no finite numbers" in refused("--model", str(tmp_path / "nan"), skip=("model",))


def test_another_tokenizer_is_refused(refused, world, tmp_path, capsys):
    data = str(world.files["heldout"])
    words = ["train", "--model", "tiny-llama", "--vocabulary", "280", "--epochs", "0.1", "--data", data]
    assert run([*words, "--out", str(tmp_path / "other")]) == 0
    capsys.readouterr()
    assert "another tokenizer" in refused("--retrain", str(tmp_path / "other"))


@pytest.mark.parametrize("words", [["unlern"], ["unlearn"], ["compare"], ["bench"], ["bench", "nothing-like-it"]])
def test_commands_that_cannot_be(words, capsys):
    pytest.importorskip("ofmu.benchmarks.catalogue") if words[0] == "bench" else None
    assert run(words) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_help_is_a_page(capsys):
    for words in (["--help"], ["unlearn", "--help"], ["train", "--help"], ["evaluate", "--help"], ["--version"]):
        assert run(words) == 0
    said = capsys.readouterr().out
    assert "130 interrupted" in said
    assert "Examples" in said


NOWHERE = ["--model", "not/a/model", "--forget", "no-forget", "--retain", "no-retain"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["evaluate", *NOWHERE, "--seed", "-1"], "--seed: found -1"),
        (["evaluate", *NOWHERE, "--name", ""], "--name: found ''"),
        (["evaluate", *NOWHERE, "--name", "Retrain", "--retrain", "x"], "--name: found 'Retrain'"),
        (["evaluate", *NOWHERE, "--max-length", "1"], "--max-length: found 1"),
        (["attack", *NOWHERE, "--heldout", "no-heldout", "--max-length", "0"], "--max-length: found 0"),
        (
            ["train", "--model", "tiny-llama", "--data", "x", "--out", "m", "--max-length", "0"],
            "--max-length: found 0",
        ),
        (
            ["train", "--model", "tiny-llama", "--data", "x", "--out", "m", "--vocabulary", "9"],
            "--vocabulary: found 9",
        ),
        (["train", "--model", "./tiny", "--data", "x", "--out", "m"], "from scratch there are digits-cnn"),
        (["bench", "tofu", "--trainable", "half"], "expected full, top:K"),
        (["bench", "tofu", "--original", "not/a/model"], "ofmu: --original: not/a/model does not exist"),
        (["bench", "tofu", "--retrain", "not/a/model"], "ofmu: --retrain: not/a/model does not exist"),
    ],
)
def test_arguments_of_other_commands_that_cannot_be(words, expected, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(words) == 2
    assert expected in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
