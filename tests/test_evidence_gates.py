"""Gates: what a run may be said to have kept, from findings made by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import norm, t

from ofmu.attacks import auc_difference
from ofmu.cli import evidence as shown_as
from ofmu.engine.prepare import Parts
from ofmu.errors import UserError
from ofmu.evidence.case import Case, ask
from ofmu.evidence.finding import Finding, corrected, judged
from ofmu.evidence.gates import NOTHING, Gate, decide, parse_gates
from small import images

ASKED = Finding("loss", "membership", "?")
BROKEN = replace(ASKED, attack="quantise-4", missing="the losses are not finite", failed=True)
ABSENT = replace(ASKED, attack="adapter-off", missing="the model has no adapter")


def drawn(seed, shift=0.0, n=400):
    """Scores of n forgotten rows, moved by `shift` standard deviations, and of n unseen ones."""
    rng = np.random.default_rng(seed)
    return rng.normal(shift, 1, n), rng.normal(size=n)


@pytest.fixture(scope="module")
def nothing():
    """An attack that sees the original and finds nothing of the model."""
    return judged(ASKED, drawn(0), [drawn(1)], drawn(2, 1.0), alike=True)


@pytest.fixture(scope="module")
def blind():
    """An attack that does not find the original either."""
    return judged(ASKED, drawn(0), [drawn(1)], drawn(1), alike=True)


@pytest.mark.parametrize("limit", [None, 0.4])
def test_a_gate_of_blind_attacks_is_missed_with_a_limit_too(blind, nothing, limit):
    assert blind.verdict == "blind"
    found = decide(Gate("mia", limit), [blind, blind])
    assert (found.held, found.excess) == (False, NOTHING)
    assert "could have detected the original" in found.words
    assert decide(Gate("mia", limit), [blind, nothing]).held


@pytest.mark.parametrize("limit", [None, 0.4])
def test_an_attack_that_failed_misses_the_gate_and_is_named(nothing, limit):
    found = decide(Gate("quantise", limit), [nothing, BROKEN])
    assert (found.held, found.excess) == (False, NOTHING)
    assert found.words == "quantise: missed, since attacks failed (quantise-4: the losses are not finite)."
    both = decide(Gate("quantise", limit), [judged(ASKED, drawn(0, 2.0), [], None), BROKEN]).words
    assert "quantise-4" in both
    assert "finite); loss: Detected" in both or "finite); the leak of loss" in both  # what the others found too


@pytest.mark.parametrize("limit", [None, 0.4])
def test_an_attack_that_could_not_be_applied_is_named_and_no_more(nothing, limit):
    found = decide(Gate("adapter", limit), [ABSENT, nothing])
    assert found.held
    assert found.words.endswith("Not tested: adapter-off: the model has no adapter.")
    assert not decide(Gate("adapter", limit), [ABSENT]).held


def test_what_breaks_down_failed_and_what_does_not_apply_did_not():
    def breaks(_):
        raise ValueError("not finite")

    few = images(4, 1, features=8)
    found = ask(Case("image", torch.nn.Identity(), Parts(few, few, few)), ASKED, breaks)
    assert (found.failed, found.missing, found.verdict) == (True, "not finite", "not tested")
    assert judged(ASKED, (np.array([0.0, np.nan, 1.0]), np.ones(4)), [], None).failed
    flat = judged(ASKED, (np.ones(3), np.ones(4)), [], None)  # nothing left to extract, say
    assert (flat.failed, flat.verdict) == (False, "not tested")
    assert not ABSENT.failed
    assert corrected([found])[0].failed


def test_a_limit_is_held_by_the_distribution_that_p_is_of():
    gold = [drawn(1, 0.3), drawn(3, -0.3)]
    found = judged(ASKED, drawn(0), gold, None)
    assert found.against is not None
    assert found.against.freedom < 2  # two Retrains whose seeds move them
    normal = judged(ASKED, drawn(0), gold, None, alike=True)
    ends = [abs(found.against.value) + t.isf(0.05, found.against.freedom) * found.against.error]
    assert normal.against is not None
    assert normal.against.freedom == math.inf
    ends.append(abs(normal.against.value) + norm.isf(0.05) * normal.against.error)
    for each, end in zip((found, normal), ends, strict=True):
        assert f"at most {end:.3f}" in decide(Gate("mia", 0.1), [each]).words
    assert ends[0] > 0.4  # by 1.645 errors it would have been below .3
    assert not decide(Gate("mia", 0.3), [found]).held


def test_one_retrain_cannot_show_a_limit_unless_rows_are_alike(nothing):
    assert decide(Gate("mia", 0.2), [nothing]).held
    one = judged(ASKED, drawn(0), [drawn(1)], drawn(2, 1.0))
    found = decide(Gate("mia", 0.2), [one])
    assert not found.held
    assert "--alike" in found.words
    assert "--retrain several times" in found.words
    assert decide(Gate("mia"), [one]).held
    assert decide(Gate("mia", 0.2), [judged(ASKED, drawn(0), [drawn(1), drawn(3)], None)]).held
    assert "at most" in decide(Gate("mia", 0.01), [one]).words  # already too large


def test_the_power_that_is_said_is_that_of_the_corrected_verdict():
    """Of ten tests, a leak of the size that is said is found in four of five runs, though corrected."""
    rng, hits = np.random.default_rng(4), 0
    others = [judged(replace(ASKED, attack=f"other {i}"), drawn(i), [drawn(90 + i)], None, True) for i in range(9)]
    said = corrected([*others, judged(ASKED, drawn(50, n=150), [drawn(51, n=150)], None, alike=True)])[-1]
    assert said.level == pytest.approx(0.005)
    assert said.smallest is not None
    shift = float(norm.ppf(0.5 + said.smallest) * np.sqrt(2))
    for _ in range(100):
        ours = rng.normal(shift, 1, 150), rng.normal(size=150)
        gold = rng.normal(size=150), rng.normal(size=150)
        found = corrected([*others, judged(ASKED, ours, [gold], None, alike=True)])[-1]
        hits += found.verdict == "remembered"
    assert 0.7 <= hits / 100 <= 0.93
    assert judged(ASKED, drawn(50, n=5), [drawn(51, n=5)], None).smallest is None  # not even .5


def test_a_flat_retrain_hides_no_leak_and_a_flat_original_is_no_control():
    flat = np.zeros(400), np.zeros(400)
    found = judged(ASKED, drawn(0, 2.0), [flat], drawn(1, 2.0), alike=True)
    assert (found.verdict, found.retrains[0].auc, found.failed) == ("remembered", 0.5, False)
    assert judged(ASKED, drawn(0), [drawn(1)], flat, alike=True).verdict == "blind"
    assert judged(ASKED, flat, [drawn(1)], None).verdict == "not tested"


def test_what_could_have_detected_nothing_is_named_beside_what_could(nothing):
    dull = judged(replace(ASKED, attack="zlib"), drawn(5), [drawn(6)], drawn(7, -2.0), alike=True)
    found = decide(Gate("mia"), [nothing, dull])
    assert found.held
    assert found.words.endswith("zlib could have detected nothing here.")
    with pytest.raises(UserError, match="klom with a limit"):
        parse_gates("klom=0.1")


def test_an_original_that_lies_below_retrain_is_no_control():
    found = judged(ASKED, drawn(0), [drawn(1)], drawn(2, -2.0), alike=True)
    assert found.verdict == "blind"
    assert judged(ASKED, drawn(0), [], drawn(2, -2.0)).verdict == "blind"
    assert judged(ASKED, drawn(0), [], drawn(2, 2.0)).verdict == "not detected"


def test_rates_at_low_false_alarms_stand_beside_retrains():
    found = judged(ASKED, drawn(0, 2.0), [drawn(1)], None, alike=True)
    ours, gold = found.model, found.retrains[0]
    assert ours is not None
    shown = shown_as.tested(found).rates.partition(" Retrained: ")
    assert f"{ours.remembered[0].tpr:.1%}" in shown[0]
    assert f"{gold.remembered[0].tpr:.1%}" in shown[2]
    share, beside = (
        f"{rate.tpr:.1%} [{rate.low:.1%}, {rate.high:.1%}]" for rate in (ours.remembered[0], gold.remembered[0])
    )
    expected = f"finds {share} (retrained {beside}) at 1.0% false alarms"
    assert shown_as.short_rates(found) == expected  # 400 unseen rows resolve no 0.1 %
    assert shown_as.short_rates(judged(ASKED, drawn(0, n=50), [], None)) == ""
    assert "Retrained" not in shown_as.tested(judged(ASKED, drawn(0), [], None)).rates


def test_perfect_separation_of_few_rows_shows_no_limit():
    """All forgotten rows above all unseen ones, in Retrain too: a standard error of 0 is no measurement."""
    high, low = np.array([3.0, 4.0, 5.0]), np.array([-1.0, -2.0, -3.0, -4.0, -5.0, -6.0])
    same = judged(ASKED, (high, low), [(high, low)] * 2, None)
    assert same.against.error == 0
    found = decide(Gate("mia", 0.01), [same])
    assert not found.held
    assert "too few rows were given to show a limit (loss)" in found.words
    assert "too few rows" in decide(Gate("mia"), [same]).words


def test_few_rows_widen_the_interval_of_a_limit():
    """DeLong's error of three rows is itself a guess: Student's t with two degrees of freedom."""
    few = judged(ASKED, drawn(3, n=3), [drawn(4, n=3)], None, alike=True)
    words = decide(Gate("mia", 0.4), [few]).words
    end = min(1.0, abs(few.leak) + float(t.isf(0.05, 2)) * few.against.error)
    assert f"at most {end:.3f}" in words


def test_p_is_never_smaller_than_labels_allow():
    """Two forgotten and four unseen rows: 15 labellings, so p ≥ 2/15."""
    found = auc_difference([5.0, 6.0], [1.0, 2.0, 3.0, 4.0], [([1.0, 5.0], [2.0, 1.5, 3.0, 4.0])], alike=True)
    assert found.error > 0
    assert found.p >= 2 / 15 - 1e-12


def test_what_looks_unlearned_is_one_sided_and_not_called_remembered():
    asked = Finding("u-lira", "membership", "?", one_sided=True, marks=True)
    found = judged(asked, drawn(0, 1.0), [drawn(1)], None, alike=True)
    assert (found.verdict, found.caught) == ("looks unlearned", True)
    assert "look unlearned rather than never seen" in found.words
    assert not decide(Gate("u-lira"), [found]).held
    below = judged(asked, drawn(0, -1.0), [drawn(1)], None, alike=True)
    assert below.verdict == "not detected"
