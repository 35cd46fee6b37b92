"""Other ways to ask a tiny language model: what is asked, and where the loss falls."""

from dataclasses import replace

import pytest
import torch

from ofmu.data.encode import Encoder, TextSamples
from ofmu.data.people import people
from ofmu.engine.language import from_scratch, train_tokenizer
from ofmu.engine.prepare import Parts
from ofmu.evidence import sampling as module
from ofmu.evidence.case import Case, ask
from ofmu.evidence.elicit import Prefilled, elicit, other_words, probed
from ofmu.evidence.finding import Finding
from ofmu.evidence.plan import choose
from ofmu.evidence.rows import records_of
from ofmu.evidence.sampling import leak_at_k
from ofmu.evidence.scores import loss_scores
from ofmu.tasks import IGNORE
from small import images, net, texts


@pytest.fixture(scope="module")
def case() -> Case:
    world = people(3, forget=1, retain=1, heldout=1, unseen=0, questions=6)
    rows = [*world.forget, *world.retain, *world.heldout]
    tokenizer = train_tokenizer([turn.content for record in rows for turn in record.messages], 300)
    config = {"vocab_size": len(tokenizer), "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    config |= {"num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 512}
    model = from_scratch({**config, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2}, 0)
    encoder = Encoder.of(tokenizer, 512)
    parts = Parts(*(TextSamples(part, encoder) for part in (world.forget, world.retain, world.heldout)))
    return Case("text", model, parts, (from_scratch(model.config.to_dict(), 1),), encoder=encoder)


def test_a_prefilled_answer_keeps_its_tokens_and_loses_the_first_labels():
    plain = texts(6, 1)
    given = Prefilled(plain, 1 / 2)
    for row in range(6):
        before, after = plain.batch([row]), given.batch([row])
        assert torch.equal(before.inputs["input_ids"], after.inputs["input_ids"])
        m = len(plain.pairs[row][1])
        assert (after.labels != IGNORE).sum() == m - min(m // 2, m - 1) >= 1
        assert torch.equal(after.labels[after.labels != IGNORE], before.labels[before.labels != IGNORE][m // 2 :])


def test_every_way_of_asking_gives_an_answer_or_a_reason(case, monkeypatch):
    monkeypatch.setattr(module, "QUESTIONS", 2)
    monkeypatch.setattr(module, "LONGEST", 4)
    found = {each.attack: each for each in elicit(case)}
    leak = found.pop("leak@k")
    assert "of 2; other models" in leak.extra[0]
    assert set(found) == {"prefill", "system-prompt", "in-context", "paraphrase", "reversed"}
    assert found["reversed"].missing == "the rows have no 'reversed_question' and 'reversed_answer'"
    assert found["prefill"].model is not None
    assert found["in-context"].model is not None
    assert found["in-context"].model.n_forget == 3  # the other half is in the prompt
    losses = {name: each.model.auc for name, each in found.items() if each.model is not None}
    assert len(set(losses.values())) > 1
    assert "elicit" in choose(case).chosen


def test_rows_that_can_be_asked_otherwise_are(case):
    def reworded(samples):
        meta = {"paraphrased_question": "And?", "reversed_question": "Who?", "reversed_answer": "Someone"}
        return TextSamples([replace(record, meta=meta) for record in records_of(samples)], case.encoder)

    found = other_words(case.with_rows(reworded(case.forget), reworded(case.heldout)))
    assert [each.attack for each in found] == ["paraphrase", "reversed"]
    assert found[0].missing is None
    assert "one value" in str(found[1].missing)  # all rows became the same question: no number is made of that


def loss_attack(case):
    return ask(case, Finding("loss", "membership", "?"), lambda model: loss_scores(case, model))


def test_questions_of_ones_own_are_asked_beside_the_rows(case):
    forget, heldout = records_of(case.forget), records_of(case.heldout)
    asked = probed(replace(case, probes={"translated": (forget, heldout)}), "translated")
    assert asked.attack == "probe questions: translated"
    assert asked.model == loss_attack(case).model  # the same questions: the loss attack itself
    few = probed(replace(case, probes={"few": (forget[:1], heldout)}), "few")
    assert "at least 2" in str(few.missing)


def test_leaks_are_counted_over_samples_of_every_model(case, monkeypatch):
    monkeypatch.setattr(module, "LONGEST", 4)
    said = iter([0.0, 1.0, 0.3, *[0.2] * 3, *[0.0] * 3, *[0.1] * 3] * 2)  # two questions of each set, twice
    monkeypatch.setattr(module, "rouge_l_recall", lambda answer, truth: next(said))
    found = leak_at_k(case, questions=2, k=3)
    assert found.model is not None
    assert found.model.auc == 1.0
    assert found.extra == ("questions whose answer leaks: 1 of 2; other models: 1 of 2",)


def test_images_cannot_be_asked():
    case = Case("image", net(0), Parts(images(6, 1), images(6, 2), images(6, 3)))
    assert "text models alone" in choose(case).left_out["elicit"]
    with pytest.raises(ValueError, match="no text"):
        records_of(case.forget)
