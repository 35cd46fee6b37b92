"""Attacks on tiny models: one that remembers, one that forgot too well or only hides, and retrained ones."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from ofmu.attacks import two_sided
from ofmu.engine.language import from_scratch
from ofmu.engine.measuring import sample_losses
from ofmu.engine.models import LoadedModel
from ofmu.engine.prepare import Parts
from ofmu.engine.trainable import apply_trainable
from ofmu.engine.training import Recipe, trained
from ofmu.errors import UserError
from ofmu.evidence import membership
from ofmu.evidence import relearning as relearning_module
from ofmu.evidence.case import Case, Memory
from ofmu.evidence.finding import Finding, corrected, judged
from ofmu.evidence.outcome import evidence_of, power_words
from ofmu.evidence.perturb import interpolated, merged_in_half, noisy, pruned, quantised, without_adapter
from ofmu.evidence.plan import ATTACKS, choose, run
from ofmu.evidence.relearning import relearning
from ofmu.evidence.scores import image_scores, loss_scores, losses_of
from ofmu.evidence.statistics import samples_needed
from ofmu.losses import class_nll
from ofmu.tasks import TensorSamples
from small import images, net

RECIPE = Recipe(epochs=40, batch=50, lr=2e-2)


def wide(seed):
    """A network that can memorise random labels of 8 features."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return torch.nn.Sequential(torch.nn.Linear(8, 64), torch.nn.Tanh(), torch.nn.Linear(64, 3)).double()


def ascended(original, forget):
    """Ascent on the head alone until the forget rows cost what unseen ones do: forgotten, by its mean loss."""
    model, batch = copy.deepcopy(original), forget.batch(range(len(forget)))
    while (loss := class_nll(model, batch).mean()).item() < 1.9:
        gradient = torch.autograd.grad(loss, list(model[2].parameters()))
        length = torch.stack([g.norm() for g in gradient]).norm()
        with torch.no_grad():
            for p, g in zip(model[2].parameters(), gradient, strict=True):
                p += 0.2 * g / length
    return model


def rows(n, seed):
    return images(n, seed, features=8)


@pytest.fixture(scope="module")
def world():
    """Random labels: nothing can be known of an unseen row, everything of a seen one."""
    forget, retain, heldout = rows(60, 1), rows(90, 2), rows(80, 3)
    every = TensorSamples(
        torch.cat([forget.pixels, retain.pixels]),
        torch.cat([forget.labels, retain.labels]),
        [*forget.ids, *retain.ids],
    )
    models = {}
    for name, seed, data in (
        ("original", 0, every),
        ("retrain", 1, retain),
        ("again", 2, retain),
        ("third", 3, retain),
    ):
        models[name] = wide(seed)
        trained(models[name], data, class_nll, replace(RECIPE, seed=seed))
    hidden = copy.deepcopy(models["original"])
    with torch.no_grad():  # the knowledge is all there, behind a head that says the wrong class
        hidden[2].weight.copy_(hidden[2].weight.roll(1, 0))
        hidden[2].bias.copy_(hidden[2].bias.roll(1, 0))
    models["hidden"], models["ascended"] = hidden.eval(), ascended(models["original"], forget)
    return Parts(forget, retain, heldout), models


def case_of(world, model, retrains=("retrain",)):
    parts, models = world
    gold = tuple(models[name] for name in retrains)
    return Case("image", models[model], parts, gold, models["original"], recipe=RECIPE)


def findings(case, *names):
    return corrected([found for _, group in run(case, choose(case, names)) for found in group])


CHEAP = ("mia", "quantise", "disturb", "interpolate", "gradnorm")


def test_every_cheap_attack_finds_a_model_that_did_not_unlearn(world):
    found = {f.attack: f.verdict for f in findings(case_of(world, "original"), *CHEAP)}
    entropy = found.pop("entropy"), found.pop("noise"), found.pop("prune")
    assert set(found.values()) == {"remembered"}, found
    assert set(entropy) <= {"remembered", "not detected", "blind"}
    assert {"loss", "modified-entropy", "learnt-logistic", "quantise-4", "gradient-norm"} <= set(found)


def test_no_attack_finds_a_retrained_model(world):
    found = findings(case_of(world, "third", ("retrain", "again")), *CHEAP)
    assert {f.verdict for f in found} <= {"not detected", "blind"}
    assert all(f.against is not None and f.against.retrains == 2 and f.against.seeds is not None for f in found)
    said = [f.words for f in found]  # "at no power": two Retrains that differ, after the correction
    assert all("at power 0.8" in words or "at no power" in words or "Says nothing" in words for words in said)
    assert any("at power 0.8" in words for words in said)


def test_a_run_where_nothing_gave_an_answer_says_so(world):
    case = case_of(world, "third")
    broken = Finding("loss", "membership", "?", missing="not finite", failed=True)
    said = evidence_of(case, choose(case, ["mia"]), [broken]).verdict
    assert said == [
        "No attack gave an answer: this run says nothing about what is left.",
        "Tried and failed: loss.",
    ]
    notes = evidence_of(case, choose(case, ["inside"]), []).notes
    assert any("probes beside one retrained model" in note for note in notes)


def test_all_scores_of_a_look_that_fails_are_named(world, monkeypatch):
    def breaks(*_):
        raise ValueError("not finite")

    monkeypatch.setattr(membership, "image_scores", breaks)
    found = [f for f in membership.one_query(case_of(world, "third")) if f.missing == "not finite"]
    assert [f.attack for f in found] == list(membership.IMAGES)
    assert all(f.failed for f in found)


def test_the_control_of_relearning_is_taught_too(world):
    case = case_of(world, "third")
    found = relearning(case, "retain")
    assert found.original is not None
    assert found.original.auc != two_sided(*loss_scores(case, case.original)).auc


def test_what_cases_share_is_attacked_once_and_found_the_same(world, monkeypatch):
    asked, looks = ("mia", "relearn", "quantise", "inside", "gradnorm"), []
    original_look = relearning_module.relearned
    monkeypatch.setattr(
        relearning_module,
        "relearned",
        lambda case, module, *more: looks.append(module) or original_look(case, module, *more),
    )
    alone = [findings(case_of(world, name), *asked) for name in ("hidden", "third")]
    counted = len(looks)
    bare = replace(case_of(world, "hidden"), memory=Memory())
    shared = [findings(replace(bare, model=world[1][name]), *asked) for name in ("hidden", "third")]
    assert shared == alone
    assert (counted, len(looks) - counted) == (3 * 2 * 3, 3 * (2 + 2))  # a lesson each; two models in common
    parts = bare.parts
    assert bare.with_rows(parts.retain, parts.forget).memory is None


def test_rows_of_a_very_sure_model_do_not_tie(world):
    """A temperature of 1/300 rounds nearly all losses to 0, and changes no order."""
    case = case_of(world, "original")
    sure = copy.deepcopy(world[1]["original"])
    with torch.no_grad():
        sure[2].weight *= 300
        sure[2].bias *= 300
    assert (sample_losses(sure, case.forget, case.loss) == 0).float().mean() > 0.5
    looks = loss_scores(case, sure), image_scores(case, sure)["loss"]
    for forget, heldout in looks:
        assert len(np.unique(np.concatenate([forget, heldout]))) == len(forget) + len(heldout)
    parts = case.forget, case.heldout
    for part, scores in zip(parts, loss_scores(case, world[1]["original"]), strict=True):
        losses = sample_losses(world[1]["original"], part, case.loss).double().numpy()
        assert losses_of(case, scores) == pytest.approx(losses, abs=1e-5)  # relearning counts in nats
        assert np.array_equal(np.argsort(-losses), np.argsort(scores))  # where nothing rounds away


def test_forgetting_too_well_is_found_as_well(world):
    found = {f.attack: f for f in findings(case_of(world, "hidden"), "mia")}
    assert found["loss"].verdict == "over-forgotten"
    assert "too well" in found["loss"].words
    assert found["loss"].model is not None
    assert found["loss"].model.over_forgotten[0].missing is not None  # 80 held-out rows resolve no 1 %


def test_relearning_kept_rows_brings_hidden_rows_back_and_nothing_to_a_retrained_model(world):
    hidden = relearning(case_of(world, "ascended", ("retrain", "again")), "retain")
    assert hidden.verdict == "remembered"
    assert hidden.model is not None
    assert hidden.model.auc > 0.7
    assert hidden.extra[1].startswith("steps to half of the original's memory: ")
    assert hidden.extra[1].endswith("; retrained: not within 32, not within 32")
    assert "memory: not" not in hidden.extra[1]
    other = relearning(case_of(world, "third", ("retrain", "again")), "retain")
    assert other.verdict == "not detected"


@pytest.mark.parametrize("on", ["forget", "unrelated"])
def test_relearning_is_judged_on_rows_that_it_was_not_trained_on(world, on):
    found = relearning(case_of(world, "third"), on, steps=16)
    assert found.model is not None
    assert (found.model.n_forget, found.model.n_heldout) == ((30, 80) if on == "forget" else (60, 40))
    assert found.p is not None
    assert found.p > 0.001


def test_rows_that_are_alike_are_told_apart_more_sharply(world):
    case = case_of(world, "third", ("retrain", "again"))
    known = replace(case, alike=True)
    pairs = list(zip(findings(known, *CHEAP), findings(case, *CHEAP), strict=True))
    assert all(a.against.value == b.against.value and a.against.error <= b.against.error for a, b in pairs)
    assert any(a.p < b.p for a, b in pairs)
    assert "at random from one pool" in evidence_of(known, choose(known, ["mia"]), []).notes[0]
    five = replace(case, retrains=case.retrains * 3)
    assert "--alike" in evidence_of(five, choose(five, ["mia"]), []).notes[0]


def test_without_retrain_an_attack_compares_with_chance_and_says_so(world):
    parts, models = world
    case = Case("image", models["third"], parts)
    plan = choose(case, ["mia", "interpolate"])
    assert plan.left_out["interpolate"] == "needs the original model"
    found = evidence_of(case, plan, [f for _, group in run(case, plan) for f in group])
    assert all("chance 0.500" in f.words for f in found.findings)
    assert "no retrained model" in found.notes[0]
    assert "Not detected at power 0.8 for leaks of" in found.verdict[-1]
    assert "not proof of absence" in found.verdict[-1]


def test_a_budget_takes_the_strongest_first_and_says_what_is_left_out(world):
    case = case_of(world, "hidden")
    whole = choose(case)
    assert set(whole.chosen) == {
        n for n, attack in ATTACKS.items() if "image" in attack.kinds and not attack.trains
    }
    first = choose(case, budget=ATTACKS["mia"].cost(case) + 1)
    assert first.chosen == ("mia",)
    assert "of the budget were left" in first.left_out["relearn"]
    assert first.cost <= ATTACKS["mia"].cost(case) + 1 < whole.cost
    with pytest.raises(UserError, match="found 'magic'"):
        choose(case, ["magic"])


def test_an_attack_that_fails_gives_a_reason_and_no_number():
    finding = judged(Finding("loss", "membership", "?"), (np.ones(3), np.ones(4)), [], None)
    assert (finding.model, finding.p, finding.verdict) == (None, None, "not tested")
    assert finding.words.startswith("Not tested: forget and heldout: found the one value")
    assert finding.words.endswith("the attack scores all rows alike.")
    assert corrected([finding])[0].adjusted is None


def test_a_null_result_says_what_it_could_have_shown():
    few = judged(Finding("loss", "membership", "?"), (np.array([1.0, 4.0]), np.array([2.0, 3.0])), [], None)
    assert few.words.startswith("Not detected, at no power")
    many = judged(Finding("loss", "membership", "?"), (np.arange(0.0, 80, 2), np.arange(1.0, 81, 2)), [], None)
    assert many.words.startswith("Not detected at power 0.8 for a leak of 0.1")
    assert "private" not in few.words + many.words


def test_a_blind_attack_is_not_called_a_pass():
    rng = np.random.default_rng(0)
    unseen = rng.normal(size=50), rng.normal(size=60)
    finding = judged(Finding("loss", "membership", "?"), unseen, [unseen], unseen)
    assert finding.verdict == "blind"
    assert "Says nothing here" in finding.words


def test_relearning_that_diverges_is_said_and_gives_no_number(world):
    case = replace(case_of(world, "third"), recipe=replace(RECIPE, lr=1e200))
    found = relearning(case, "retain", steps=4)
    assert (found.model, found.verdict) == (None, "not tested")
    assert "finite" in found.words


def test_only_one_side_of_a_probe_means_something():
    rng = np.random.default_rng(3)
    low, high = rng.normal(size=60), rng.normal(1.5, 1, 60)
    gold = [(rng.normal(size=60), rng.normal(size=60))]
    probe = Finding("probe", "inside", "?", one_sided=True)
    assert judged(probe, (high, low), gold, None).verdict == "remembered"
    below = judged(probe, (low, high), gold, None)
    assert (below.verdict, below.p > 0.99) == ("not detected", True)
    assert judged(probe, gold[0], gold, (low, high)).verdict == "blind"


def test_power_is_said_beforehand():
    said = power_words(40, 200)
    assert "AUC of 0.641" in said[0]
    assert any("0.1% is not resolvable" in line for line in said)
    assert f"AUC of 0.55 would take {samples_needed(0.55):,} forgotten rows" in said[1]
    assert not any("would take" in line for line in power_words(2000, 2000))


def test_rows_that_were_not_looked_at_are_counted(world):
    parts, models = world
    few = evidence_of(Case("image", models["third"], parts), choose(case_of(world, "third"), ["mia"]), [])
    assert few.rows == "60 rows were to be forgotten; 80 unseen rows are compared with them."
    many = Parts(rows(2500, 1), parts.retain, parts.heldout)
    found = evidence_of(Case("image", models["third"], many), choose(case_of(world, "third"), ["mia"]), [])
    assert found.rows.startswith("2,500 rows were to be forgotten (2,000 of them attacked); 80 unseen rows are")


def test_rounding_by_hand():
    model = torch.nn.Linear(3, 2, bias=True).double()
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[7.0, -3.4, 0.4], [0.0, 1.4, -0.3]], dtype=torch.float64))
    changed = quantised(model, 4)
    assert changed.weight.tolist() == [[7.0, -3.0, 0.0], pytest.approx([0.0, 1.4, -0.4])]  # steps of 1 and of .2
    assert torch.equal(changed.bias, model.bias)
    assert model.weight[0, 1].item() == -3.4
    assert quantised(model, 16).weight.tolist()[0] == pytest.approx([7.0, -3.4, 0.4], abs=2e-4)
    with pytest.raises(ValueError, match="bits"):
        quantised(model, 1)


def test_pruning_noise_and_interpolation_by_hand():
    model, other = net(0), net(1)
    weight = pruned(model, 0.5)[0].weight
    assert (weight == 0).sum() == 12
    assert weight.abs()[weight != 0].min() >= model[0].weight.abs()[weight == 0].max()
    change = (noisy(model, 0.1, 3)[0].weight - model[0].weight).detach()
    assert change.std().item() == pytest.approx(0.1 * model[0].weight.std().item(), rel=0.5)
    assert torch.equal(change, noisy(model, 0.1, 3)[0].weight - model[0].weight)
    middle = interpolated(model, other, 0.25)
    assert torch.allclose(middle[2].bias, 0.75 * model[2].bias + 0.25 * other[2].bias)
    with pytest.raises(ValueError, match="one architecture"):
        interpolated(model, wide(0), 0.5)
    with pytest.raises(ValueError, match="no adapter"):
        without_adapter(model)
    assert (merged_in_half(model)[0].weight - model[0].weight).abs().max() < 2e-3


def test_a_model_under_an_adapter_is_interpolated_with_a_plain_original():
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    plain = from_scratch({"vocab_size": 32, "num_key_value_heads": 2, **sizes}, 0)
    adapted = apply_trainable(LoadedModel(copy.deepcopy(plain), "text"), "lora:2", seed=0).module
    with torch.no_grad():
        for name, part in adapted.named_parameters():
            if "lora_" in name:
                part.fill_(0.1)
    merged = dict(copy.deepcopy(adapted).merge_and_unload().named_parameters())
    for name, weight in interpolated(adapted, plain, 0.25).named_parameters():
        expected = 0.75 * merged[name] + 0.25 * dict(plain.named_parameters())[name]
        assert torch.allclose(weight, expected, atol=1e-6), name
    assert hasattr(adapted, "peft_config")  # left as it was
