"""Power, multiplicity, and spreads, against simulation, published numbers and scipy."""

import warnings

import numpy as np
import pytest
from scipy.stats import binomtest, ks_2samp, norm, ttest_ind

from ofmu.attacks import auc_with_error, two_sided
from ofmu.evidence.outcome import seed_words
from ofmu.evidence.statistics import (
    auc_power,
    detectable_auc,
    detectable_shift,
    detectable_tpr,
    holm,
    models_needed,
    samples_needed,
    shift_power,
)
from ofmu.report.lattice import ks_lattice, ks_p_value


def test_power_of_an_auc_is_what_a_simulation_finds():
    shift, rng = 0.5, np.random.default_rng(0)
    auc = float(norm.cdf(shift / np.sqrt(2)))
    found = [two_sided(rng.normal(shift, 1, 50), rng.normal(size=70), (0.1,)).p < 0.05 for _ in range(150)]
    assert auc_power(auc, 50, 70) == pytest.approx(np.mean(found), abs=0.1)
    assert auc_power(1 - auc, 50, 70) == auc_power(auc, 50, 70)
    assert auc_power(0.5, 50, 70) == pytest.approx(0.05, abs=0.002)


def test_what_is_detectable_and_what_it_takes_agree():
    auc = detectable_auc(100, 100)
    assert auc is not None
    assert auc_power(auc, 100, 100) == pytest.approx(0.8, abs=1e-6)
    assert samples_needed(auc + 1e-6) == 100
    assert detectable_auc(2, 2) is None
    with pytest.raises(ValueError, match="differs from"):
        samples_needed(0.5)


def test_a_detectable_rate_is_exact():
    # 10 of 100 at least have a lower limit above 4.9 %; 5 of 100 (limit 1.64 %) are the first above 1 %
    rate = detectable_tpr(0.01, 100)
    assert rate is not None
    first = next(k for k in range(101) if binomtest(k, 100).proportion_ci(method="exact").low > 0.01)
    draws = np.random.default_rng(1).binomial(100, rate, 40_000)
    assert np.mean(draws >= first) == pytest.approx(0.8, abs=0.01)
    assert detectable_tpr(0.01, 1) is not None  # 1 of 1 has a lower limit of 2.5 %
    assert detectable_tpr(0.05, 1) is None


def test_models_needed_is_the_t_tests_published_power():
    # Cohen's table: d = 1.0, two-sided .05, power .80 asks for 17 a group
    assert models_needed(1.0) == 17
    assert shift_power(1.0, 17, 17) >= 0.8 > shift_power(1.0, 16, 16)
    with pytest.raises(ValueError, match="shift"):
        models_needed(0.0)


def test_one_model_beside_five_shows_only_what_a_simulation_says():
    shift = detectable_shift(1, 5)
    rng = np.random.default_rng(3)
    ours, gold = rng.normal(shift, 1, 20_000), rng.normal(size=(20_000, 5))
    p = ttest_ind(ours[None], gold.T, axis=0).pvalue
    assert np.mean(p < 0.05) == pytest.approx(0.8, abs=0.01)
    assert any(
        f"from {shift:.1f} standard deviations" in words and "takes 17 models" in words for words in seed_words(5)
    )
    assert seed_words(1) == []
    with pytest.raises(ValueError, match="retrains"):
        detectable_shift(1, 1)


def test_holm_by_hand():
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06})
    assert holm({"a": 0.9, "b": 0.8}) == pytest.approx({"a": 1.0, "b": 1.0})
    with pytest.raises(ValueError, match="p_values"):
        holm({"a": float("nan")})


@pytest.mark.parametrize(("n", "m"), [(5, 5), (12, 20), (30, 7)])
def test_ks_p_values_are_scipys(n, m):
    rng = np.random.default_rng(n)
    for _ in range(4):
        x, y = rng.normal(size=n), rng.normal(size=m) + 0.5
        with warnings.catch_warnings():  # where p is 1 but for rounding
            warnings.simplefilter("ignore", RuntimeWarning)
            found = ks_2samp(x, y, method="exact")
        assert ks_p_value(n, m, round(found.statistic * np.lcm(n, m))) == pytest.approx(found.pvalue, abs=1e-12)


def test_the_ks_lattice_brackets_the_level():
    found = ks_lattice(40, 40)
    assert found.below is not None
    assert found.d_below is not None
    assert found.below <= 0.05 < found.above
    assert ks_p_value(40, 40, round(found.d_below * 40)) == found.below
    assert ks_p_value(40, 40, round(found.d_below * 40) - 1) == found.above
    assert found.above - found.below > 0.01  # the gap that makes "p = .06" and "p = .04" neighbours
    assert ks_lattice(2, 2).below is None


def test_pooled_false_alarms_are_as_often_as_they_say():
    """Negative control: 20 "retrained" models, every score attack alike, Holm over each family."""
    rng, alarms, families = np.random.default_rng(5), 0, 0
    for _ in range(20):
        difficulty = rng.gamma(2, size=160)
        scores = {name: difficulty * rng.uniform(0.5, 2) + rng.normal(size=160) for name in "abcd"}
        p = {name: two_sided(s[:80], s[80:]).p for name, s in scores.items()}
        families += 1
        alarms += min(holm(p).values()) < 0.05
    assert binomtest(alarms, families, 0.05, alternative="greater").pvalue > 0.01
    assert auc_with_error(scores["a"][:80], scores["a"][80:])[0] != 0.5
