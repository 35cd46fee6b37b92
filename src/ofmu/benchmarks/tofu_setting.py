"""What the TOFU benchmark is run on: a pretrained model, groups of people, a training recipe, a budget."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch.nn import Module

from ..data.choices import ChoiceQuestion
from ..data.encode import Encoder, TextSamples
from ..data.records import Record
from ..engine.models import LoadedModel
from ..engine.store import Store
from ..engine.targets_known import Source
from ..engine.training import Recipe
from ..methods import build_method
from ..report.model import ORIGINAL
from ..tasks import Method, Samples
from .settings import with_values
from .text_scores import TextParts, text_parts
from .tofu_models import Preset
from .tofu_split import PEOPLE, Groups, Split
from .tofu_top import Halves


@dataclass(frozen=True)
class Setting:
    """One benchmark, or its development form (`on`).

    halves: the pretrained model, cut below what the references train. spec: what unlearning trains. fresh:
    makes an untrained model from a seed, where the model is not a pretrained one. general: what model utility
    asks besides the kept questions, real_authors and world_facts (empty: it is not measured). knowledge: general
    questions with choices; unknown: why there are none, where they were looked for ("": they do not apply).
    given: references that are loaded instead of trained, by name: a directory or hub id. targets: a source of
    targets, or its name (None: the default).
    """

    name: str
    about: str
    halves: Halves
    encoder: Encoder
    groups: Groups
    preset: Preset
    spec: str
    width: int
    budget: float
    fresh: Callable[[int], Module] | None = None
    general: Mapping[str, Sequence[Record]] = field(default_factory=dict)
    knowledge: Sequence[ChoiceQuestion] = ()
    unknown: str = ""
    given: Mapping[str, str] = field(default_factory=dict)
    targets: str | Source | None = None

    @property
    def task(self) -> str:
        """What tables call it."""
        return f"{self.name}, trained: {self.spec}"

    @property
    def recipe(self) -> Recipe:
        """How the references are trained."""
        return self.preset.recipe

    @property
    def through_top(self) -> bool:
        """Whether unlearning trains what the references trained, or an adapter on it: then it passes through the
        upper part alone.
        """
        return self.spec == self.halves.trained or self.spec.endswith(f",{self.halves.trained}")

    @property
    def adapter(self) -> bool:
        """Whether unlearning trains an adapter."""
        return self.spec.startswith("lora")

    def on(self, groups: Groups) -> Setting:
        """The same with other people; a given original serves them too where it was trained on the same."""
        alike = [r.id for r in groups.trained] == [r.id for r in self.groups.trained]
        given = {name: source for name, source in self.given.items() if name == ORIGINAL and alike}
        return replace(self, groups=groups, given=given)

    def method(self, name: str) -> Method:
        """A method with its preset for this model."""
        method: Method = build_method(name, "text", lr=self.preset.lr, width=self.width, adapter=self.adapter)
        return with_values(method, self.preset.changed.get(name, {}))

    def samples(self, records: Sequence[Record], store: Store, upper: bool = True) -> Samples:
        """Records as the trained part reads them; `upper` False: as the whole model does."""
        samples = TextSamples(records, self.encoder)
        return self.halves.samples(samples, store) if upper else samples

    def parts(self) -> TextParts:
        """What is measured, as token ids."""
        return text_parts(self.groups.forget, self.groups.asked, self.groups.unseen, self.encoder)


def built(
    base: LoadedModel,
    name: str,
    split: Split,
    preset: Preset,
    spec: str,
    fresh: Callable[[int], Module] | None = None,
) -> Setting:
    """A benchmark from its parts; name: the model's, in the store. Model utility is not measured.

    A pretrained model moves to a GPU where there is one.
    """
    groups, encoder = split.report, _encoder(base, preset)
    if fresh is None and torch.cuda.is_available():
        base.module.to("cuda")
    data = [TextSamples(records, encoder) for records in (groups.trained, groups.heldout, groups.unseen)]
    halves = Halves.of(base, preset.trained, {"base": name, "encoder": encoder.settings()}, data)
    title = "Fictitious people" if split.name == PEOPLE else "TOFU"
    width = int(base.module.config.hidden_size)  # type: ignore[union-attr, arg-type]
    budget = 2 * preset.epochs * len(groups.forget)
    return Setting(title, "", halves, encoder, groups, preset, spec, width, float(budget), fresh)


def _encoder(base: LoadedModel, preset: Preset) -> Encoder:
    most = 256  # tokens: TOFU's longest question with its answer is well below
    if preset.template == "plain":
        return Encoder(base.tokenizer, "plain", most)
    if preset.template == "own":
        return Encoder.of(base.tokenizer, most)
    return Encoder(base.tokenizer, "chat", most, preset.template)
