"""Language models whose answer is known: tiny Llamas and questions about fictitious people, drawn at random.

The rows to forget, to keep and unseen ones are a random split of one pool, row by row, so that forgotten and
unseen rows are alike for every model that saw neither.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random

import torch
from torch.nn import Module

from ...attacks import auc_with_error
from ...data.encode import Encoder, TextSamples
from ...data.people import people
from ...data.probes import DIRECT, people_probes
from ...data.records import Record
from ...engine.language import from_scratch, train_tokenizer
from ...engine.measuring import sample_losses
from ...engine.models import LoadedModel
from ...engine.prepare import Parts
from ...engine.trainable import apply_trainable
from ...engine.training import Recipe, trained
from ...evidence.case import Case
from ...evidence.elicit import in_context, prefilled, probed, system_prompt
from ...evidence.finding import Finding
from ...evidence.plan import choose, run
from ...evidence.relearning import On, relearning
from ...evidence.rows import joined
from ...evidence.sampling import leak_at_k
from ...losses import token_nll
from ...tasks import Samples

PEOPLE, QUESTIONS = 24, 4  # one pool of 96 rows
FORGET, RETAIN = 28, 28  # of them; the others are unseen
GOLD = 5
LLAMA: Mapping[str, object] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.06,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 2,
}
VOCABULARY = 400
LEARNT, BRIEF = (Recipe(epochs=epochs, batch=14, lr=1e-2, rule="adamw") for epochs in (25, 8))
GROUPS = ("mia", "quantise", "adapter", "interpolate", "inside", "gradnorm", "disturb")
LESSONS = {"learnt": 16, "brief": 4}  # steps of relearning
ASKED, DRAWS, LONGEST = 8, 3, 10  # leak@k: questions a side, draws, tokens
DEPTH, OVER, HIDDEN = 8.0, 0.25, 0.55  # nats; AUC of the loss attack: forgotten too well, hidden


@dataclass(frozen=True)
class World:
    """The rows of one seed, how they are read, and rows about others whom no model and no attack meets."""

    parts: Parts
    others: Samples
    encoder: Encoder
    probes: Mapping[str, tuple[Sequence[Record], Sequence[Record]]]

    def fit(self, samples: Samples, recipe: Recipe, seed: int) -> Module:
        """A model trained on these rows."""
        model = from_scratch({**LLAMA, "vocab_size": len(self.encoder.tokenizer)}, seed)
        trained(model, samples, token_nll, replace(recipe, seed=seed))
        return model.eval()

    def case(self, model: Module, gold: Sequence[Module], original: Module, recipe: Recipe, seed: int) -> Case:
        """One request under attack."""
        return Case(
            "text",
            model,
            self.parts,
            tuple(gold),
            original,
            encoder=self.encoder,
            recipe=recipe,
            seed=seed,
            probes=self.probes,
            alike=True,
        )


def world(seed: int) -> World:
    """One question a row; all of them shuffled, then split."""
    pool = people(seed, forget=PEOPLE, retain=0, heldout=0, unseen=0, questions=QUESTIONS).forget
    Random(f"split {seed}").shuffle(pool)
    rows = pool[:FORGET], pool[FORGET : FORGET + RETAIN], pool[FORGET + RETAIN :]
    tokenizer = train_tokenizer([turn.content for record in pool for turn in record.messages], VOCABULARY)
    encoder = Encoder.of(tokenizer, 512)
    forget, heldout = (people_probes(side, pool, seed) for side in (rows[0], rows[2]))
    probes = {kind: (forget[kind], heldout[kind]) for kind in forget if kind != DIRECT}
    others = people(seed + 1000, forget=PEOPLE, retain=0, heldout=0, unseen=0, questions=1).forget
    return World(
        Parts(*(TextSamples(part, encoder) for part in rows)), TextSamples(others, encoder), encoder, probes
    )


def attacked(case: Case, lessons: int) -> list[Finding]:
    """Every attack on texts that trains no shadows; lessons: steps of relearning. leak@k draws few and short."""
    found = [each for _, group in run(case, choose(case, GROUPS)) for each in group]
    ways: tuple[On, ...] = ("forget", "retain", "unrelated")
    found += [relearning(case, on, lessons) for on in ways]
    found += [prefilled(case), system_prompt(case), in_context(case)]
    found.append(leak_at_k(case, ASKED, DRAWS, LONGEST))
    return found + [probed(case, name) for name in case.probes]


def positive(kind: str) -> list[Finding]:
    """Every attack on a model that is "memorised", forgot "too well", or is "hidden" under an adapter."""
    here = world(0)
    original = here.fit(joined([here.parts.retain, here.parts.forget]), LEARNT, 1)
    gold = [here.fit(here.parts.retain, LEARNT, 2 + k) for k in range(GOLD)]
    model = original
    if kind != "memorised":
        model = over_forgotten(original, here) if kind == "too well" else under_an_adapter(original, here)
    return attacked(here.case(model, gold, original, LEARNT, 0), LESSONS["learnt"])


def retrained(seed: int) -> list[Finding]:
    """Every attack on one retrained model beside five others."""
    here = world(1 + seed)
    models = [here.fit(here.parts.retain, BRIEF, 100 * seed + k) for k in range(1 + GOLD)]
    original = here.fit(joined([here.parts.retain, here.parts.forget]), BRIEF, 100 * seed + 99)
    return attacked(here.case(models[0], models[1:], original, BRIEF, seed), LESSONS["brief"])


def over_forgotten(original: Module, here: World) -> Module:
    """The original, changed until unseen rows cost less than the forgotten ones."""
    return _pushed(copy.deepcopy(original).requires_grad_(True), here, 3e-3, OVER)


def under_an_adapter(original: Module, here: World) -> Module:
    """The original under an adapter of its last block that hides the forgotten rows: below it nothing changed."""
    loaded = LoadedModel(copy.deepcopy(original), "text", source="control")
    return _pushed(apply_trainable(loaded, "lora:8,top:1").module, here, 1e-2, HIDDEN)


def _pushed(model: Module, here: World, lr: float, below: float) -> Module:
    """Push the forget rows' losses to `DEPTH` until the loss attack's AUC is below.

    The losses of kept rows are held low, those of others' rows at most where they were.
    """
    optimiser = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=lr)
    forget, retain, others = (
        part.batch(range(len(part))) for part in (here.parts.forget, here.parts.retain, here.others)
    )
    with torch.no_grad():
        level = token_nll(model, others).per_sample()
    for _ in range(100):
        for _ in range(3):
            pushed = (DEPTH - token_nll(model, forget).per_sample()).relu().mean()
            risen = (token_nll(model, others).per_sample() - level).relu().mean()
            loss = token_nll(model, retain).mean() + pushed + risen
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        if _loss_auc(model, here.parts) < below:
            return model.eval()
    raise RuntimeError(f"the control model's AUC did not fall below {below:g}")


def _loss_auc(model: Module, parts: Parts) -> float:
    assert parts.heldout is not None
    forget, unseen = (-sample_losses(model, part, token_nll).numpy() for part in (parts.forget, parts.heldout))
    return auc_with_error(forget, unseen)[0]
