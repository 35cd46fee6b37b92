"""Multiple choice: loaders, accuracy by hand, lm-eval against the plain computation, and the commands."""

from __future__ import annotations

import gzip
import json
import os

import numpy as np
import pytest
import torch
from torch.nn import Module

from ofmu import metrics
from ofmu.benchmarks.choices import ChoiceView, choice_row, choice_view, damage_row
from ofmu.cli.main import run
from ofmu.data.choices import ChoiceQuestion, ChoiceSet, answered, load_mmlu, load_wmdp
from ofmu.data.encode import Encoder
from ofmu.engine.language import from_scratch, train_tokenizer
from ofmu.engine.models import LoadedModel, save_model
from ofmu.errors import UserError

SUBJECTS = ("abstract_algebra", "world_religions")
HARNESS = "lm_eval"


def row(i, subject=None):
    more = {} if subject is None else {"subject": subject}
    return {"question": f" What is {i} + 1? ", "choices": [f"{i + k}" for k in range(4)], "answer": i % 4, **more}


def write(path, rows):
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(gzip.compress("".join(json.dumps(each) + "\n" for each in rows).encode()))
    return path.parent


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    write(root / "wmdp" / "wmdp-bio.jsonl.gz", [row(i) for i in range(5)])
    write(root / "wmdp" / "wmdp-cyber.jsonl.gz", [row(i) for i in range(4)])
    write(root / "mmlu" / "test.jsonl.gz", [row(i, SUBJECTS[i // 3]) for i in range(6)])
    write(root / "mmlu" / "dev.jsonl.gz", [row(i + 9, subject) for subject in SUBJECTS for i in range(2)])
    return root


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    tokenizer = train_tokenizer(["Question: What is 1 + 1?\nA. 1\nB. 2\nC. 3\nD. 4\nAnswer: A"], 300)
    config = {"vocab_size": len(tokenizer), "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 512}
    ids = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2, "initializer_range": 0.3}
    module = from_scratch({**config, **heads, **ids}, 0).eval()
    return LoadedModel(module, "text", tokenizer, Encoder.of(tokenizer, 256).settings())


@torch.no_grad()
def log_likelihood(model: Module, prompt: list[int], said: list[int]) -> float:
    logits = model(torch.tensor([prompt + said])).logits[0].log_softmax(-1)
    return sum(float(logits[len(prompt) + i - 1, token]) for i, token in enumerate(said))


def test_questions_are_read_with_their_subjects_and_examples(folder):
    bio, mmlu = load_wmdp("bio", folder / "wmdp"), load_mmlu(folder / "mmlu")
    assert bio.questions[4] == ChoiceQuestion("wmdp-bio/4", " What is 4 + 1? ", ("4", "5", "6", "7"), 0, "biology")
    assert (bio.higher_is_better, mmlu.higher_is_better) == (False, True)
    assert [q.subject for q in mmlu.questions[2:4]] == ["abstract algebra", "world religions"]
    assert [q.id for q in mmlu.shots["world religions"]] == ["mmlu-dev/2", "mmlu-dev/3"]
    assert [q.id for q in mmlu.spread(2).questions] == ["mmlu/0", "mmlu/3"]  # one of each subject
    record = answered(bio.questions)[1]
    assert (record.completion, record.meta["perturbed_answer"]) == ("2", ["1", "3", "4"])


@pytest.mark.skipif("OFMU_DATA_DIR" not in os.environ, reason="needs the benchmark data")
def test_the_released_questions():
    assert [len(load_wmdp(part).questions) for part in ("bio", "cyber")] == [1273, 1987]
    mmlu = load_mmlu()
    assert (len(mmlu.questions), len(mmlu.shots), {len(s) for s in mmlu.shots.values()}) == (14042, 57, {5})


def test_mistakes_in_the_data_are_named(folder, tmp_path, monkeypatch):
    monkeypatch.delenv("OFMU_DATA_DIR", raising=False)
    with pytest.raises(UserError, match="part: found 'chem'"):
        load_wmdp("chem")
    with pytest.raises(UserError, match="OFMU_DATA_DIR"):
        load_mmlu()
    with pytest.raises(UserError, match="hub id 'cais/wmdp'"):
        load_wmdp("bio", tmp_path / "none")
    with pytest.raises(UserError, match=r"has no test\.jsonl\.gz"):
        load_mmlu(folder / "wmdp")
    write(tmp_path / "w" / "wmdp-bio.jsonl.gz", [row(0), {"question": "?", "choices": "ABCD", "answer": 1}])
    with pytest.raises(UserError, match=r"wmdp-bio\.jsonl\.gz:2: found question, choices, answer"):
        load_wmdp("bio", tmp_path / "w")
    with pytest.raises(UserError, match="4 choices and answer 4"):
        ChoiceQuestion("x", "?", ("a", "b", "c", "d"), 4, "s")
    with pytest.raises(UserError, match=r"choices, expected at least one question"):
        ChoiceSet("none", [], True)


def test_accuracy_and_damage_by_hand():
    likely = [[-1.0, -2.0], [-2.0, -1.0], [-3.0, -3.0], [-0.5, -4.0]]
    assert metrics.chosen_correctly(likely, [0, 0, 0, 1]).tolist() == [1, 0, 1, 0]  # a tie: the first
    score = metrics.choice_accuracy(likely, [0, 0, 0, 1], False)
    assert (score.value, score.n, score.higher_is_better) == (0.5, 4, False)
    damage = metrics.general_damage([1, 1, 1, 0], [0, 1, 0, 1])
    assert (damage.value, damage.n, damage.unit) == (25.0, 4, "points")
    assert damage.spread == pytest.approx(np.std([100, 0, 100, -100], ddof=1) / 2)
    assert metrics.general_damage([1, 0], [1, 0]).interval == (0.0, 0.0)  # the same questions right: no noise


@pytest.mark.parametrize(
    ("likely", "answers"),
    [
        ([[-1.0]], [0]),
        ([[-1.0, 1.0]], [0]),
        ([[-1.0, np.nan]], [0]),
        ([[-1.0, -2.0]], [2]),
        ([[-1.0, -2.0]], [0, 1]),
    ],
)
def test_choices_that_cannot_be_scored_are_refused(likely, answers):
    with pytest.raises(ValueError, match=r"log_likelihood|answer"):
        metrics.chosen_correctly(likely, answers)


def test_damage_is_of_the_same_questions():
    view = ChoiceView(("a", "b"), np.array([[-1.0, -2.0], [-1.0, -2.0]]), np.array([0, 1]))
    assert damage_row("t", "Model", 0, view, view).value == 0
    assert choice_row("t", "Model", 0, view, True).value == 0.5
    with pytest.raises(ValueError, match="expected the same"):
        damage_row("t", "Model", 0, view, ChoiceView(("a", "c"), view.log_likelihood, view.answers))


def test_words_of_the_choices_have_the_likelihood_of_an_answer(folder, loaded):
    questions = load_wmdp("bio", folder / "wmdp").questions
    encoder = Encoder.of(loaded.tokenizer, 256)
    view = choice_view(loaded.module, questions, encoder)
    assert (view.log_likelihood.shape, view.answers.tolist()) == ((5, 4), [0, 1, 2, 3, 0])
    record = answered(questions)[2]  # the right one is the third
    prompt = encoder.prompt(record)
    said = encoder(record)[0][len(prompt) :]
    assert view.log_likelihood[2, 2] == pytest.approx(log_likelihood(loaded.module, prompt, said), abs=1e-4)
    assert view.correct.tolist() == (view.log_likelihood.argmax(1) == [0, 1, 2, 3, 0]).tolist()


@pytest.mark.parametrize("shots", [0, 2])
def test_lm_eval_scores_letters_after_the_standard_prompt(folder, loaded, shots):
    pytest.importorskip(HARNESS)
    from ofmu.benchmarks.harness import harness_view

    before = dict(os.environ)
    asked = load_mmlu(folder / "mmlu")
    view = harness_view(loaded, asked, shots, batch=3)
    assert dict(os.environ) == before
    for number in (1, 5):
        question = asked.questions[number]
        about = f"The following are multiple choice questions (with answers) about {question.subject}.\n\n"
        body = [(q, f" {'ABCD'[q.answer]}\n\n") for q in asked.shots[question.subject][:shots]] + [(question, "")]
        for q, end in body:
            choices = "".join(f"{letter}. {choice}\n" for letter, choice in zip("ABCD", q.choices, strict=True))
            about += f"{q.question.strip()}\n{choices}Answer:{end}"
        prompt = loaded.tokenizer(about)["input_ids"]
        for i, letter in enumerate("ABCD"):
            said = loaded.tokenizer(f"{about} {letter}")["input_ids"][len(prompt) :]
            expected = log_likelihood(loaded.module, prompt, said)
            assert view.log_likelihood[number, i] == pytest.approx(expected, abs=1e-4)
    assert view.ids == tuple(q.id for q in asked.questions)


def test_lm_eval_refuses_what_it_cannot_ask(folder, loaded):
    from ofmu.benchmarks.harness import harness_view

    with pytest.raises(UserError, match="--shots: found 3, expected 0 to 2"):
        harness_view(loaded, load_mmlu(folder / "mmlu"), 3)
    with pytest.raises(UserError, match="no language model"):
        harness_view(LoadedModel(torch.nn.Linear(1, 1), "image"), load_wmdp("bio", folder / "wmdp"))


def test_the_commands_give_rows_with_direction_and_interval(folder, loaded, tmp_path, capsys):
    pytest.importorskip(HARNESS)
    model = tmp_path / "model"
    model.mkdir()
    save_model(loaded, model)
    where = ["--model", str(model), "--json", "--data"]
    assert run(["score", "wmdp", "--part", "both", *where, str(folder / "wmdp"), "--limit", "3"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [(r["task"], r["n"], r["higher_is_better"]) for r in rows] == [
        ("wmdp-bio", 3, False),
        ("wmdp-cyber", 3, False),
    ]
    assert all(r["low"] <= r["value"] <= r["high"] for r in rows)
    same = ["--original", str(model), "--shots", "1"]
    assert run(["score", "mmlu", *where, str(folder / "mmlu"), *same]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [(r["method"], r["metric"], r["higher_is_better"]) for r in rows] == [
        ("Original", "accuracy", True),
        ("Model", "accuracy", True),
        ("Model", "general_damage", False),
    ]
    assert (rows[2]["value"], rows[2]["low"], rows[2]["high"]) == (0, 0, 0)
    assert run(["score", "wmdp", "--model", "none", "--part", "bio", "--data", str(folder / "mmlu")]) == 2
    assert "--data: " in (said := capsys.readouterr().err)
    assert "wmdp-bio" in said


def test_the_error_for_absent_data_names_the_option(monkeypatch, capsys):
    monkeypatch.delenv("OFMU_DATA_DIR", raising=False)
    for name in ("mmlu", "wmdp"):
        assert run(["score", name, "--model", "none"]) == 2
        said = " ".join(capsys.readouterr().err.split())
        assert "OFMU_DATA_DIR" in said
        assert "--data" in said
