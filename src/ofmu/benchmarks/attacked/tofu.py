"""The models of the TOFU benchmark under attack: original, retrained models and every method's result."""

from __future__ import annotations

from collections.abc import Sequence

from torch.nn import Module

from ...data.encode import TextSamples
from ...engine.prepare import Parts
from ...engine.store import Store
from ...errors import UserError
from ...evidence.case import Case
from ...report.model import FLOOR, ORIGINAL, RETRAIN
from ..study import NAMES
from ..tofu_references import Reference, reference
from ..tofu_runs import restored, unlearned
from ..tofu_setting import Setting
from ..tofu_tuning import chosen
from .rows import Row, Say, attacked

GROUPS = ("mia", "relearn", "quantise", "elicit", "interpolate", "inside", "disturb")


def tofu_rows(
    setting: Setting,
    development: Setting,
    methods: Sequence[str],
    trials: int,
    seed: int,
    gold: int,
    groups: Sequence[str],
    store: Store,
    say: Say,
) -> dict[str, list[Row]]:
    """The rows of the original, of a further retrained model and of every method with its tuned settings.

    All models come from the benchmark's store where they are there. gold: Retrains, of seeds seed, seed + 1, …;
    the one after them is attacked too. The unseen rows are the people that nothing is made from.
    """
    original = reference(setting, ORIGINAL, seed, store)
    retrained = [reference(setting, RETRAIN, seed + k, store) for k in range(gold + 1)]
    groups_of, encoder = setting.groups, setting.encoder
    forget, retain, unseen = (
        TextSamples(records, encoder) for records in (groups_of.forget, groups_of.kept, groups_of.unseen)
    )
    whole = [_whole(setting, each) for each in retrained]
    before = _whole(setting, original)
    base = setting.halves.base.module if setting.fresh is None else None
    case = Case(
        "text",
        before,
        Parts(forget, retain, unseen),
        tuple(whole[:gold]),
        before,
        base=base,
        encoder=encoder,
        recipe=setting.recipe,
        seed=seed,
    )
    key = {"original": original.key, "gold": [each.key for each in retrained[:gold]]}
    models: dict[str, tuple[Module, str]] = {
        ORIGINAL: (before, original.key),
        FLOOR: (whole[gold], retrained[gold].key),
    }
    for name in methods:
        found = chosen(development, name, setting.method(name), trials, store.root / "tuning", store)
        if found.method is None:
            raise UserError(f"--methods: all trials of {name}'s tuning failed; leave it out")
        run = unlearned(setting, name, found.method, seed, original, store)
        if run.failed:
            say(f"{NAMES[name]}, seed {seed}: {run.spent.ended}; it is left out")
            continue
        model = restored(run, setting, original)
        models[NAMES[name]] = (setting.halves.whole(model) if setting.through_top else model, run.model.key)
    said = {}
    for name, (model, own) in models.items():
        one = Case(**{**vars(case), "model": model})
        said[name] = attacked(one, groups, store, {**key, "attacked": own}, f"{setting.task}, {name}", say)
    return said


def _whole(setting: Setting, model: Reference) -> Module:
    return setting.halves.whole(model.top(setting))
