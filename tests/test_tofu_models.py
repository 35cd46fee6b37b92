"""Which settings a model takes: the published ones by hub id or folder name; the command that asks for them."""

import json

import pytest

from ofmu.benchmarks import tofu_choice
from ofmu.benchmarks.tofu import run_tofu
from ofmu.benchmarks.tofu_choice import Choice, Plan
from ofmu.benchmarks.tofu_models import INST, PRESETS, preset_of
from ofmu.benchmarks.tofu_references import reference
from ofmu.benchmarks.tofu_runs import tried
from ofmu.cli.main import run
from ofmu.data.encode import Encoder
from ofmu.engine.models import save_model
from ofmu.engine.store import Store
from ofmu.errors import UserError
from tofu_world import base, split

pytest.importorskip("transformers")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A model in the layout of a hub model, in a folder that is named after one; and few people to learn."""
    monkeypatch.setattr(tofu_choice, "people_split", lambda **_: split())
    place = tmp_path / "Llama-3.2-1B-Instruct"
    place.mkdir()
    save_model(base(), place)
    return place


def test_hub_models_take_the_published_settings():
    for name, preset in PRESETS.items():
        recipe = preset.recipe
        assert (recipe.epochs, recipe.batch, recipe.decay, recipe.rule) == (5, 32, 0.01, "adamw")
        assert recipe.lr == (2e-5 if name == "microsoft/phi-1_5" else 1e-5)
        assert recipe.factor(0, 100) == pytest.approx(0.05)  # the first of five epochs warms up
        assert recipe.factor(19, 100) == 1.0
        assert (preset.lr, preset.epochs, preset.batch, preset.trained) == (1e-5, 10, 32, "full")
    assert preset_of("meta-llama/Llama-2-7b-chat-hf")[0].template == INST
    assert preset_of("/models/llama-3.2-1b-instruct")[1] == "as published for meta-llama/Llama-3.2-1B-Instruct"
    assert "not among them" in preset_of("me/my-model")[1]


def test_a_local_folder_is_trained_and_unlearned_with_the_settings_of_its_name(folder, tmp_path):
    store = Store(tmp_path / "store")
    ours, development = tofu_choice.tofu_setting(Choice("people", str(folder), "lora:2"), store)
    assert "as published for meta-llama/Llama-3.2-1B-Instruct" in ours.about
    assert (ours.halves.trained, ours.spec, ours.width, ours.general) == ("full", "lora:2", 32, {})
    assert ours.budget == 2 * 10 * 8  # ten passes over the forget set, and as much of the kept one
    assert ours.method("npo").descent.lr == 1e-5
    assert ours.method("undial").descent.lr == 1e-4
    assert (ours.method("simnpo").forget.beta, ours.method("simnpo").forget_weight) == (4.5, 0.125)
    assert ours.method("rmu").forget.scale == 2.0
    original = reference(ours, "Original", 0, store)
    assert original.spent.samples == 5 * 16
    found = tried(ours.on(development), "undial", ours.method("undial"), original, 0, store)
    assert (found["failed"], len(found["forget"]), len(found["retain"])) == ("", 8, 8)


def test_more_blocks_than_the_model_has_are_refused_before_anything_is_trained_or_written(folder, tmp_path):
    with pytest.raises(UserError, match=r"trainable: found top:77, expected at most top:4 "):
        run_tofu(tmp_path / "out", Choice("people", str(folder), "top:77"), Plan(trials=0), lambda _: None)
    assert not (tmp_path / "out").exists()


def test_a_budget_is_in_gradients_of_a_batch(folder, tmp_path):
    ours, _ = tofu_choice.tofu_setting(Choice("people", str(folder), budget=3), Store(tmp_path / "store"))
    assert ours.budget == 3 * 32


def test_the_llama_2_tags_stand_around_the_question():
    record = split().report.forget[0]
    encoder = Encoder(base().tokenizer, "chat", 256, INST)
    ids, labels = encoder(record)
    text = base().tokenizer.decode([i for i, label in zip(ids, labels) if label < 0])
    assert text.endswith(f"[INST] {record.prompt} [/INST]")
    answer = base().tokenizer.decode([label for label in labels if label >= 0])
    assert answer == record.completion + base().tokenizer.eos_token


def test_the_one_minute_model_learns_embedded_people_alone(tmp_path):
    with pytest.raises(UserError, match="embedded people alone"):
        tofu_choice.tofu_setting(Choice("forget01", "one-minute"), Store(tmp_path))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--methods", "npoo"], "did you mean npo?"),
        (["--seeds", "0"], "--seeds: found 0"),
        (["--trials", "-1"], "--trials: found -1"),
        (["--seed-numbers", "4", "5", "4"], "--seed-numbers: found 4 in 4 5 4, expected each once"),
        (["--seed-numbers", "-1"], "--seed-numbers: found -1"),
        (["--settings", "/nowhere/tofu.json"], "--settings: /nowhere/tofu.json does not say how ofmu was tuned"),
        (["--budget", "0"], "--budget: found 0"),
        (["--budget", "nan"], "--budget: found nan"),
        (["--keep", "0", "--split", "people", "--model", "one-minute"], "--keep: found 0"),
        (["--trainable", "most", "--split", "people", "--model", "one-minute"], "expected full, top:K"),
        (["--model", "/nowhere/at/all", "--split", "people"], "does not exist"),
    ],
)
def test_mistakes_on_the_command_line(words, said, tmp_path, capsys):
    assert run(["bench", "tofu", *words, "--out", str(tmp_path)]) == 2
    assert said in " ".join(capsys.readouterr().err.split())


def test_settings_of_an_earlier_run_are_asked_for_with_seeds_of_ones_own(tmp_path, monkeypatch):
    from ofmu.benchmarks import tofu
    from ofmu.cli import studies

    asked = []
    monkeypatch.setattr(tofu, "run_tofu", lambda *given: asked.append(given))
    monkeypatch.setattr(studies, "_write", lambda *_: None)
    chosen = {"trials": 6, "failed": 0, "first": 1.0, "best": 0.5, "values": {"descent.lr": 2e-4}, "cost": 9.0}
    file = tmp_path / "tofu.json"
    file.write_text(json.dumps({"tuning": {"npo": {**chosen, "ends": {}}}}))
    words = ["bench", "tofu", "--methods", "npo", "--settings", str(file), "--out", str(tmp_path / "out")]
    assert run([*words, "--seed-numbers", "7", "9"]) == 0
    plan = asked[0][2]
    assert (plan.reported, plan.settings) == ((7, 9), file)
    assert plan.command == (
        f"ofmu bench tofu --model smollm2-135m --methods npo --settings {file} --seed-numbers 7 9"
    )


def test_the_command_line_asks_for_what_it_was_told(tmp_path, monkeypatch):
    from ofmu.benchmarks import tofu
    from ofmu.cli import studies

    asked = []
    monkeypatch.setattr(tofu, "run_tofu", lambda *given: asked.append(given))
    monkeypatch.setattr(studies, "_write", lambda *_: None)
    words = "--split forget05 --keep 4 --methods npo,ofmu --trials 2 --seeds 1 --budget 9 --trainable lora:8"
    assert run(["bench", "tofu", *words.split(), "--out", str(tmp_path), "--store", str(tmp_path / "s")]) == 0
    ((out, choice, plan, _, store),) = asked
    assert (out, store) == (tmp_path, tmp_path / "s")
    assert choice == Choice("forget05", "smollm2-135m", "lora:8", 4, 9.0)
    assert (plan.methods, plan.seeds, plan.trials) == (("npo", "ofmu"), 1, 2)
    assert plan.command.startswith(
        "ofmu bench tofu --model smollm2-135m --trainable lora:8 --split forget05 --keep 4"
    )
