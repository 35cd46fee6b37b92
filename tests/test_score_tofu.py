"""`ofmu score tofu`: the public log layouts, their numbers to 1e-9, and one clear line for every broken log."""

import copy
import json
import math
import random

import pytest
from scipy.stats import ks_2samp

from ofmu.benchmarks.tofu_export import eval_metrics
from ofmu.benchmarks.tofu_score import score_log
from ofmu.cli.main import run
from ofmu.data.tofu_logs import aggregated_layout, eval_layout, read_tofu_log, summary_layout

FILES = {
    "retain": ("eval_log.json", 7, 5),
    "real_authors": ("eval_real_author_wo_options.json", 5, 3),
    "world_facts": ("eval_real_world_wo_options.json", 6, 3),
    "forget": ("eval_log_forget.json", 8, 5),
}
EVAL_NAMES = {
    ("retain", "probability"): "retain_Q_A_Prob",
    ("retain", "rouge"): "retain_Q_A_ROUGE",
    ("retain", "truth_ratio"): "retain_Truth_Ratio",
    ("real_authors", "probability"): "ra_Q_A_Prob_normalised",
    ("real_authors", "rouge"): "ra_Q_A_ROUGE",
    ("real_authors", "truth_ratio"): "ra_Truth_Ratio",
    ("world_facts", "probability"): "wf_Q_A_Prob_normalised",
    ("world_facts", "rouge"): "wf_Q_A_ROUGE",
    ("world_facts", "truth_ratio"): "wf_Truth_Ratio",
    ("forget", "truth_ratio"): "forget_truth_ratio",
}


def made_log(seed: int) -> dict:
    """A log as the public evaluation writes it: every column in the same order, losses from .01 to 5."""
    draw = random.Random(seed)
    log = {}
    for name, (file, n, wrong) in FILES.items():
        correct = {str(i): draw.uniform(0.01, 5) for i in range(n)}
        other = {i: draw.uniform(0.01, 5) for i in correct} if name in ("retain", "forget") else dict(correct)
        log[file] = {
            "avg_gt_loss": correct,
            "avg_paraphrased_loss": other,
            "average_perturb_loss": {i: [draw.uniform(0.01, 5) for _ in range(wrong)] for i in correct},
            "rougeL_recall": {i: draw.uniform(0.1, 1) for i in correct},
            "generated_text": {i: ["question", "said", "true"] for i in correct},
        }
    return log


def mean(values) -> float:
    values = list(values)
    return math.fsum(values) / len(values)


def by_hand(log: dict) -> dict:
    """The published formulas, in plain Python and one question at a time."""
    found = {}
    for name, (file, _, _) in FILES.items():
        s = log[file]
        probability, ratio = [], []
        for i, loss in s["avg_gt_loss"].items():
            p, wrong = math.exp(-loss), s["average_perturb_loss"][i]
            options = name in ("real_authors", "world_facts")
            probability.append(p / (p + sum(math.exp(-w) for w in wrong)) if options else p)
            r = math.exp(sum(wrong) / len(wrong) - s["avg_paraphrased_loss"][i])
            ratio.append(min(r, 1 / r) if name == "forget" else max(0, 1 - 1 / r))
        found[f"{name}_probability"] = mean(probability)
        found[f"{name}_rouge"] = mean(s["rougeL_recall"].values())
        found[f"{name}_truth_ratio"] = mean(ratio)
    nine = [value for part, value in found.items() if not part.startswith("forget")]
    return {**found, "model_utility": 9 / sum(1 / value for value in nine)}


def ratios(log: dict) -> list[float]:
    s = log["eval_log_forget.json"]
    wrong = s["average_perturb_loss"]
    return [math.exp(sum(wrong[i]) / len(wrong[i]) - s["avg_paraphrased_loss"][i]) for i in wrong]


def ks_by_hand(a: list[float], b: list[float]) -> tuple[float, float]:
    """(D, p) for n = m, the exact p by counting lattice paths that stay inside the band |i − j| < nD."""
    n = len(a)
    distances = [abs(sum(x <= t for x in a) - sum(x <= t for x in b)) for t in a + b]
    h = max(distances)
    inside = {(0, 0): 1}
    for i in range(n + 1):
        for j in range(n + 1):
            if i or j:
                inside[i, j] = (inside.get((i - 1, j), 0) + inside.get((i, j - 1), 0)) * (abs(i - j) < h)
    return h / n, 1 - inside[n, n] / math.comb(2 * n, n)


def newer(log: dict) -> dict:
    """A TOFU_EVAL.json as the newer framework writes it, with its 1e-10 in the truth ratio's denominator."""
    content, numbers = {}, by_hand(log)
    for (name, metric), theirs in EVAL_NAMES.items():
        s = log[FILES[name][0]]
        rows = {}
        for i, loss in s["avg_gt_loss"].items():
            p, wrong = math.exp(-loss), s["average_perturb_loss"][i]
            if metric == "truth_ratio":
                r = math.exp(-sum(wrong) / len(wrong)) / (math.exp(-s["avg_paraphrased_loss"][i]) + 1e-10)
                rows[i] = {"score": r}
            elif metric == "rouge":
                rows[i] = {"rougeL_recall": s["rougeL_recall"][i], "rougeL_f1": 0.3, "generation": "text"}
            else:
                rows[i] = {"prob": p if name == "retain" else p / (p + sum(map(math.exp, [-w for w in wrong])))}
        content[theirs] = {"agg_value": numbers[f"{name}_{metric}"], "value_by_index": rows}
    content["model_utility"] = {"agg_value": numbers["model_utility"]}
    content["forget_quality"] = {"agg_value": None}
    content["mia_min_k"] = {"agg_value": 0.5, "auc": 0.5, "forget": {"agg_value": 1.0}}
    return content


def save(path, content) -> str:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


def scored(capsys, *arguments: str) -> dict:
    assert run(["score", "tofu", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_original_layout_to_nine_digits(tmp_path, capsys):
    log, retain = made_log(1), made_log(2)
    files = save(tmp_path / "log.json", log), save(tmp_path / "retain.json", retain)
    found = scored(capsys, "--log", files[0], "--retain-log", files[1])
    for name, value in by_hand(log).items():
        assert found[name] == pytest.approx(value, abs=1e-12), name
    statistic, p = ks_by_hand(ratios(log), ratios(retain))
    assert 0 < p < 1
    assert found["ks_statistic"] == pytest.approx(statistic, abs=1e-12)
    assert found["forget_quality"] == pytest.approx(p, abs=1e-12)
    assert found["n"] == 8


def test_a_log_of_four_numbers_a_set_by_hand(tmp_path, capsys):
    # one question a set: p = 1/2; wrong answers at 1/4 and 1/16, whose geometric mean is 1/8: R = 1/8 : 1/2 = 1/4
    half, wrong = math.log(2), [math.log(4), math.log(16)]
    one = {"avg_gt_loss": {"0": half}, "avg_paraphrased_loss": {"0": half}, "average_perturb_loss": {"0": wrong}}
    log = {file: {**one, "rougeL_recall": {"0": 0.5}} for file, _, _ in FILES.values()}
    found = scored(capsys, "--log", save(tmp_path / "log.json", log))
    normalised = (1 / 2) / (1 / 2 + 1 / 4 + 1 / 16)
    assert found["retain_probability"] == pytest.approx(0.5)
    assert found["real_authors_probability"] == pytest.approx(normalised)
    assert found["world_facts_truth_ratio"] == pytest.approx(3 / 4)
    assert found["forget_truth_ratio"] == pytest.approx(1 / 4)
    inverse = 1 / 0.5 + 2 / normalised + 3 / 0.5 + 3 / 0.75
    assert found["model_utility"] == pytest.approx(9 / inverse, abs=1e-12)
    assert "forget_quality" not in found
    assert "n" not in found


def test_a_ratio_too_large_for_a_float_is_the_largest_as_in_the_original(tmp_path, capsys):
    log, retain = made_log(5), made_log(6)
    broken = copy.deepcopy(log)
    broken[FILES["forget"][0]]["average_perturb_loss"]["0"] = [900.0] * 5
    files = {
        name: save(tmp_path / name, each) for name, each in (("b", broken), ("r", retain), ("n", newer(retain)))
    }
    infinite = [math.inf, *ratios(log)[1:]]
    found = scored(capsys, "--log", files["b"], "--retain-log", files["r"])
    assert (found["ks_statistic"], found["forget_quality"]) == pytest.approx(ks_by_hand(infinite, ratios(retain)))
    found = scored(capsys, "--log", files["r"], "--retain-log", files["b"])
    assert found["forget_quality"] == pytest.approx(ks_by_hand(ratios(retain), infinite)[1])
    scored(capsys, "--log", files["b"], "--retain-log", files["n"])


def test_intervals_hold_their_means(tmp_path, capsys):
    found = scored(capsys, "--log", save(tmp_path / "log.json", made_log(3)))
    assert set(found["intervals"]) == {*found["questions"], "model_utility"}
    for name, (low, high) in found["intervals"].items():
        assert low <= found[name] <= high, name
    low, high = found["intervals"]["retain_probability"]
    assert low < found["retain_probability"] < high
    assert found["questions"]["world_facts_rouge"] == 6


def test_rows_are_joined_by_index_not_by_place(tmp_path, capsys):
    log = made_log(4)
    mixed = copy.deepcopy(log)
    for columns in mixed.values():
        for name in ("average_perturb_loss", "rougeL_recall"):
            columns[name] = dict(reversed(columns[name].items()))
    files = save(tmp_path / "a.json", log), save(tmp_path / "b.json", mixed)
    first, second = (scored(capsys, "--log", file) for file in files)
    assert second["model_utility"] == pytest.approx(first["model_utility"], abs=1e-12)


def test_sets_without_paraphrases_may_leave_their_column_out(tmp_path, capsys):
    log = made_log(4)
    whole = save(tmp_path / "whole.json", log)
    for name in ("real_authors", "world_facts"):
        del log[FILES[name][0]]["avg_paraphrased_loss"]
    assert scored(capsys, "--log", save(tmp_path / "log.json", log)) == scored(capsys, "--log", whole)


def test_the_newer_layout(tmp_path, capsys):
    log, retain = made_log(5), made_log(6)
    files = save(tmp_path / "TOFU_EVAL.json", newer(log)), save(tmp_path / "R.json", newer(retain))
    found = scored(capsys, "--log", files[0], "--retain-log", files[1])
    for name, value in by_hand(log).items():
        if name in found:
            assert found[name] == pytest.approx(value, abs=1e-7), name  # their 1e-10, over a small probability
    statistic, p = ks_by_hand(ratios(log), ratios(retain))
    assert (found["ks_statistic"], found["forget_quality"]) == pytest.approx((statistic, p), abs=1e-12)
    older = save(tmp_path / "old.json", retain)  # the two layouts may be mixed
    assert scored(capsys, "--log", files[0], "--retain-log", older)["forget_quality"] == pytest.approx(p)


def test_the_newer_forget_truth_ratio_with_its_other_aggregator(tmp_path, capsys):
    content = newer(made_log(7))
    values = [0.2, 0.5, 0.9]
    rows = {str(i): {"score": value} for i, value in enumerate(values)}
    content["forget_truth_ratio"] = {"agg_value": mean(values), "value_by_index": rows}
    found = scored(capsys, "--log", save(tmp_path / "TOFU_EVAL.json", content))
    assert found["forget_truth_ratio"] == pytest.approx(mean(values))


def forget_eval(log: dict, share: bool, losses: bool = True) -> dict:
    """A newer log whose forget truth ratios are R = wrong/correct, or the share 1/(1 + R)."""
    content, forget = newer(log), log["eval_log_forget.json"]
    values = {i: r / (1 + r) if share else 1 / r for i, r in zip(forget["avg_gt_loss"], ratios(log))}
    rows = {i: {"score": value} for i, value in values.items()}
    agg = mean(values.values()) if share else mean(min(r, 1 / r) for r in values.values())
    content["forget_truth_ratio"] = {"agg_value": agg, "value_by_index": rows}
    if losses:
        para, wrong = forget["avg_paraphrased_loss"], forget["average_perturb_loss"]
        content["forget_Q_A_PARA_Prob"] = {"value_by_index": {i: {"avg_loss": loss} for i, loss in para.items()}}
        content["forget_Q_A_PERT_Prob"] = {"value_by_index": {i: {"avg_loss": each} for i, each in wrong.items()}}
    return content


def test_one_model_with_its_truth_ratio_as_a_share_and_as_a_ratio_is_one_model(tmp_path, capsys):
    log, other = made_log(19), made_log(20)
    share = save(tmp_path / "share.json", forget_eval(log, share=True))
    same = [save(tmp_path / "ratio.json", forget_eval(log, share=False)), save(tmp_path / "old.json", log)]
    expected = ks_by_hand(ratios(log), ratios(other))
    others = [save(tmp_path / "other.json", other), save(tmp_path / "o.json", forget_eval(other, share=False))]
    for pair in [(share, each) for each in same] + [(each, share) for each in same]:
        assert scored(capsys, "--log", pair[0], "--retain-log", pair[1])["forget_quality"] == 1
    for retain in [*others, save(tmp_path / "s.json", forget_eval(other, share=True))]:
        found = scored(capsys, "--log", share, "--retain-log", retain)
        assert (found["ks_statistic"], found["forget_quality"]) == pytest.approx(expected, abs=1e-12)


def test_the_forms_of_a_broken_model_are_told_apart(tmp_path, capsys):
    log = made_log(21)  # losses above 23 nats: its probabilities are below the framework's 1e-10
    forget = log["eval_log_forget.json"]
    forget["avg_paraphrased_loss"] = {i: loss + 25 for i, loss in forget["avg_paraphrased_loss"].items()}
    forget["average_perturb_loss"] = {
        i: [w + 25 for w in each] for i, each in forget["average_perturb_loss"].items()
    }
    share, ratio = forget_eval(log, share=True), forget_eval(log, share=False)
    rows = [content["forget_truth_ratio"]["value_by_index"] for content in (share, ratio)]
    for i, wrong in forget["average_perturb_loss"].items():
        p, q = math.exp(-forget["avg_paraphrased_loss"][i]), math.exp(-mean(wrong))
        rows[0][i]["score"], rows[1][i]["score"] = p / (p + q + 1e-10), q / (p + 1e-10)
    for content, found in zip((share, ratio), rows):
        content["forget_truth_ratio"]["agg_value"] = mean(
            min(row["score"], 1 / row["score"]) for row in found.values()
        )
    files = save(tmp_path / "share.json", share), save(tmp_path / "ratio.json", ratio)
    assert scored(capsys, "--log", files[0], "--retain-log", files[1])["forget_quality"] == 1


def test_a_truth_ratio_of_unknown_form_is_compared_with_another_of_unknown_form_alone(tmp_path, capsys, refused):
    log, other = made_log(19), made_log(20)
    unknown = forget_eval(log, share=True, losses=False)
    assert "forget_Q_A_PARA_Prob" in refused(unknown, other)
    assert "forget_Q_A_PARA_Prob" in refused(other, unknown)
    files = [save(tmp_path / name, forget_eval(each, True, False)) for name, each in zip("ab", (log, other))]
    found = scored(capsys, "--log", files[0], "--retain-log", files[1])
    assert found["forget_quality"] == pytest.approx(ks_by_hand(ratios(log), ratios(other))[1], abs=1e-12)


def test_recorded_truth_ratios_that_contradict_their_losses_are_refused(refused):
    content = forget_eval(made_log(19), share=True)
    content["forget_Q_A_PARA_Prob"]["value_by_index"]["3"]["avg_loss"] += 1
    assert "one log of one run" in refused(content, made_log(20))


def test_a_summary(tmp_path, capsys):
    log = made_log(8)
    summary = {name: entry["agg_value"] for name, entry in newer(log).items() if entry["agg_value"] is not None}
    found = scored(capsys, "--log", save(tmp_path / "TOFU_SUMMARY.json", summary))
    assert found["model_utility"] == pytest.approx(by_hand(log)["model_utility"], abs=1e-12)
    assert found["intervals"] == {}
    few = save(tmp_path / "few.json", {"model_utility": 0.5, "forget_quality": 0.25})
    assert scored(capsys, "--log", few) == {
        **{"model_utility": 0.5, "forget_quality": 0.25, "questions": {}, "intervals": {}}
    }


def test_both_layouts_are_written_and_read_back(tmp_path, capsys):
    log, retain = made_log(9), made_log(10)
    files = save(tmp_path / "log.json", log), save(tmp_path / "retain.json", retain)
    before = scored(capsys, "--log", files[0], "--retain-log", files[1], "--out", str(tmp_path / "new"))
    scored(capsys, "--log", files[1], "--out", str(tmp_path / "new_retain"))
    new, new_retain = (str(tmp_path / folder / "TOFU_EVAL.json") for folder in ("new", "new_retain"))
    after = scored(capsys, "--log", new, "--retain-log", new_retain)
    assert after.keys() == before.keys()
    for name, value in before.items():
        if isinstance(value, float):
            assert after[name] == pytest.approx(value, abs=1e-12), name
    assert after["intervals"]["model_utility"] == pytest.approx(before["intervals"]["model_utility"], abs=1e-9)
    written = json.loads((tmp_path / "new" / "TOFU_EVAL.json").read_text())
    assert written["retain_Q_A_PERT_Prob"]["value_by_index"]["0"]["avg_loss"] == pytest.approx(
        log["eval_log.json"]["average_perturb_loss"]["0"]
    )
    summary = json.loads((tmp_path / "new" / "TOFU_SUMMARY.json").read_text())
    assert summary["forget_quality"] == pytest.approx(before["forget_quality"])
    read = read_tofu_log(files[0])
    again = save(tmp_path / "again.json", aggregated_layout(read.sets))
    assert score_log(read_tofu_log(again)).summary() == score_log(read).summary()
    metrics = eval_metrics(read, score_log(read))
    assert summary_layout(metrics) == {name: entry["agg_value"] for name, entry in eval_layout(metrics).items()}


def test_the_table_without_json(tmp_path, capsys):
    files = save(tmp_path / "a.json", made_log(11)), save(tmp_path / "b.json", made_log(12))
    assert run(["score", "tofu", "--log", files[0], "--retain-log", files[1]]) == 0
    said = capsys.readouterr().out
    assert "model_utility" in said
    assert "forget_quality" in said


@pytest.fixture
def refused(tmp_path, capsys):
    """The one line that is said of a log, or of a log with a Retrain's."""

    def refuse(content, retain=None) -> str:
        arguments = ["--log", save(tmp_path / "log.json", content)]
        arguments += [] if retain is None else ["--retain-log", save(tmp_path / "retain.json", retain)]
        assert run(["score", "tofu", *arguments, "--json"]) == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert len(said.err.strip().splitlines()) == 1
        return said.err

    return refuse


def spoilt(change) -> dict:
    log = made_log(13)
    change(log)
    return log


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda log: log.pop("eval_real_world_wo_options.json"), ["eval_real_world_wo_options.json"]),
        (lambda log: log.pop("eval_log_forget.json"), ["eval_log_forget.json"]),
        (lambda log: log["eval_log.json"].pop("rougeL_recall"), ["eval_log.json", "rougeL_recall"]),
        (lambda log: log["eval_log.json"].pop("avg_paraphrased_loss"), ["avg_paraphrased_loss"]),
        (lambda log: log["eval_log.json"]["avg_gt_loss"].pop("3"), ["7 questions", "the 6 of avg_gt_loss"]),
        (
            lambda log: log["eval_log.json"]["avg_paraphrased_loss"].update(
                {"99": log["eval_log.json"]["avg_paraphrased_loss"].pop("2")}
            ),
            ["avg_paraphrased_loss", "'99'"],
        ),
        (lambda log: log["eval_log.json"]["average_perturb_loss"]["4"].pop(), ["[4]", "4 wrong answers", "5"]),
        (lambda log: log["eval_log.json"]["average_perturb_loss"].update({"1": 0.5}), ["[1]", "expected a list"]),
        (lambda log: log["eval_log.json"]["avg_gt_loss"].update({"1": math.nan}), ["[1]", "nan"]),
        (lambda log: log["eval_log.json"]["avg_gt_loss"].update({"1": 10**400}), ["[1]", "1000"]),
        (lambda log: log["eval_log.json"]["avg_gt_loss"].update({"1": True}), ["[1]", "True"]),
        (lambda log: log["eval_log.json"]["avg_gt_loss"].update({"1": -0.3}), ["[1]", "-0.3"]),
        (lambda log: log["eval_log.json"]["rougeL_recall"].update({"1": 1.7}), ["[1]", "1.7", "[0, 1]"]),
        (lambda log: log["eval_log.json"]["avg_gt_loss"].update({"1": "much"}), ["[1]", "much"]),
        (lambda log: log["eval_log.json"].update({"avg_gt_loss": [1.0, 2.0]}), ["a list of 2"]),
        (lambda log: log.update({"eval_log.json": {}}), ["eval_log.json", "avg_gt_loss"]),
    ],
)
def test_a_broken_log_is_refused(refused, change, words):
    said = refused(spoilt(change))
    for word in words:
        assert word in said


@pytest.mark.parametrize("content", [{"rows": []}, {"a": {"b": 1}}, [1, 2], {}, "not json", "", "3"])
def test_an_unknown_layout_is_refused(refused, content):
    assert "TOFU_EVAL.json" in refused(content)


def test_logs_of_other_questions_are_compared_with_a_warning(tmp_path, capsys):
    other = made_log(14)
    files = save(tmp_path / "log.json", made_log(13)), str(tmp_path / "retain.json")

    def compared() -> tuple[dict, str]:
        save(tmp_path / "retain.json", other)
        assert run(["score", "tofu", "--log", files[0], "--retain-log", files[1], "--json"]) == 0
        said = capsys.readouterr()
        return json.loads(said.out), " ".join(said.err.split())

    same, said = compared()
    assert "warning" not in said
    forget = other["eval_log_forget.json"]
    for name, column in forget.items():
        forget[name] = {str(int(i) + 6): value for i, value in column.items()}
    moved, said = compared()
    assert "8 forget questions" in said
    assert "2 indices in both" in said
    assert moved == same  # the test pairs nothing
    for column in forget.values():
        column.pop("6")
    fewer, said = compared()
    assert (fewer["n"], fewer["n_retain"]) == (8, 7)
    assert "different questions" in said
    expected = ks_2samp(ratios(made_log(13)), ratios(other))
    assert fewer["forget_quality"] == pytest.approx(expected.pvalue, abs=1e-12)
    assert fewer["ks_statistic"] == pytest.approx(expected.statistic, abs=1e-12)
    assert run(["score", "tofu", "--log", files[0], "--retain-log", files[1]]) == 0
    assert "8 against 7" in capsys.readouterr().out


def test_a_newer_log_that_contradicts_itself_is_refused(refused):
    content = newer(made_log(15))
    content["retain_Q_A_Prob"]["agg_value"] += 0.01
    assert "retain_probability" in refused(content)
    content = newer(made_log(15))
    content["model_utility"]["agg_value"] += 0.01
    assert "its parts give" in refused(content)
    content = newer(made_log(15))
    content["wf_Q_A_ROUGE"]["value_by_index"]["0"] = {"rouge": 1.0}
    assert "wf_Q_A_ROUGE[0]" in refused(content)


def test_a_retain_log_without_values_is_refused(refused):
    assert "value_by_index" in refused(made_log(13), {"forget_truth_ratio": 0.5})
    assert "neither model_utility" in refused({"forget_truth_ratio": 0.5})


def test_a_folder_that_cannot_be_written_is_refused(tmp_path, capsys):
    file = save(tmp_path / "log.json", made_log(16))
    assert run(["score", "tofu", "--log", file, "--out", file]) == 2
    assert "--out" in capsys.readouterr().err
    newer_file = save(tmp_path / "TOFU_EVAL.json", newer(made_log(16)))
    assert run(["score", "tofu", "--log", newer_file, "--out", str(tmp_path / "new")]) == 2
    assert "newer layout already" in capsys.readouterr().err


def test_a_missing_file_is_refused(tmp_path, capsys):
    assert run(["score", "tofu", "--log", str(tmp_path / "absent.json")]) == 2
    assert "no such file" in capsys.readouterr().err
