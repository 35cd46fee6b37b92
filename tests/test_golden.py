"""What the public scripts print for the inputs of golden.py: stored numbers, which ours must meet."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from golden import SAID, SAMPLES, TEXTS, made_log, made_logits
from ofmu import metrics
from ofmu.benchmarks.tofu_score import score_log
from ofmu.data.tofu_logs import AnswerLosses, read_tofu_log
from ofmu.metrics.tokens import token_values
from test_score_tofu import save

# github.com/locuslab/tofu, aggregate_eval_stat.py at bdc209e: get_model_utility(made_log(1))
AGGREGATE = {
    "real_authors_rouge": 0.46894674999999997,
    "real_authors_probability": 0.3366642316251627,
    "real_authors_truth_ratio": 0.36355388506678515,
    "world_facts_rouge": 0.6406125833333334,
    "world_facts_probability": 0.3299355986057932,
    "world_facts_truth_ratio": 0.4034986994101291,
    "retain_rouge": 0.6635569166666667,
    "retain_probability": 0.32613610028291556,
    "retain_truth_ratio": 0.40856724467815714,
    "forget_rouge": 0.5205888333333334,
    "forget_probability": 0.2851231010028749,
    "forget_truth_ratio": 0.4525943510986919,
    "model_utility": 0.4101271211757907,
}
# the same file: get_forget_quality(made_log(1), made_log(2)), and against made_log(3, questions=9)
QUALITY = {"forget_quality": 0.9984852944874484, "ks_statistic": 0.16666666666666666}
QUALITY_OF_FEWER = {"forget_quality": 0.15895281189398838, "ks_statistic": 0.4722222222222222}

# github.com/locuslab/tofu, utils.py at bdc209e: get_model_utility(made_log(1)). It takes the arithmetic mean of
# the wrong probabilities where aggregate_eval_stat.py takes the geometric one; the leaderboard's are the latter's.
OLDER = {
    "real_authors": 0.2936273203877022,
    "world_facts": 0.29762843053573446,
    "retain": 0.3611817915300311,
    "forget": 0.4474443548284461,
    "model_utility": 0.3781170703526078,
}

# github.com/locuslab/open-unlearning at d3d7cf9, src/evals/metrics: truth_ratio, probability_w_options
# (memorization.py) and hm_aggregate (utility.py) of made_log(1), with 1e-10 in denominators, which TOFU has not.
NEWER = {
    "retain_truth_ratio": 0.40856724481532375,
    "real_authors_truth_ratio": 0.36355388527708615,
    "real_authors_probability": 0.3366642315754768,
    "world_facts_truth_ratio": 0.40349869957490087,
    "world_facts_probability": 0.3299355985568055,
    "forget_truth_ratio": 0.45259435108814405,
    "model_utility": 0.41012712122319617,
}
ADDED = 1e-9  # what that 1e-10 moves these means by
# truth_ratio of the forget set, value_by_index: aggregator closer_to_1_better, and prob_mean
RATIOS = [
    *[0.16622951912189168, 0.5191219770312839, 0.9307395429623487, 0.7112483590891922, 2.1762917542474516],
    *[2.6774493293808552, 0.0962618881536489, 0.9345564936830143, 0.2254243619248852, 0.10741560600890339],
    *[0.10435495103747608, 1.2456518891756885],
]
SHARES = [
    *[0.8574641469083046, 0.6582749870461532, 0.5179362500170781, 0.5843687119196236, 0.3148325392047174],
    *[0.27192760769543195, 0.9121907918622507, 0.5169143432776204, 0.816043838304486, 0.903003348025752],
    *[0.9055059688283156, 0.4453049929362297],
]

# The same, for the samples of golden.py: exact_memorization, extraction_strength (memorization.py), ZLIBAttack,
# MinKProbAttack and MinKPlusPlusAttack (mia/; k .2 and .4), in its signs. All but zlib leave the last answer token
# out.
TOKENS = [
    {
        **{"exact": 0.6666666865348816, "extraction": 0.16666666666666663, "zlib": 0.03099109489964363},
        **{
            "min_k": (5.129117488861084, 4.647795677185059),
            "min_k_plus_plus": (3.823907886071328, 3.4105251339967175),
        },
    },
    {
        **{"exact": 0.75, "extraction": 0.5, "zlib": 0.0299197702205507},
        **{
            "min_k": (2.632272243499756, 2.632272243499756),
            "min_k_plus_plus": (1.624948802279865, 1.624948802279865),
        },
    },
    {
        **{"exact": 1.0, "extraction": 1.0, "zlib": 0.00938835053550069},
        **{"min_k": (1.1627944707870483, 1.0550003051757812)},
        **{"min_k_plus_plus": (-0.2047578047286054, -0.22711359179869167)},
    },
    {
        **{"exact": 0.5, "extraction": 0.25, "zlib": 0.05174615664631057},
        **{
            "min_k": (6.416254997253418, 6.416254997253418),
            "min_k_plus_plus": (6.139367314218609, 6.139367314218609),
        },
    },
]
SINGLE = 1e-6  # of scores that the framework takes in float32


def scores(tmp_path, retain: dict | None = None) -> dict:
    log = read_tofu_log(save(tmp_path / "log.json", made_log(1)))
    other = None if retain is None else read_tofu_log(save(tmp_path / "retain.json", retain), sets=("forget",))
    return score_log(log, other).summary()


def forget_losses(tmp_path, name: str = "forget") -> AnswerLosses:
    return read_tofu_log(save(tmp_path / "log.json", made_log(1))).sets[name]


def test_aggregate_eval_stat_of_tofu(tmp_path):
    found = scores(tmp_path, made_log(2))
    for name, value in {**AGGREGATE, **QUALITY}.items():
        assert found[name] == pytest.approx(value, abs=1e-9), name
    fewer = scores(tmp_path, made_log(3, questions=9))
    for name, value in QUALITY_OF_FEWER.items():
        assert fewer[name] == pytest.approx(value, abs=1e-9), name


def test_utils_of_tofu_is_the_arithmetic_form_and_not_what_score_tofu_prints(tmp_path):
    found = scores(tmp_path)
    for name in ("real_authors", "world_facts", "retain", "forget"):
        losses = forget_losses(tmp_path, name)
        ratio = metrics.truth_ratio(losses.paraphrased, losses.wrong, "arithmetic")
        mean = np.minimum(ratio, 1 / ratio).mean() if name == "forget" else np.maximum(0, 1 - ratio).mean()
        assert mean == pytest.approx(OLDER[name], abs=1e-9), name
        assert abs(found[f"{name}_truth_ratio"] - OLDER[name]) > 0.005
    assert found["model_utility"] == pytest.approx(AGGREGATE["model_utility"], abs=1e-9)
    assert abs(found["model_utility"] - OLDER["model_utility"]) > 0.03


def test_openunlearning_but_for_its_1e_10(tmp_path):
    found = scores(tmp_path)
    for name, value in NEWER.items():
        assert found[name] == pytest.approx(value, abs=ADDED), name
    losses = forget_losses(tmp_path)
    for form, values in (("geometric", RATIOS), ("share", SHARES)):
        ours = metrics.truth_ratio(losses.paraphrased, losses.wrong, form)
        assert ours.tolist() == pytest.approx(values, abs=2e-8), form


@pytest.mark.parametrize("values", [RATIOS, SHARES])
def test_a_log_that_openunlearning_wrote(tmp_path, values):
    rows = {str(i): {"score": value} for i, value in enumerate(values)}
    mean = NEWER["forget_truth_ratio"] if values is RATIOS else float(np.mean(SHARES))
    content = {
        "forget_truth_ratio": {"agg_value": mean, "value_by_index": rows},
        "model_utility": {"agg_value": 0.4},
    }
    losses = made_log(1)["eval_log_forget.json"]
    for name, column in (("PARA", "avg_paraphrased_loss"), ("PERT", "average_perturb_loss")):
        by_index = {i: {"avg_loss": loss} for i, loss in losses[column].items()}
        content[f"forget_Q_A_{name}_Prob"] = {"agg_value": 0.1, "value_by_index": by_index}
    log = read_tofu_log(save(tmp_path / "TOFU_EVAL.json", content))
    retain = read_tofu_log(save(tmp_path / "retain.json", made_log(2)), sets=("forget",))
    found = score_log(log, retain).summary()
    assert found["forget_quality"] == pytest.approx(QUALITY["forget_quality"], abs=1e-9)  # its ks_test: the same
    assert found["ks_statistic"] == pytest.approx(QUALITY["ks_statistic"], abs=1e-9)


@pytest.mark.parametrize("sample", range(len(SAMPLES)))
def test_token_scores_of_openunlearning_without_the_last_token(sample):
    said, tokens = np.array(made_logits(sample)), np.array(SAMPLES[sample][1])
    expected, shorter = TOKENS[sample], (said[:-1], tokens[:-1])
    assert metrics.exact_memorization(*shorter) == pytest.approx(expected["exact"], abs=SINGLE)
    values = token_values(*(torch.from_numpy(each) for each in shorter))
    for i, k in enumerate((0.2, 0.4)):
        assert metrics.min_k(values.log_p, k) == pytest.approx(-expected["min_k"][i], abs=SINGLE)
        assert metrics.min_k_plus_plus(*shorter, k) == pytest.approx(-expected["min_k_plus_plus"][i], abs=SINGLE)
        ours = metrics.membership.lowest_mean(values.standardised, k)
        assert ours == pytest.approx(-expected["min_k_plus_plus"][i], abs=SINGLE)


@pytest.mark.parametrize("sample", range(len(SAMPLES)))
def test_zlib_of_openunlearning(sample):
    said, tokens = torch.tensor(made_logits(sample), dtype=torch.float64), torch.tensor(SAMPLES[sample][1])
    loss = torch.nn.functional.cross_entropy(said, tokens).item()
    text = " ".join(TEXTS[token] for token in tokens)
    assert metrics.zlib_ratio(loss, text) == pytest.approx(TOKENS[sample]["zlib"], abs=1e-9)


def test_extraction_strength_is_openunlearnings_but_for_its_floor():
    theirs = [expected["extraction"] for expected in TOKENS]
    answers = [(np.array(made_logits(i))[:-1], np.array(tokens)[:-1]) for i, (_, tokens) in enumerate(SAMPLES)]
    ours = [metrics.extraction_strength(*each) for each in answers]
    assert ours[:3] == pytest.approx(theirs[:3], abs=1e-9)
    # nothing of the last answer can be brought out: theirs stops at 1/m, ours says 0
    assert (ours[3], theirs[3]) == (0.0, 1 / 4)


def test_rouge_of_muse_and_tofu():
    pytest.importorskip("rouge_score")
    said, true = zip(*SAID, strict=True)
    # github.com/swj0419/muse_bench at fcd6651, metrics/logger.py: RougeEvalLogger.log and report, "rougeL"
    muse = [0.6666666666666666, 0.7000000000000001, 0.5, 0]
    assert metrics.verbatim_rouge(said, true).tolist() == pytest.approx(muse, abs=1e-9)
    assert metrics.knowledge_rouge(said, true).tolist() == pytest.approx(muse, abs=1e-9)
    # github.com/locuslab/tofu at bdc209e, evaluate_util.py: eval_rouge_recall, "rougeL_recall"
    tofu = [1.0, 0.6363636363636364, 1.0, 0]
    assert [metrics.rouge_l_recall(*pair) for pair in SAID] == pytest.approx(tofu, abs=1e-9)


def test_privleak_of_openunlearning():
    # github.com/locuslab/open-unlearning at d3d7cf9, privacy.py: privleak of AUC .7 against .55, with its 1e-10
    assert metrics.privleak(0.7, 0.55) == pytest.approx(-33.333333325925906, abs=1e-7)
