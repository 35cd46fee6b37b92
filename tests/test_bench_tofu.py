"""The TOFU benchmark: its shortcut is exact, its runs are kept, its table says what there is and what is not."""

import json
import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from ofmu.benchmarks import tofu, tofu_cells, tofu_knowledge, tofu_references, tofu_runs, tofu_tuning, tofu_utility
from ofmu.benchmarks.catalogue import BENCHMARKS
from ofmu.benchmarks.experiment import Budget
from ofmu.benchmarks.tofu import carry_out, every_method, method_names, run_tofu
from ofmu.benchmarks.tofu_choice import Choice, Plan
from ofmu.benchmarks.tofu_reading import reading
from ofmu.benchmarks.tofu_references import reference
from ofmu.benchmarks.tofu_rows import DIRECTIONS, OTHERS, score_rows
from ofmu.benchmarks.tofu_runs import restored, unlearned
from ofmu.benchmarks.tofu_seen import Seen, fluency, questions, shown
from ofmu.benchmarks.tofu_space import tuned
from ofmu.benchmarks.tofu_top import Halves
from ofmu.benchmarks.tuning import Tried
from ofmu.data.choices import ChoiceQuestion, ChoiceSet
from ofmu.data.encode import TextSamples
from ofmu.data.refusals import refusals
from ofmu.engine.measuring import sample_losses
from ofmu.engine.prepare import Parts, Sources, prepare
from ofmu.engine.store import Store
from ofmu.engine.upper import UpperSamples
from ofmu.errors import UserError
from ofmu.losses import token_nll
from ofmu.report.model import Cost, ScoreRow, TaskSection
from ofmu.report.scores import read_scores
from tofu_world import bench, setting, with_general

pytest.importorskip("transformers")
pytest.importorskip("optuna")
METHODS = ("ofmu", "graddiff", "idkdpo", "rmu")
LAST = ("model_utility", "mmlu_accuracy", "general_damage")  # measured of all models, once all are there
PLAN = Plan(METHODS, 1, 2, "ofmu bench tofu --made-small")


@pytest.fixture(scope="module")
def given():
    return with_general(setting())


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def ran(tmp_path_factory, given):
    out, told = tmp_path_factory.mktemp("bench"), []
    return carry_out(bench(out, given, PLAN, told)), out, told


def ids_of(group):
    return {record.id for record in group}


def shaken(halves):
    top = halves.top()
    with torch.no_grad():
        for p in top.parameters():
            if p.requires_grad:
                p.add_(0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(1)))
    return top


# the model cut in two


def test_the_upper_part_gives_the_losses_of_the_whole_model(given, store):
    halves, samples = given.halves, TextSamples(given.groups.forget, given.encoder)
    top = shaken(halves)
    whole = sample_losses(halves.whole(top), samples, token_nll)
    kept = halves.samples(samples, store)
    upper = sample_losses(top, kept, token_nll)
    untouched = sample_losses(halves.base.module, samples, token_nll)
    assert isinstance(kept, UpperSamples)
    assert torch.allclose(upper, whole, atol=1e-4)
    assert not torch.allclose(whole, untouched, atol=1e-2)


def test_what_is_trained_is_kept_by_names_numbered_from_the_first_trained_block(given):
    halves = given.halves
    top = shaken(halves)
    state = halves.state(top)
    assert {name.split(".")[2] for name in state if ".layers." in name} == {"0", "1"}
    assert {name.split(".")[1] for name in state} == {"layers", "norm"}
    again = halves.state(halves.top(state))
    assert all(torch.equal(again[name], value) for name, value in state.items())
    with pytest.raises(ValueError, match="no parameters of this model"):
        halves.top({"model.layers.7.x": torch.zeros(1)})


def test_a_model_that_is_trained_whole_passes_whole(given, store):
    halves = Halves.of(given.halves.base, "full", {"base": "tiny"}, [])
    samples = TextSamples(given.groups.forget, given.encoder)
    assert halves.samples(samples, store) is samples
    assert all(p.requires_grad for p in halves.top().parameters())
    assert set(halves.state(halves.top())) == {name for name, _ in halves.base.module.named_parameters()}


def test_refusals_pass_through_the_upper_part_like_the_questions(given, store):
    top = shaken(given.halves)
    forget = given.samples(given.groups.forget, store)
    retain = given.samples(given.groups.retain, store)
    task = prepare(top, "text", Parts(forget, retain), given.method("idkdpo"), Sources(), 0).task
    said = refusals(TextSamples(given.groups.forget, given.encoder))
    assert isinstance(task.refusals, UpperSamples)
    assert task.refusals.ids == said.ids
    whole = sample_losses(given.halves.whole(top), said, token_nll)
    assert torch.allclose(task.refusal_nll, whole, atol=1e-4)


# references and runs


def test_references_are_trained_once_and_retrain_never_sees_the_forgotten(given, store):
    first, again = (reference(given, "Retrain", 0, store) for _ in range(2))
    groups = given.groups
    assert first.path == again.path
    assert first.spent == again.spent
    assert first.spent.samples == given.recipe.epochs * len(groups.retain)
    original = reference(given, "Original", 0, store)
    assert original.spent.samples == given.recipe.epochs * (len(groups.retain) + len(groups.forget))
    assert original.key != first.key


def test_nothing_but_measuring_reads_the_unseen_people(given, store, monkeypatch):
    """Preparation and unlearning are handed forget, retain and held-out people; the reported unseen ones never."""
    handed, real = [], tofu_runs.prepare

    def spy(model, kind, parts, *rest, **named):
        handed.append(parts)
        return real(model, kind, parts, *rest, **named)

    monkeypatch.setattr(tofu_runs, "prepare", spy)
    original = reference(given, "Original", 0, store)
    unlearned(given, "ofmu", given.method("ofmu"), 5, original, store)
    (parts,) = handed
    assert [set(part.ids) for part in (parts.forget, parts.retain, parts.heldout)] == [
        ids_of(group) for group in (given.groups.forget, given.groups.retain, given.groups.heldout)
    ]


@pytest.mark.parametrize("spec", ["top:2", "lora:2", "lora:2,top:2", "full"])
def test_the_model_of_a_run_is_had_back_from_the_store(spec, store, monkeypatch):
    ours, left, real = setting(spec), [], tofu_runs.run_method

    def spy(*given, **named):
        left.append(real(*given, **named))
        return left[-1]

    monkeypatch.setattr(tofu_runs, "run_method", spy)
    original = reference(ours, "Original", 0, store)
    run = unlearned(ours, "graddiff", ours.method("graddiff"), 7, original, store)
    samples = ours.samples(ours.groups.forget, store, ours.through_top)
    gold, found = (sample_losses(m, samples, token_nll) for m in (left[0].model, restored(run, ours, original)))
    assert torch.equal(gold, found)
    before = sample_losses(original.top(ours), ours.samples(ours.groups.forget, store), token_nll)
    assert not torch.allclose(before, found, atol=1e-3)


def test_a_run_is_named_by_what_it_depends_on_and_not_by_how_it_is_measured():
    ours, original = setting(), tofu_references.Reference("k", None, None)
    npo = ours.method("npo")
    parts = tofu_runs.run_parts(ours, npo, 0, original)
    assert set(parts) == {
        *(
            "made",
            "version",
            "model",
            "trainable",
            "method",
            "seed",
            "budget",
            "heldout",
            "encoder",
            "data",
            "path",
        )
    }
    assert parts["budget"] == [16.0, 8, "nearest"]
    longer = replace(ours, preset=replace(ours.preset, longest=7))
    assert tofu_runs.run_parts(longer, npo, 0, original) == parts
    assert tofu_runs.measured(longer) != tofu_runs.measured(ours)
    others = replace(ours, groups=replace(ours.groups, forget=ours.groups.retain))
    assert tofu_runs.run_parts(others, npo, 0, original)["data"] != parts["data"]


# the whole


def test_every_method_is_tuned_and_measured(ran):
    page, _, told = ran
    (task,) = page.tasks
    assert {row.method for row in task.rows} == {"Original", "Retrain", "OFMU", "GradDiff", "IdkDPO", "RMU"}
    for method in ("OFMU", "GradDiff", "IdkDPO", "RMU"):
        found = {row.metric: row for row in task.rows if row.method == method}
        assert set(found) == {*DIRECTIONS, *OTHERS, *LAST}
        assert all(math.isfinite(row.value) for row in found.values() if row.value is not None)
    assert {cost.method for cost in task.costs if cost.tuning.startswith("2 trials: ")} == {
        *("OFMU", "GradDiff", "IdkDPO", "RMU")
    }
    budgets = {cost.method: cost.budget for cost in task.costs}
    assert budgets == {
        "Original": None,
        "Retrain": None,
        **dict.fromkeys(("OFMU", "GradDiff", "IdkDPO", "RMU"), 2),
    }
    assert "OFMU: 2 trials on other people" in told
    assert len(task.answers.rows) == 2


def test_the_original_is_at_one_and_is_not_damaged(ran):
    page, _, _ = ran
    original = {row.metric: row.value for row in page.rows if row.method == "Original"}
    assert original["objective"] == 1.0
    assert original["unseen_damage"] == 0.0
    retrain = {row.metric for row in page.rows if row.method == "Retrain"}
    assert not retrain & {"objective", "nll_error", "ks_p", "ks_d"}


def test_aggregates_have_intervals_over_questions(ran):
    page, _, _ = ran
    rows = {row.metric: row for row in page.rows if row.method == "OFMU" and row.value is not None}
    few = {"repetition", "model_utility"}  # two answers a model: some draws have none that counts
    assert {name for name, row in rows.items() if row.low is None} <= {*few, "ks_p", "ks_d"}
    for name in ("forget_nll", "objective", "unseen_damage", "min_k_plus_plus_auc", "general_damage"):
        assert rows[name].low <= rows[name].value <= rows[name].high, name


def test_general_knowledge_is_asked_before_and_after(ran, given):
    page, out, _ = ran
    found = {(row.method, row.metric): row for row in page.rows if row.metric in tofu_knowledge.METRICS}
    assert ("Original", "general_damage") not in found
    before = found["Original", "mmlu_accuracy"]
    assert before.n == len(given.knowledge) == 5
    for method in ("Retrain", "OFMU", "RMU"):
        accuracy, damage = (found[method, name].value for name in ("mmlu_accuracy", "general_damage"))
        assert damage == pytest.approx(100 * (before.value - accuracy))
    assert "General knowledge: 5 short questions" in (out / "tofu.md").read_text()


def test_the_sample_of_mmlu_is_short_and_spread(monkeypatch):
    asked = [ChoiceQuestion(f"mmlu/{i}", "x" * (50 + i), ("a", "b"), 0, "s") for i in range(700)]
    monkeypatch.setattr(tofu_knowledge, "load_mmlu", lambda: ChoiceSet("mmlu", asked, True))
    found, why = tofu_knowledge.general_knowledge()
    assert (len(found), why) == (tofu_knowledge.ASKED, "")
    assert [found[0].id, found[1].id, found[-1].id] == ["mmlu/0", "mmlu/3", "mmlu/345"]  # 349 fit
    monkeypatch.undo()
    monkeypatch.delenv("OFMU_DATA_DIR", raising=False)
    found, why = tofu_knowledge.general_knowledge()
    assert found == ()
    assert "OFMU_DATA_DIR" in why


def test_settings_chosen_before_are_run_on_other_seeds_without_a_trial(ran, given, tmp_path, monkeypatch):
    _, out, _ = ran
    monkeypatch.setattr(tofu_tuning, "tried", lambda *_: pytest.fail("a trial was made"))
    plan = Plan(("graddiff",), command="ofmu bench tofu", numbers=(4,), settings=out / "tofu.json")
    page = carry_out(bench(tmp_path, given, plan, []))
    assert {(row.method, row.seed) for row in page.rows} == {("Original", 4), ("Retrain", 4), ("GradDiff", 4)}
    then, now = (read_scores(folder / "tofu.json")[1]["tuning"]["graddiff"] for folder in (out, tmp_path))
    assert now == then
    assert now["trials"] == 2
    assert "the settings that tofu.json says were chosen before" in page.request["Tuning"]


def test_the_page_names_command_tuning_and_answers(ran):
    page, out, _ = ran
    text = (out / "tofu.md").read_text()
    assert "Made by `ofmu bench tofu --made-small`." in text
    assert "| OFMU | 2 | 0 |" in text
    assert "NOT COMPLETE" not in text
    assert text.count("- IdkDPO: ") == 2
    rows, extra = read_scores(out / "tofu.json")
    assert rows == page.rows
    assert extra["command"] == page.command
    assert extra["tuning"]["ofmu"]["trials"] == 2
    low, high = extra["intervals"]["OFMU"]["unseen_prob"]
    unseen = next(row.value for row in rows if (row.method, row.metric) == ("OFMU", "unseen_prob"))
    assert 0 <= low <= unseen <= high <= 1
    assert "forget_prob" not in extra["intervals"]["OFMU"]  # eight questions are too few


def test_a_second_run_takes_everything_from_the_store(ran, given, monkeypatch):
    def fail(*_, **__):
        raise AssertionError("made again")

    page, out, _ = ran
    for module, name in (
        (tofu_references, "trained"),
        (tofu_runs, "run_method"),
        (tofu_runs, "see"),
        (tofu_tuning, "tried"),
        (tofu_utility, "_measured"),
        (tofu_knowledge, "choice_view_of"),
    ):
        monkeypatch.setattr(module, name, fail)
    again = carry_out(bench(out, given, PLAN, []))
    assert json.dumps([str(row) for row in again.rows]) == json.dumps([str(row) for row in page.rows])


def test_every_finished_run_is_written_at_once_with_what_is_missing(ran, given, monkeypatch):
    page, out, _ = ran
    real = tofu_cells.unlearned

    def stops(ours, name, *rest):
        if name == "idkdpo":
            raise KeyboardInterrupt
        return real(ours, name, *rest)

    monkeypatch.setattr(tofu_cells, "unlearned", stops)
    with pytest.raises(KeyboardInterrupt):
        carry_out(bench(out, given, PLAN, []))
    text = (out / "tofu.md").read_text()
    assert "NOT COMPLETE: the command also makes IdkDPO (seed 0), RMU (seed 0), the model utility" in text
    rows, _ = read_scores(out / "tofu.json")
    made = ("Original", "Retrain", "OFMU", "GradDiff")
    assert rows == [row for row in page.rows if row.method in made and row.metric not in LAST]


def test_a_method_that_cannot_run_is_missing_and_says_why_and_stops_no_other(given, tmp_path, ran, monkeypatch):
    _, out, _ = ran
    real = tofu.chosen

    def refuses(ours, name, *rest):
        if name == "rmu":
            raise UserError("no layer here")
        return real(ours, name, *rest)

    monkeypatch.setattr(tofu, "chosen", refuses)
    told = []
    page = carry_out(bench(out, given, replace(PLAN, methods=("rmu", "graddiff")), told))
    lost = [row for row in page.rows if row.method == "RMU"]
    assert {row.metric for row in lost} == {*DIRECTIONS, *OTHERS}
    assert all((row.value, row.missing) == (None, "no layer here") for row in lost)
    assert any(row.value is not None for row in page.rows if row.method == "GradDiff")
    assert "RMU: no layer here" in told


def test_a_run_that_diverges_has_no_numbers(given, ran, monkeypatch):
    _, out, _ = ran
    wild = replace(given.method("gradascent"), descent=replace(given.method("gradascent").descent, lr=1e30))
    monkeypatch.setattr(type(given), "method", lambda *_: wild)
    page = carry_out(bench(out, given, Plan(("gradascent",), 1, 0, "x"), []))
    lost = [row for row in page.rows if row.method == "GradAscent"]
    assert {row.metric for row in lost} == {*DIRECTIONS, *OTHERS}
    assert all(row.value is None and row.missing for row in lost)
    found = tofu_tuning.chosen(given, "gradascent", wild, 1, out / "tuning", Store(out / "store"))
    assert (found.method, found.trials, found.failed) == (None, 1, 1)


def test_without_its_data_general_knowledge_is_missing_and_says_why(given, ran):
    _, out, _ = ran
    without = replace(given, knowledge=(), unknown="the data set 'mmlu' is not here")
    page = carry_out(bench(out, without, replace(PLAN, methods=("graddiff",)), []))
    lost = [row for row in page.rows if row.metric in tofu_knowledge.METRICS]
    assert {row.method for row in lost} == {"Original", "Retrain", "GradDiff"}
    assert {row.missing for row in lost} == {"the data set 'mmlu' is not here"}
    assert "General knowledge is not measured: the data set 'mmlu' is not here" in (out / "tofu.md").read_text()


# numbers


def seen(forget, retain, unseen, right, wrong, scores):
    tokens = {part: {"extraction": np.zeros(2), "exact": np.ones(2)} for part in ("forget", "retain", "unseen")}
    for part, values in scores.items():
        tokens[part]["min_k_plus_plus"] = np.array(values)
    losses = {"forget": forget, "retain": retain, "unseen": unseen, "paraphrased": right, "perturbed": wrong}
    said = {"forget": ["a b c d a b c d", "x"], "retain": ["y", ""]}
    return Seen({k: np.array(v, dtype=float) for k, v in losses.items()}, tokens, said, (np.ones(3), np.ones(3)))


def test_the_scores_of_a_model_by_hand(given):
    names = {"forget": [2.0, 1.0], "unseen": [0.0, 1.0]}
    ours = seen([1, 3], [0, 0], [math.log(4)] * 2, [1, 1], [[1, 3], [2, 2]], names)
    gold = seen([2, 4], [0, 0], [math.log(2)] * 2, [3, 3], [[1, 1], [1, 1]], names)
    before = seen([0, 0], [0, 0], [math.log(2)] * 2, [1, 1], [[1, 3], [2, 2]], names)
    found = {row.metric: row.value for row in score_rows("t", "m", 0, ours, given, gold, before)}
    assert found["nll_error"] == 1.0
    assert found["objective"] == pytest.approx(1 / 3)
    assert found["truth_ratio"] == pytest.approx(math.exp(-1))  # exp(1 - 2) for both
    assert found["forget_truth_ratio"] == pytest.approx(math.exp(-1))
    assert found["ks_d"] == 1.0  # Retrain's are e^2
    assert found["unseen_damage"] == pytest.approx(50.0)
    assert found["min_k_plus_plus_auc"] == pytest.approx(0.875)  # three of four pairs above, one equal
    assert found["repetition"] == pytest.approx(0.2)  # one of five four-word sequences comes again
    assert found["perplexity"] == pytest.approx(math.e)
    assert (found["extraction_strength"], found["exact_memorization"]) == (0.0, 1.0)


def test_a_ratio_too_large_for_a_float_is_missing_and_not_a_number(given):
    names = {"forget": [2.0, 1.0], "unseen": [0.0, 1.0]}
    ours = seen([1, 3], [0, 0], [1, 1], [900, 1], [[1, 3], [2, 2]], names)
    gold = seen([2, 4], [0, 0], [1, 1], [3, 3], [[1, 1], [1, 1]], names)
    rows = {row.metric: row for row in score_rows("t", "m", 0, ours, given, gold, gold)}
    for metric in ("truth_ratio", "ks_p", "ks_d"):
        assert rows[metric].value is None
        assert "too large" in rows[metric].missing
    assert rows["forget_truth_ratio"].value is not None


def test_the_parts_of_model_utility_on_a_model_that_knows_nothing(given, store, monkeypatch):
    """Where every answer costs 1 nat a token: probabilities e^-1 and 1/(1 + 5 wrong), truth ratio 1 - 1 = 0."""
    monkeypatch.setattr(tofu_utility, "sample_losses", lambda _, samples, __: torch.ones(len(samples)))
    monkeypatch.setattr(tofu_utility, "answer", lambda _, __, records, **___: [r.completion for r in records])
    said = [record.completion for record in shown(given.groups.retain, 2)]
    found = Seen({"retain": np.ones(8)}, {}, {"retain": said}, None)
    parts = tofu_utility._measured(given.halves.top(), True, found, given, store)["parts"]
    for name in ("retain", "real_authors", "world_facts"):
        assert parts[f"{name}_rouge"] == 1.0
        assert parts[f"{name}_truth_ratio"] == 0.0
        assert parts[f"{name}_probability"] == pytest.approx(math.exp(-1) if name == "retain" else 1 / 6)


def test_fluency_is_of_the_words_said_without_an_end_token(given):
    """An answer that was cut at the limit never said one, and must not pay for it; the others must not gain."""
    asked = questions(given)
    said = {name: ["Yes, he did so in Rome.", ""] for name in asked}
    nll, counts = fluency(given, said)
    assert len(nll) == 2  # empty answers are no answers
    encoder, model, record = given.encoder, given.halves.base.module, asked["forget"][0]
    spoken = replace(record.messages[-1], content=said["forget"][0])
    ids, labels = encoder(replace(record, messages=(*record.messages[:-1], spoken)))
    first = next(i for i, label in enumerate(labels) if label >= 0)
    assert ids[-1] == encoder.tokenizer.eos_token_id
    with torch.no_grad():
        logp = model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
    each = [-float(logp[i - 1, ids[i]]) for i in range(first, len(ids) - 1)]
    assert counts[0] == len(each)
    assert nll[0] == pytest.approx(sum(each) / len(each), rel=1e-5)
    assert fluency(replace(given, fresh=lambda seed: model), said) is None


def test_a_run_ends_at_the_step_nearest_to_its_budget():
    exact, nearest = Budget(100), Budget(100, nearest=True)
    assert [exact.spent(0, 90), exact.spent(90, 120)] == [False, True]
    assert [nearest.spent(0, 60), nearest.spent(0, 70), nearest.spent(80, 100)] == [False, True, True]


def test_a_method_without_a_rate_or_knob_runs_its_preset_once(tmp_path):
    @dataclass(frozen=True)
    class Bare:
        steps: int = 3

    asked = []
    found = tuned("bare", Bare(), 4, tmp_path, "k", lambda method: asked.append(method) or Tried(0.5, 1.0))
    assert (asked, found.trials, found.method, found.values) == ([Bare()], 1, Bare(), {})


def test_shown_records_are_spread_over_all(given):
    forget = given.groups.forget
    assert [record.id for record in shown(forget, 2)] == [forget[0].id, forget[4].id]
    assert shown(forget, 100) == list(forget)


# words


def rows(method, seed=0, **values):
    return [ScoreRow("t", method, seed, name, value, 4, None) for name, value in values.items()]


def test_the_reading_ranks_by_the_distance_to_retrain_and_says_what_the_references_lack():
    table = [
        *rows("Original", forget_nll=0.1, ks_p=0.001, retain_prob=0.95, unseen_prob=0.1, nll_error=2.0),
        *rows("Retrain", forget_nll=2.4, retain_prob=0.85, unseen_prob=0.12),
        *rows("Retrain (2nd)", forget_nll=2.5, ks_p=0.8, retain_prob=0.9, unseen_prob=0.1, nll_error=0.2),
        *rows("OFMU", forget_nll=2.6, ks_p=0.5, retain_prob=0.9, unseen_prob=0.08, nll_error=0.5, objective=0.2),
        *rows("NPO", forget_nll=3.6, ks_p=0.1, retain_prob=0.9, unseen_prob=0.05, nll_error=0.4, objective=0.1),
    ]
    cost = Cost("t", "OFMU", gradients=20, of_retraining=0.5, budget=21)
    said = reading(TaskSection("t", "", table, costs=[cost]))
    assert "has NPO (one seed, which tells no two methods apart): NPO 0.10, OFMU 0.20" in said[0]
    assert said[1].startswith("t: OFMU takes the loss on the forgotten answers from 0.10 to 2.60 (Retrain 2.40)")
    assert "nearest first: NPO 0.40 (KS p 0.10), OFMU 0.50 (KS p 0.50); two Retrains differ by 0.20" in said[2]
    assert said[4].startswith("t: Retrain learned the kept answers to less than 0.9 only")
    assert said[5] == "t: OFMU spent 20 gradients (budget 21), 50 % of a retraining."


def test_the_winner_is_told_apart_seed_by_seed():
    values = {"A": (0.1, 0.3, 0.5), "B": (0.2, 0.4, 0.6), "C": (0.5, 0.1, 0.5)}
    table = [
        row for name, each in values.items() for s, v in enumerate(each) for row in rows(name, s, objective=v)
    ]
    (said,) = [line for line in reading(TaskSection("t", "", table)) if "least J" in line]
    assert "has A, not told apart from C" in said
    assert "A 0.30, C 0.37, B 0.40" in said


def test_methods_by_name():
    assert method_names("ofmu, npo") == ("ofmu", "npo")
    assert method_names("all") == every_method()
    assert len(every_method()) == 16
    for text, match in (("npoo", "did you mean npo"), ("npo,npo", "each method once"), ("", "each method once")):
        with pytest.raises(UserError, match=match):
            method_names(text)


def test_without_the_data_the_error_says_what_to_set(tmp_path, monkeypatch):
    monkeypatch.delenv("OFMU_DATA_DIR", raising=False)
    with pytest.raises(UserError, match="OFMU_DATA_DIR"):
        BENCHMARKS["tofu"](tmp_path, 1, False, lambda line: None)


def test_a_wrong_split_leaves_no_folder_behind(tmp_path):
    with pytest.raises(UserError, match="--split"):
        run_tofu(tmp_path / "out", Choice(split="forget99"), Plan(trials=0), lambda _: None)
    assert not (tmp_path / "out").exists()
