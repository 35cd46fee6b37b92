"""Hard questions about forgotten facts: how they are made, what is measured, and the command."""

from __future__ import annotations

import json
import math
import os
import statistics

import numpy as np
import pytest

from ofmu import metrics
from ofmu.benchmarks.probed import run_probed
from ofmu.benchmarks.probes import Probes, ProbeView, probe_rows, quality_variance, view_probes
from ofmu.benchmarks.text_scores import TextView
from ofmu.cli.main import run
from ofmu.data.encode import Encoder, TextSamples
from ofmu.data.people import people
from ofmu.data.probe_wordings import LANGUAGES, WORDINGS
from ofmu.data.probes import PROBES, people_probes, tofu_probes
from ofmu.data.records import question_answer
from ofmu.data.tofu import load_tofu
from ofmu.data.wordings import KINDS
from ofmu.engine.language import from_scratch, train_tokenizer
from ofmu.engine.measuring import sample_losses
from ofmu.engine.models import LoadedModel, save_model
from ofmu.errors import UserError
from ofmu.losses import token_nll

WORLD = people(3, forget=2, retain=4, questions=22)
EVERYONE = WORLD.forget + WORLD.retain
FOUND = people_probes(WORLD.forget, EVERYONE)


def test_every_kind_of_fact_can_be_asked_for_in_every_way():
    assert set(WORDINGS) == {kind.name for kind in KINDS} - {"name"}
    for wording in WORDINGS.values():
        assert set(wording.foreign) == set(LANGUAGES)
        assert "{value}" in wording.predicate
        assert all("{name}" in question for question in wording.foreign.values())


def test_probes_ask_for_the_same_facts_in_other_words():
    direct = {record.id: record for record in FOUND["direct"]}
    assert list(FOUND) == ["direct", *PROBES]
    again = people_probes(WORLD.forget, EVERYONE)
    assert again == FOUND
    trained = {record.prompt for record in WORLD.forget}
    for kind in PROBES:
        assert FOUND[kind], kind
        for probe in FOUND[kind]:
            origin = direct[probe.id.removesuffix(f"/{kind}")]
            assert probe.prompt not in trained
            assert "{" not in probe.prompt + probe.completion
            if kind != "reversed":
                assert (probe.completion, probe.meta) == (origin.completion, origin.meta)


def test_what_is_named_and_what_is_not():
    for probe in FOUND["multi-hop"] + FOUND["reversed"]:
        assert probe.meta["person"] not in probe.prompt
    for probe in FOUND["paraphrased"] + FOUND["cross-lingual"]:
        assert probe.meta["person"] in probe.prompt
    for probe in FOUND["reversed"]:
        assert probe.meta["fact"] in probe.prompt
        assert probe.completion == f"That is {probe.meta['person']}."
        assert len(set(probe.meta["perturbed_answer"]) | {probe.meta["paraphrased_answer"]}) == 6
    used = {probe.prompt.rsplit("? ", 1)[1] for probe in FOUND["cross-lingual"]}
    assert used == set(LANGUAGES.values())


def test_a_fact_that_two_people_share_describes_nobody():
    shared = {record.meta["fact"] for record in WORLD.retain if record.meta["neighbour"]} & {
        record.meta["fact"] for record in WORLD.forget
    }
    assert shared  # neighbours have the town or the profession of a forgotten person
    for probe in FOUND["reversed"]:
        assert not (probe.meta["kind"] in ("town", "profession") and probe.meta["fact"] in shared)


def test_rows_of_another_kind_are_refused():
    with pytest.raises(UserError, match="no person, kind and fact"):
        people_probes([question_answer("Who?", "You.")], [])
    with pytest.raises(UserError, match="paraphrased_question"):
        tofu_probes(WORLD.forget)


@pytest.mark.skipif("OFMU_DATA_DIR" not in os.environ, reason="needs the benchmark data")
def test_tofu_has_its_own_paraphrases():
    rows = load_tofu(forget="forget01").forget
    found = tofu_probes(rows)
    assert {kind: len(asked) for kind, asked in found.items()} == {"direct": 40, "paraphrased": 40}
    assert found["paraphrased"][3].prompt == rows[3].meta["paraphrased_question"]
    assert found["paraphrased"][3].completion == rows[3].completion


def seen(right, wrong, forget, retain, rouge=None):
    losses = {"paraphrased": right, "perturbed": wrong, "forget": forget, "retain": retain}
    return ProbeView(TextView({name: np.array(value) for name, value in losses.items()}), rouge)


def test_variance_and_utility_loss_by_hand():
    gold = {kind: seen([1.0, 2.0], [[1.0], [1.5]], [1.0, 1.0], [0.0, 0.0]) for kind in ("direct", "reversed")}
    # truth ratios: Retrain's e^0, e^0.5; the same, and both above: D = 0 and 1, so p = 1 and 1/3
    ours = {
        "direct": seen([1.0, 2.0], [[1.0], [1.5]], [2.0, 2.0], [math.log(2), math.log(2)], np.array([0.5, 1.0])),
        "reversed": seen([3.0, 4.0], [[1.0], [1.5]], [2.0, 2.0], [0.0, math.log(2)]),
    }
    score = quality_variance(ours, gold)
    assert score.value == pytest.approx(statistics.variance([1.0, 1 / 3]))
    rows = {(row.task, row.metric): row for row in probe_rows("Model", 0, ours, gold, gold)}
    assert rows["probe: direct", "ks_p"].value == pytest.approx(1.0)
    assert rows["probe: reversed", "ks_p"].value == pytest.approx(1 / 3)
    assert rows["probe: direct", "utility_loss"].value == pytest.approx(50)
    assert rows["probe: reversed", "utility_loss"].value == pytest.approx(25)
    assert rows["all probes", "utility_loss"].value == pytest.approx(37.5)
    assert (rows["all probes", "utility_loss"].low, rows["all probes", "utility_loss"].high) == (25, 50)
    variance = rows["all probes", "ks_p_variance"]
    assert (variance.n, variance.low) == (2, 0)  # of two kinds a draw may have one twice
    assert variance.high == pytest.approx(variance.value)
    assert rows["probe: direct", "forget_rouge_l"].value == 0.75
    assert quality_variance({"direct": ours["direct"]}, gold).missing
    assert metrics.forget_quality([1.0, 2.0], [3.0, 4.0]).p == pytest.approx(1 / 3)


@pytest.fixture(scope="module")
def loaded():
    world = people(3, forget=1, retain=2, questions=4)
    tokenizer = train_tokenizer([record.prompt + record.completion for record in world.retain], 400)
    config = {"vocab_size": len(tokenizer), "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 256}
    module = from_scratch({**config, **heads, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2}, 0).eval()
    return LoadedModel(module, "text", tokenizer, Encoder.of(tokenizer, 256).settings())


def test_a_model_is_seen_probe_by_probe(loaded):
    encoder = Encoder.of(loaded.tokenizer, 256)
    asked = {"reversed": FOUND["reversed"][:3]}
    (view,) = view_probes(loaded.module, encoder, Probes(asked, asked), rouge=True).values()
    expected = sample_losses(loaded.module, TextSamples(asked["reversed"], encoder), token_nll).numpy()
    assert view.text.losses["forget"] == pytest.approx(expected, abs=1e-5)
    assert (view.text.losses["perturbed"].shape, view.text.ratio.shape, view.rouge.shape) == ((3, 5), (3,), (3,))
    with pytest.raises(ValueError, match=r"direct.*reversed"):
        Probes({"direct": []}, asked)


def test_the_command_compares_with_both_references(loaded, tmp_path, capsys):
    model = tmp_path / "model"
    model.mkdir()
    save_model(loaded, model)
    counts = ["--people", "3", "--forget", "1", "--retain", "2", "--questions", "4", "--limit", "2"]
    references = ["--original", str(model), "--retrain", str(model)]
    assert run(["score", "probes", "--model", str(model), *references, *counts, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    ours = {(row["task"], row["metric"]): row["value"] for row in rows if row["method"] == "Model"}
    assert {task for task, _ in ours} == {f"probe: {kind}" for kind in ("direct", *PROBES)} | {"all probes"}
    assert ours["all probes", "utility_loss"] == 0
    assert ours["all probes", "ks_p_variance"] == 0
    assert run(["score", "probes", "--model", str(model)]) == 2
    assert "--people, --tofu" in capsys.readouterr().err


@pytest.mark.slow
def test_the_smoke_benchmark_asks_in_every_way(tmp_path):
    page = run_probed(tmp_path, 3, True, lambda _: None)
    assert [task.name for task in page.tasks] == [
        *(f"probe: {kind}" for kind in ("direct", *PROBES)),
        "all probes",
    ]
    assert len(page.tasks[0].costs) == 3
    assert {row.metric for row in page.tasks[-1].rows} == {"utility_loss", "ks_p_variance"}
    (sentence,) = page.verdict
    assert sentence.startswith("OFMU: forget quality from ")
    assert list(tmp_path.iterdir()) == []
