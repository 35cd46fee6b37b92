"""The TOFU benchmark's logs: what it measured, no more, and the same forget quality when read back."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ofmu.benchmarks.tofu_score import score_log
from ofmu.benchmarks.tofu_seen import Seen, questions
from ofmu.benchmarks.tofu_utility import _means
from ofmu.benchmarks.tofu_written import write_logs
from ofmu.cli.main import run
from ofmu.data.tofu_logs import read_tofu_log
from ofmu.metrics import UTILITY_PARTS, forget_quality, rouge_l_recall, truth_ratio
from tofu_world import setting

FILES = ["eval_log_aggregated.json", "TOFU_EVAL.json", "TOFU_SUMMARY.json"]


def made_seen(seed: int) -> Seen:
    """A model of the tiny benchmark, its numbers made up: 8 forgotten and 8 kept questions, 2 answers each."""
    draw, given = np.random.RandomState(seed), setting()
    n, kept = len(given.groups.forget), len(given.groups.asked)
    losses = {"forget": draw.uniform(0.1, 3, n), "paraphrased": draw.uniform(0.1, 3, n)}
    losses |= {"perturbed": draw.uniform(0.1, 3, (n, 2)), "retain": draw.uniform(0.1, 3, kept)}
    said = {part: [r.completion[: 9 * (1 + seed)] for r in asked] for part, asked in questions(given).items()}
    return Seen(losses, {}, said, None)


def made_utility(seed: int, given_retain: np.ndarray) -> dict:
    """What `tofu_utility` keeps; the kept questions as in `made_seen`."""
    draw = np.random.RandomState(seed)
    tables = {name: draw.uniform(0.1, 0.9, (5, 3)) for name in ("retain", "real_authors", "world_facts")}
    tables["retain"] = np.column_stack([given_retain, draw.uniform(0.1, 0.9, len(given_retain))])
    parts = dict(zip(UTILITY_PARTS, _means(list(tables.values())).tolist(), strict=True))
    none = {name: [[None if np.isnan(x) else x for x in row] for row in t.tolist()] for name, t in tables.items()}
    return {"parts": parts, "n": 2, "questions": none}


def retain_columns(seen: Seen) -> np.ndarray:
    """[n, 2]: probability and ROUGE of the kept questions, nan where the model was not asked."""
    given = setting()
    pairs = zip(questions(given)["retain"], seen.said["retain"], strict=True)
    said = {record.id: rouge_l_recall(text, record.completion) for record, text in pairs}
    rouge = [said.get(record.id, np.nan) for record in given.groups.asked]
    return np.column_stack([np.exp(-seen.losses["retain"]), rouge])


def scored(capsys, *arguments: str) -> tuple[dict, str]:
    assert run(["score", "tofu", *arguments, "--json"]) == 0
    said = capsys.readouterr()
    return json.loads(said.out), " ".join(said.err.split())


@pytest.mark.parametrize("file", FILES[:2])
def test_the_forget_set_read_back_gives_the_same_forget_quality(tmp_path, capsys, file):
    pytest.importorskip("rouge_score")
    ours, gold = made_seen(0), made_seen(1)
    written = write_logs(tmp_path, "OFMU, matched", 3, ours, setting(), gold)
    retrain = write_logs(tmp_path, "Retrain", 3, gold, setting())
    assert [path.relative_to(tmp_path).as_posix() for path in written] == [
        f"logs/ofmu-matched-seed3/{name}" for name in FILES
    ]
    expected = forget_quality(*(truth_ratio(s.losses["paraphrased"], s.losses["perturbed"]) for s in (ours, gold)))
    logs = (str(paths[FILES.index(file)]) for paths in (written, retrain))
    found, said = scored(capsys, *(word for pair in zip(("--log", "--retain-log"), logs) for word in pair))
    assert found["forget_quality"] == pytest.approx(expected.p, abs=1e-12)
    assert found["ks_statistic"] == pytest.approx(expected.statistic, abs=1e-12)
    assert found["forget_probability"] == pytest.approx(np.exp(-ours.losses["forget"]).mean())
    assert found["questions"]["forget_rouge"] == 2  # as many as were asked
    assert "model_utility" not in found
    assert "no model utility" in said
    summary = json.loads(written[2].read_text())
    assert summary["forget_quality"] == pytest.approx(expected.p)


def test_nothing_is_written_that_was_not_measured(tmp_path):
    pytest.importorskip("rouge_score")
    aggregated, newer, _ = write_logs(tmp_path, "Retrain", 0, made_seen(0), setting())
    assert list(json.loads(aggregated.read_text())) == ["eval_log_forget.json"]
    prefixes = {name.partition("_")[0] for name in json.loads(newer.read_text())}
    assert prefixes == {"forget", "retain"}
    assert run(["score", "tofu", "--log", str(aggregated)]) == 2  # without a Retrain's log there is nothing to say


def test_the_model_utility_is_that_of_the_benchmark(tmp_path, capsys):
    pytest.importorskip("rouge_score")
    ours = made_seen(0)
    utility = made_utility(5, retain_columns(ours))
    _, newer, summary = write_logs(tmp_path, "NPO", 0, ours, setting(), made_seen(1), utility)
    found, said = scored(capsys, "--log", str(newer))
    for part, value in utility["parts"].items():
        assert found[part] == pytest.approx(value), part
    assert found["model_utility"] == pytest.approx(9 / sum(1 / value for value in utility["parts"].values()))
    assert "warning" not in said
    rows = json.loads(newer.read_text())["ra_Q_A_Prob_normalised"]["value_by_index"]
    assert [row["prob"] for row in rows.values()] == [row[0] for row in utility["questions"]["real_authors"]]
    assert "value_by_index" not in json.loads(newer.read_text())["wf_Truth_Ratio"]  # R above 1 is not kept
    assert json.loads(summary.read_text())["model_utility"] == pytest.approx(found["model_utility"])


def test_a_broken_model_is_written_without_its_infinite_ratios(tmp_path):
    pytest.importorskip("rouge_score")
    ours, gold = made_seen(0), made_seen(1)
    ours.losses["paraphrased"][0] = 900.0
    aggregated, newer, _ = write_logs(tmp_path, "GradAscent", 0, ours, setting(), gold)
    content = json.loads(newer.read_text())
    assert 0 <= content["forget_quality"]["agg_value"] < 1  # ranks need no number
    assert set(content["forget_truth_ratio"]) == {"agg_value"}
    assert read_tofu_log(aggregated, ("forget",)).sets["forget"].paraphrased[0] == 900.0


def test_a_log_of_the_forget_set_alone_is_scored_beside_a_retrain_alone(tmp_path):
    pytest.importorskip("rouge_score")
    logs = [write_logs(tmp_path, str(i), 0, made_seen(i), setting())[0] for i in range(2)]
    log, retain = (read_tofu_log(path, ("forget",)) for path in logs)
    assert score_log(log, retain).utility is None
    with pytest.raises(Exception, match="neither model_utility"):
        score_log(log)
