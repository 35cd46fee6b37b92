"""The models of the TOFU benchmark under attack: original, retrained models and every method's result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch.nn import Module

from ...data.encode import TextSamples
from ...data.probes import PROBES, people_probes
from ...data.records import Record
from ...data.tofu import authors
from ...engine.prepare import Parts
from ...engine.store import Store
from ...errors import UserError
from ...evidence.case import Case, Memory
from ...report.model import FLOOR, ORIGINAL, RETRAIN
from ..study import NAMES
from ..tofu_references import Reference, reference
from ..tofu_runs import restored, unlearned
from ..tofu_setting import Setting
from ..tofu_space import Chosen
from ..tofu_split import AUTHORS, Groups
from .rows import Row, Say, attacked

GROUPS = ("mia", "relearn", "quantise", "elicit", "adapter", "interpolate", "inside", "gradnorm", "disturb")
REWORDED = range(180, AUTHORS)  # TOFU's authors whose questions are also there in other words


def tofu_rows(
    setting: Setting,
    development: Setting,
    methods: Mapping[str, Chosen],
    seed: int,
    gold: int,
    groups: Sequence[str],
    store: Store,
    say: Say,
) -> dict[str, list[Row]]:
    """The rows of the original, of a further retrained model and of every method with the settings chosen for it.

    All models come from the benchmark's store where they are there. gold: Retrains, of seeds seed, seed + 1, …;
    the one after them is attacked too. The unseen rows are the people of `unseen_people`.
    """
    original = reference(setting, ORIGINAL, seed, store)
    retrained = [reference(setting, RETRAIN, seed + k, store) for k in range(gold + 1)]
    models = {
        ORIGINAL: (original.top(setting), original.key),
        FLOOR: (retrained[gold].top(setting), retrained[gold].key),
    }
    for name, found in methods.items():
        if found.method is None:
            raise UserError(f"--methods: all trials of {name}'s tuning failed; leave it out")
        run = unlearned(setting, name, found.method, seed, original, store)
        if run.failed:
            say(f"{NAMES[name]}, seed {seed}: {run.spent.ended}; it is left out")
            continue
        models[NAMES[name]] = restored(run, setting, original), run.model.key
    case = _case(setting, development, original, retrained[:gold], seed)
    upper = _upper(case, setting, original, retrained[:gold], store) if setting.through_top else case
    key = {"original": original.key, "gold": [each.key for each in retrained[:gold]]}

    def rows(name: str, model: Module, own: str) -> list[Row]:
        found, title = {**key, "attacked": own}, f"{setting.task}, {name}"
        if name == ORIGINAL:  # it is the model of both cases already
            return attacked(case, groups, store, found, title, say, {"relearn": upper})
        plain = replace(case, model=setting.halves.whole(model) if setting.through_top else model)
        return attacked(plain, groups, store, found, title, say, {"relearn": replace(upper, model=model)})

    return {name: rows(name, *each) for name, each in models.items()}


def _case(
    setting: Setting, development: Setting, original: Reference, retrained: Sequence[Reference], seed: int
) -> Case:
    """The original under attack, beside the retrained models."""
    groups, encoder = setting.groups, setting.encoder
    others = unseen_people(groups, development.groups)
    before = _whole(setting, original)
    return Case(
        "text",
        before,
        Parts(*(TextSamples(records, encoder) for records in (groups.forget, groups.kept, others))),
        tuple(_whole(setting, each) for each in retrained),
        before,
        base=setting.halves.base.module if setting.fresh is None else None,
        encoder=encoder,
        recipe=setting.recipe,
        seed=seed,
        probes=_probes(groups, others),
        memory=Memory(),
    )


def _upper(
    case: Case, setting: Setting, original: Reference, retrained: Sequence[Reference], store: Store
) -> Case:
    """The same request through the models' upper parts: what attacks train is then what was trained."""
    forget, retain, heldout = (case.parts.forget, case.parts.retain, case.parts.heldout)
    assert heldout is not None
    before = original.top(setting)
    return replace(
        case,
        model=before,
        original=before,
        retrains=tuple(each.top(setting) for each in retrained),
        parts=Parts(*(setting.halves.samples(part, store) for part in (forget, retain, heldout))),
        base=None,
        memory=Memory(),
    )


def _probes(groups: Groups, others: Sequence[Record]) -> dict[str, tuple[Sequence[Record], Sequence[Record]]]:
    """Hard questions about the forgotten and the unseen people, where they are not TOFU's."""
    if _of_tofu(groups.forget):
        return {}
    everyone = [*groups.trained, *others]
    ours, theirs = (people_probes(people, everyone) for people in (groups.forget, others))
    return {kind: (ours[kind], theirs[kind]) for kind in PROBES}


def unseen_people(groups: Groups, development: Groups) -> Sequence[Record]:
    """People that nothing was made from, as many as the benchmark's unseen ones.

    Of TOFU those whose questions are also there in other words, where reporting and tuning leave enough of them.
    """
    if not _of_tofu(groups.unseen):
        return groups.unseen
    used = {
        record.meta["author"]
        for each in (groups, development)
        for part in (each.trained, each.heldout)
        for record in part
    }
    left = [author for author in REWORDED if author not in used]
    wanted = len({record.meta["author"] for record in groups.unseen})
    return groups.unseen if len(left) < wanted else list(authors(left[:wanted]))


def _of_tofu(records: Sequence[Record]) -> bool:
    """Whether these are TOFU's questions, and not those of embedded people."""
    return all("author" in record.meta for record in records)


def _whole(setting: Setting, model: Reference) -> Module:
    return setting.halves.whole(model.top(setting))
