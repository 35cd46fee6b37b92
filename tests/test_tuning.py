"""Tuning: as many trials for all methods, the first is the preset, failures are no numbers, none is made twice."""

import json
import math
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ofmu.benchmarks.settings import value_of, with_values
from ofmu.benchmarks.tofu import every_method
from ofmu.benchmarks.tofu_objective import objective
from ofmu.benchmarks.tofu_space import KNOBS, space, tuned
from ofmu.benchmarks.tofu_tuning import recorded
from ofmu.benchmarks.tuning import Options, Range, Trial, Tried, best, tune
from ofmu.engine.loop import Diverged
from ofmu.errors import UserError
from ofmu.methods import build_method

pytest.importorskip("optuna")
NPO = build_method("npo", "text", width=100)


def away(method):
    """Least where β = 0.2 and the rate is a third of the preset's."""
    lr, beta = value_of(method, "descent.lr"), value_of(method, "forget.beta")
    return math.log(lr / (value_of(NPO, "descent.lr") / 3)) ** 2 + math.log(beta / 0.2) ** 2


def test_a_field_is_changed_by_its_path_and_nothing_else_is():
    other = with_values(NPO, {"forget.beta": 0.5, "descent.lr": 1e-4})
    assert (other.forget.beta, other.descent.lr, other.retain, other.descent.clip) == (0.5, 1e-4, NPO.retain, 1.0)
    assert NPO.forget.beta == 0.1


def test_every_method_has_a_space_around_its_preset():
    assert set(every_method()) <= set(KNOBS)
    for name in every_method():
        preset = build_method(name, "text", width=100)
        ranges = space(name, preset)
        assert len(ranges) == 1 + (KNOBS[name] is not None)
        for path, dimension in ranges.items():
            assert 0 < dimension.low < value_of(preset, path) < dimension.high
    ends = {path: (each.low, each.high) for path, each in space("npo", NPO).items()}
    assert ends == {
        "descent.lr": pytest.approx((NPO.descent.lr / 5, NPO.descent.lr * 2)),
        "forget.beta": pytest.approx((0.02, 0.5)),
    }


def test_the_first_trial_is_the_preset_and_the_best_is_taken(tmp_path):
    tried = []

    def attempt(method):
        tried.append(method)
        return Tried(away(method), 3.0)

    found = tuned("npo", NPO, 5, tmp_path, "k", attempt)
    assert tried[0] == NPO
    assert len(tried) == len({repr(method) for method in tried}) == 5
    best = min(tried, key=away)
    assert (found.method, found.best, found.first) == (best, away(best), away(NPO))
    assert (found.trials, found.failed, found.cost) == (5, 0, 15.0)
    assert found.values == {path: pytest.approx(value_of(best, path)) for path in space("npo", NPO)}


def test_a_stopped_study_goes_on_with_the_trials_it_would_have_made(tmp_path):
    def values(folder, stop):
        tried = []

        def attempt(method):
            if len(tried) == stop:
                raise KeyboardInterrupt
            tried.append(repr(method))
            return Tried(away(method), 1.0)

        try:
            return tried, tuned("npo", NPO, 4, folder, "k", attempt)
        except KeyboardInterrupt:
            return tried, None

    whole, gold = values(tmp_path / "a", None)
    first, nothing = values(tmp_path / "b", 2)
    second, found = values(tmp_path / "b", None)
    assert nothing is None
    assert first + second == whole
    assert found == gold
    again, same = values(tmp_path / "b", None)
    assert (again, same) == ([], gold)


def test_two_workers_share_a_study_and_make_every_trial_once(tmp_path):
    tried = []

    def attempt(method):
        tried.append(repr(method))
        time.sleep(0.05)
        return Tried(away(method), 1.0)

    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(tuned, "npo", NPO, 4, tmp_path, "k", attempt) for _ in range(2)]
        first, second = (worker.result() for worker in both)
    assert first == second
    assert (len(tried), first.trials) == (4, 4)


def test_a_failed_trial_has_no_value_and_counts(tmp_path):
    outcomes = iter([Tried(None, 2.0, "it diverged"), Tried(0.5, 1.0), Tried(None, 1.0, "it diverged")])
    found = tuned("npo", NPO, 3, tmp_path, "k", lambda _: next(outcomes))
    assert (found.trials, found.failed, found.first, found.best, found.cost) == (3, 2, None, 0.5, 4.0)
    assert found.method not in (None, NPO)
    none = tuned("npo", NPO, 2, tmp_path, "other", lambda _: Tried(None, 1.0, "it diverged"))
    assert (none.method, none.best, none.failed) == (None, None, 2)


def test_without_optuna_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UserError, match=r"ofmu\[tuning\]"):
        tuned("npo", NPO, 1, tmp_path, "k", lambda _: Tried(1.0, 1.0))


def test_the_objective_by_hand():
    """Retrain: 2 and 4 nats on the forgotten, p = 1 kept; the original: 0 nats everywhere."""
    gold, before = [2.0, 4.0], [0.0, 0.0]
    assert objective(before, [0.0], before, gold, [0.0]) == 1.0  # nothing done
    assert objective(gold, [0.0], before, gold, [0.0]) == 0.0  # Retrain
    assert objective([3.0, 3.0], [0.0], before, gold, [0.0]) == pytest.approx(1 / 3)  # the mean is right
    unseen = (math.exp(-2) + math.exp(-4)) / 2
    assert objective(gold, [-math.log(unseen)], before, gold, [0.0]) == pytest.approx(
        1.0
    )  # all that was kept is lost
    assert objective(gold, [0.0], before, gold, [0.5]) == 0.0  # to keep more than Retrain is no merit
    with pytest.raises(ValueError, match="train longer"):
        objective(gold, [0.0], gold, gold, [0.0])
    with pytest.raises(ValueError, match="train longer"):
        objective(gold, [5.0], before, gold, [5.0])


SPACE = {"rate": Range(1e-4, 1e-2), "layers": Options((1, 2, 3)), "share": Range(0.0, 2.0, log=False)}
PRESET = {"rate": 1e-3, "layers": 2, "share": 1.0}


def test_the_first_trial_is_the_preset_and_all_lie_in_the_space():
    points = [trial.values for trial in tune(SPACE, PRESET, 8, lambda values: Tried(values["rate"]))]
    assert points[0] == PRESET
    assert len({repr(point) for point in points}) == 8
    for point in points[1:]:
        assert 1e-4 <= point["rate"] <= 1e-2
        assert point["layers"] in (1, 2, 3)
        assert 0 <= point["share"] <= 2


def test_a_preset_must_name_the_dimensions():
    with pytest.raises(ValueError, match="expected the space's"):
        tune(SPACE, {"rate": 1.0}, 1, lambda _: Tried(1.0))


def test_runs_that_diverge_and_scores_that_are_no_numbers_are_failed_trials(tmp_path):
    def evaluate(values):
        if values["rate"] > 2e-3:
            raise Diverged(3, "a loss")
        return Tried(math.nan if values["rate"] < 3e-4 else values["rate"])

    found = tune({"rate": SPACE["rate"]}, {"rate": 1e-3}, 12, evaluate, folder=tmp_path / "deep", study="a")
    failed = [trial for trial in found if trial.score is None]
    assert {"the score is nan"} < {trial.failed.split(" of ")[0] for trial in failed}
    assert 0 < len(failed) < 12
    assert all(trial.failed for trial in failed)
    assert best(found).score == min(trial.score for trial in found if trial.score is not None)
    with pytest.raises(ValueError, match="all 1 trials failed, the first: why"):
        best([Trial(0, {}, None, "why")])


def test_another_study_another_preset_and_another_space_share_nothing(tmp_path):
    asked = []

    def evaluate(values):
        asked.append(values["rate"])
        return Tried(values["rate"])

    space, preset = {"rate": SPACE["rate"]}, {"rate": 1e-3}
    first = tune(space, preset, 2, evaluate, folder=tmp_path, study="a")
    more = tune(space, preset, 3, evaluate, folder=tmp_path, study="a")
    assert (more[:2], len(asked)) == (first, 3)
    tune(space, preset, 1, evaluate, folder=tmp_path, study="b")
    tune(space, {"rate": 2e-3}, 1, evaluate, folder=tmp_path, study="a")
    tune({"rate": Range(1e-4, 1e-1)}, preset, 1, evaluate, folder=tmp_path, study="a")
    assert len(asked) == 6


def test_settings_are_taken_from_a_results_file_as_they_were_chosen(tmp_path):
    """The committed TOFU results say how each method was tuned; a file that does not is refused by name."""
    results = Path(__file__).parents[1] / "benchmarks" / "results" / "tofu.json"
    preset = build_method("npo", "text")
    found = recorded(results, "npo", preset)
    said = json.loads(results.read_text(encoding="utf-8"))["tuning"]["npo"]
    assert repr(found.method) == said["method"]
    assert (found.trials, found.values, found.best) == (6, said["values"], said["best"])
    (tmp_path / "other.json").write_text("{}", encoding="utf-8")
    for path, name in ((tmp_path / "other.json", "npo"), (tmp_path / "none.json", "npo"), (results, "rmu")):
        with pytest.raises(UserError, match=f"--settings: .* does not say how {name} was tuned"):
            recorded(path, name, preset)
    failed = {**said, "values": {}, "failed": 6}
    (tmp_path / "failed.json").write_text(json.dumps({"tuning": {"npo": failed}}), encoding="utf-8")
    assert recorded(tmp_path / "failed.json", "npo", preset).method is None
