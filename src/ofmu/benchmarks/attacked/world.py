"""Fictitious people and tiny Llamas of which it is known what they were taught.

The rows to forget, to keep and unseen ones are a random split of one pool, row by row, so that forgotten and
unseen rows are alike for every model that saw neither.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random

from torch.nn import Module

from ...data.encode import Encoder, TextSamples
from ...data.people import people
from ...data.probes import DIRECT, PARAPHRASED, REVERSED, people_probes
from ...data.records import Record
from ...engine.language import from_scratch, train_tokenizer
from ...engine.prepare import Parts
from ...engine.training import Recipe, trained
from ...evidence.case import Case
from ...evidence.shadows import Setup
from ...losses import token_nll
from ...tasks import Samples

PEOPLE, QUESTIONS = 32, 4  # one pool of 96 rows: a question in four asks for the name, which has no way back
FORGET, RETAIN = 28, 28  # of them; the others are unseen
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


@dataclass(frozen=True)
class World:
    """The rows of one seed, how they are read, and rows about others: the base model's, and whom no other meets.

    reversed: from the fact to the person, of the rows to forget and to keep.
    """

    parts: Parts
    others: Samples
    encoder: Encoder
    probes: Mapping[str, tuple[Sequence[Record], Sequence[Record]]]
    reversed: tuple[Samples, Samples]

    def fit(self, samples: Samples, recipe: Recipe, seed: int) -> Module:
        """A model trained on these rows."""
        model = from_scratch({**LLAMA, "vocab_size": len(self.encoder.tokenizer)}, seed)
        trained(model, samples, token_nll, replace(recipe, seed=seed))
        return model.eval()

    def case(
        self,
        model: Module,
        gold: Sequence[Module],
        original: Module,
        recipe: Recipe,
        seed: int,
        base: Module | None = None,
        shadows: Setup | None = None,
    ) -> Case:
        """One request under attack."""
        return Case(
            "text",
            model,
            self.parts,
            tuple(gold),
            original,
            base=base,
            encoder=self.encoder,
            recipe=recipe,
            seed=seed,
            shadows=shadows,
            probes=self.probes,
            alike=True,
        )


def world(seed: int) -> World:
    """One question a row, with two more forms of it; all of them shuffled, then split."""
    drawn = people(seed, forget=PEOPLE, retain=0, heldout=0, unseen=0, questions=QUESTIONS).forget
    back, pool = _both_ways(drawn, seed)
    order = list(range(len(pool)))
    Random(f"split {seed}").shuffle(order)
    back, pool = [back[i] for i in order], [pool[i] for i in order]
    rows = pool[:FORGET], pool[FORGET : FORGET + RETAIN], pool[FORGET + RETAIN :]
    texts = [turn.content for record in (*pool, *back[: FORGET + RETAIN]) for turn in record.messages]
    encoder = Encoder.of(train_tokenizer(texts, VOCABULARY), 512)
    forget, heldout = (people_probes(side, pool, seed) for side in (rows[0], rows[2]))
    probes = {kind: (forget[kind], heldout[kind]) for kind in forget if kind != DIRECT}
    others = people(seed + 1000, forget=PEOPLE, retain=0, heldout=0, unseen=0, questions=1).forget
    return World(
        Parts(*(TextSamples(part, encoder) for part in rows)),
        TextSamples(others, encoder),
        encoder,
        probes,
        (TextSamples(back[:FORGET], encoder), TextSamples(back[FORGET : FORGET + RETAIN], encoder)),
    )


def _both_ways(rows: Sequence[Record], seed: int) -> tuple[list[Record], list[Record]]:
    """(from the fact to the person, the rows with their question in other words and the other way round too)."""
    asked = people_probes(rows, [], seed)  # of nobody else: a fact that two people share is asked for all the same
    said = [
        {
            "paraphrased_question": other.prompt,
            "reversed_question": back.prompt,
            "reversed_answer": back.completion,
        }
        for other, back in zip(asked[PARAPHRASED], asked[REVERSED], strict=True)
    ]
    both = [replace(row, meta={**row.meta, **more}) for row, more in zip(asked[DIRECT], said, strict=True)]
    return asked[REVERSED], both
