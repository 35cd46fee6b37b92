"""The TOFU benchmark: its groups are apart, its shortcut is exact, and its smallest form runs to the end."""

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from ofmu.benchmarks import tofu_setting as settings
from ofmu.benchmarks.catalogue import BENCHMARKS
from ofmu.benchmarks.experiment import Budget
from ofmu.benchmarks.text_scores import TextView
from ofmu.benchmarks.tofu_reading import reading
from ofmu.benchmarks.tofu_references import reference
from ofmu.benchmarks.tofu_runs import Seen, shown
from ofmu.data.encode import TextSamples
from ofmu.data.tofu import authors
from ofmu.engine.measuring import sample_losses
from ofmu.engine.store import Store
from ofmu.errors import UserError
from ofmu.losses import token_nll
from ofmu.report.model import Cost, ScoreRow, TaskSection
from ofmu.report.scores import read_scores, write_scores

pytest.importorskip("transformers")
HERE = Path(os.environ.get("OFMU_DATA_DIR", "nowhere"))
needs_tofu = pytest.mark.skipif(not (HERE / "tofu").is_dir(), reason="OFMU_DATA_DIR names no directory with tofu/")
GROUPS = ("forget", "retain", "heldout", "unseen")


@pytest.fixture(scope="module")
def setting():
    return settings.smoke_setting()


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    out, told = tmp_path_factory.mktemp("bench"), []
    return BENCHMARKS["tofu-smollm2"](out, 1, True, told.append), out, told


def ids_of(group):
    return {record.id for record in group}


def assert_apart(groups):
    for i, group in enumerate(groups):
        assert group
        for other in groups[i + 1 :]:
            assert not ids_of(group) & ids_of(other)
            assert not {r.prompt for r in group} & {r.prompt for r in other}


def test_the_four_groups_share_no_question(setting):
    assert_apart([getattr(setting, name) for name in GROUPS])


@needs_tofu
def test_tofu_groups_share_no_question_and_are_the_authors_named():
    groups = [
        list(authors(which)) for which in (settings.FORGET, settings.RETAIN, settings.HELDOUT, settings.UNSEEN)
    ]
    assert_apart(groups)
    assert [len(group) for group in groups] == [40, 40, 80, 40]
    assert {record.meta["author"] for record in groups[0]} == {198, 199}
    assert all(len(record.meta["perturbed_answer"]) == 5 for record in groups[0])


def test_nothing_but_measuring_reads_the_unseen_people(setting, tmp_path, monkeypatch):
    """Preparation and unlearning are handed forget, retain and held-out people; the reported unseen ones never."""
    from ofmu.benchmarks import tofu_runs

    given = []
    real = tofu_runs.prepare

    def spy(model, kind, parts, *rest, **named):
        given.append(parts)
        return real(model, kind, parts, *rest, **named)

    monkeypatch.setattr(tofu_runs, "prepare", spy)
    store = Store(tmp_path)
    original = reference(setting, "Original", 0, store)
    tofu_runs.unlearned(setting, "top:2", "ofmu", 0, original, store)
    (parts,) = given
    assert set(parts.forget.ids) == ids_of(setting.forget)
    assert set(parts.retain.ids) == ids_of(setting.retain)
    assert set(parts.heldout.ids) == ids_of(setting.heldout)


def test_the_upper_part_gives_the_losses_of_the_whole_model(setting, tmp_path):
    halves, samples = setting.halves, TextSamples(setting.forget, setting.encoder)
    top = halves.top()
    with torch.no_grad():
        for p in top.parameters():
            if p.requires_grad:
                p.add_(0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(1)))
    whole = sample_losses(halves.whole(top), samples, token_nll)
    upper = sample_losses(top, halves.samples(samples, Store(tmp_path)), token_nll)
    untouched = sample_losses(halves.base, samples, token_nll)
    assert torch.allclose(upper, whole, atol=1e-4)
    assert not torch.allclose(whole, untouched, atol=1e-2)


def test_only_the_upper_blocks_and_their_norm_are_trained(setting):
    top = setting.halves.top()
    trained = {name for name, p in top.named_parameters() if p.requires_grad}
    assert trained == {
        name for name, _ in top.named_parameters() if name.startswith(("model.layers.", "model.norm"))
    }
    assert {name.split(".")[2] for name in trained if "layers" in name} == {"0", "1"}


def test_references_are_trained_once_and_retrain_never_sees_the_forgotten(setting, tmp_path):
    store = Store(tmp_path)
    first, again = (reference(setting, "Retrain", 0, store) for _ in range(2))
    assert first.path == again.path
    assert first.spent == again.spent
    assert first.spent.samples == setting.recipe.epochs * len(setting.retain)
    original = reference(setting, "Original", 0, store)
    assert original.spent.samples == setting.recipe.epochs * (len(setting.retain) + len(setting.forget))
    assert original.key != first.key


def test_shown_records_are_spread_over_all(setting):
    assert [record.id for record in shown(setting.forget, 2)] == [setting.forget[0].id, setting.forget[4].id]


def test_smoke_runs_every_method_through_every_kind_of_parameters(smoke):
    page, _, told = smoke
    assert [task.name for task in page.tasks] == ["Smoke test, trained: top:2", "Smoke test, trained: lora:2"]
    for task in page.tasks:
        assert {row.method for row in task.rows} == {"Original", "Retrain", "OFMU", "GradDiff"}
        assert {"forget_nll", "unseen_prob", "truth_ratio", "retain_rouge_l"} <= {row.metric for row in task.rows}
        budgets = {cost.method: cost.budget for cost in task.costs}
        assert budgets == {"Original": None, "Retrain": None, "OFMU": 8.0, "GradDiff": 8.0}
        assert "NOT TOFU" in task.description
        assert len(task.answers.rows) == 2
    assert len(told) == 5


def test_model_utility_is_of_the_references_and_ofmu(smoke):
    page, _, _ = smoke
    found = {row.method: row for row in page.rows if row.metric == "model_utility"}
    assert set(found) == {"Original", "Retrain", "OFMU"}
    assert all(0 <= row.value <= 1 and row.n == 2 for row in found.values())
    assert {row.task for row in found.values()} == {"Smoke test, trained: top:2"}


def test_the_parts_of_model_utility_on_a_model_that_knows_nothing(setting, tmp_path, monkeypatch):
    """Where every answer costs 1 nat a token: probabilities e^-1 and 1/4, truth ratio 1 - 1 = 0, so utility 0."""
    from ofmu.benchmarks import tofu_utility

    store = Store(tmp_path)
    original = reference(setting, "Original", 0, store)
    monkeypatch.setattr(tofu_utility, "sample_losses", lambda _, samples, __: torch.ones(len(samples)))
    monkeypatch.setattr(tofu_utility, "answer", lambda _, __, records, **___: [r.completion for r in records])
    said = [record.completion for record in shown(setting.retain, 2)]
    seen = Seen(TextView({"retain": np.ones(8)}), [], said)
    parts = tofu_utility._measured(original, seen, setting, store)["parts"]
    for name in ("retain", "real_authors", "world_facts"):
        assert parts[f"{name}_rouge"] == 1.0
        assert parts[f"{name}_truth_ratio"] == 0.0
        assert parts[f"{name}_probability"] == pytest.approx(math.exp(-1) if name == "retain" else 0.25)
    assert tofu_utility.utility_rows("t", "m", 0, original, seen, setting, store)[0].value == 0.0


def test_smoke_writes_tables_with_the_command_and_readable_scores(smoke):
    page, out, _ = smoke
    text = (out / "tofu-smollm2.md").read_text()
    assert "ofmu bench tofu-smollm2 --seeds 1 --smoke" in text
    assert "NOT TOFU" in text
    rows, extra = read_scores(out / "tofu-smollm2.json")
    assert rows == page.rows
    assert extra["command"] == page.command


def test_every_finished_run_is_written_at_once_with_what_is_missing(setting, smoke, monkeypatch):
    """The run is stopped before its third method: the page holds the first two, and names the others."""
    from ofmu.benchmarks import tofu

    page, out, _ = smoke
    whole = (out / "tofu-smollm2.md").read_text()
    assert "NOT COMPLETE" not in whole
    real = tofu.unlearned

    def stops(setting, spec, *rest):
        if spec == "lora:2":
            raise KeyboardInterrupt
        return real(setting, spec, *rest)

    monkeypatch.setattr(tofu, "unlearned", stops)
    with pytest.raises(KeyboardInterrupt):
        tofu.tofu_smollm2(out, 1, True, lambda line: None)
    text = (out / "tofu-smollm2.md").read_text()
    assert "NOT COMPLETE: the command also makes OFMU (lora:2, seed 0), GradDiff (lora:2, seed 0)," in text
    rows, _ = read_scores(out / "tofu-smollm2.json")
    assert rows == [row for row in page.rows if row.task.endswith("top:2") and row.metric != "model_utility"]
    (out / "tofu-smollm2.md").write_text(whole)
    write_scores(out / "tofu-smollm2.json", page.rows, {"command": page.command})


def test_the_reading_ranks_by_the_distance_to_retrain_and_says_what_the_references_lack():
    def rows(method, **values):
        return [ScoreRow("t", method, 0, name, value, 4, None) for name, value in values.items()]

    table = [
        *rows("Original", forget_nll=0.1, ks_p=0.001, retain_prob=0.95, unseen_prob=0.1, nll_error=2.0),
        *rows("Retrain", forget_nll=2.4, retain_prob=0.85, unseen_prob=0.12),
        *rows("Retrain (2nd)", forget_nll=2.5, ks_p=0.8, retain_prob=0.9, unseen_prob=0.1, nll_error=0.2),
        *rows("OFMU", forget_nll=2.6, ks_p=0.5, retain_prob=0.9, unseen_prob=0.08, nll_error=0.5),
        *rows("NPO", forget_nll=3.6, ks_p=0.1, retain_prob=0.9, unseen_prob=0.05, nll_error=0.4),
    ]
    cost = Cost("t", "OFMU", gradients=20, of_retraining=0.5, budget=21)
    said = reading(TaskSection("t", "", table, costs=[cost]))
    assert said[0].startswith("t: OFMU takes the loss on the forgotten answers from 0.10 to 2.60 (Retrain 2.40)")
    assert "nearest first: NPO 0.40 (KS p 0.10), OFMU 0.50 (KS p 0.50); two Retrains differ by 0.20" in said[1]
    assert said[3].startswith("t: Retrain learned the kept answers to less than 0.9 only")
    assert said[4] == "t: OFMU spent 20 gradients (budget 21), 50 % of a retraining."


def test_a_run_ends_at_the_step_nearest_to_its_budget():
    exact, nearest = Budget(100), Budget(100, nearest=True)
    assert [exact.spent(0, 90), exact.spent(90, 120)] == [False, True]
    assert [nearest.spent(0, 60), nearest.spent(0, 70), nearest.spent(80, 100)] == [False, True, True]


def test_a_second_run_takes_everything_from_the_store(smoke, monkeypatch):
    from ofmu.benchmarks import tofu_references, tofu_runs

    def fail(*_, **__):
        raise AssertionError("made again")

    page, out, _ = smoke
    for module, name in ((tofu_references, "trained"), (tofu_runs, "run_method"), (tofu_runs, "see")):
        monkeypatch.setattr(module, name, fail)
    again = BENCHMARKS["tofu-smollm2"](out, 1, True, lambda line: None)
    assert json.dumps([str(row) for row in again.rows]) == json.dumps([str(row) for row in page.rows])


def test_without_the_data_the_error_says_what_to_set(tmp_path, monkeypatch):
    monkeypatch.delenv("OFMU_DATA_DIR", raising=False)
    with pytest.raises(UserError, match="OFMU_DATA_DIR"):
        BENCHMARKS["tofu-smollm2"](tmp_path, 1, False, lambda line: None)
