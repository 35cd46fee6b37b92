"""What attacks find of a model, group by group through the store, and methods × attacks as a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from scipy.stats import norm

from ... import __version__
from ...attacks import TwoSided
from ...engine.store import Store
from ...evidence.case import Case
from ...evidence.finding import Finding
from ...evidence.plan import choose, run
from ...evidence.rows import rows_fingerprint
from ...evidence.statistics import LEVEL, POWER, holm
from ..tofu_references import kept_json

CODE = 6  # of these rows: raised when they change, so that stored ones are not taken for new ones
SHADOWED = ("u-lira", "lira-online", "lira", "rmia", "klom")
Say = Callable[[str], None]


@dataclass(frozen=True)
class Row:
    """One attack on one model. leak: its AUC minus the retrained models'; error: its standard error.

    p: before correction. blind: the attack does not find the original either. missing: why there are no numbers.
    named: of the forgotten rows that score highest, what share is found at 1 % and at 0.1 % false alarms
    (`TwoSided.remembered`), in words; empty where unseen rows are too few to resolve any. retrain: the same of the
    first retrained model.
    """

    attack: str
    family: str
    auc: float | None = None
    leak: float | None = None
    error: float | None = None
    p: float | None = None
    blind: bool = False
    extra: tuple[str, ...] = ()
    missing: str | None = None
    named: tuple[str, ...] = ()
    retrain: tuple[str, ...] = ()


def row_of(found: Finding) -> Row:
    """A finding's numbers."""
    if found.model is None:
        return Row(found.attack, found.family, missing=found.missing)
    error = found.model.spread if found.against is None else found.against.error
    blind = replace(found, adjusted=1.0).verdict == "blind"
    named, gold = _named(found.model), _named(found.retrains[0]) if found.retrains else ()
    numbers = found.model.auc, found.leak, error, found.p
    return Row(found.attack, found.family, *numbers, blind, found.extra, None, named, gold)


def _named(found: TwoSided) -> tuple[str, ...]:
    """Shares with their exact 95 % intervals at every false-positive rate, "–" for what is not resolvable."""
    rates = found.remembered
    if all(rate.tpr is None for rate in rates):
        return ()
    return tuple("–" if r.tpr is None else f"{r.tpr:.1%} [{r.low:.1%}, {r.high:.1%}]" for r in rates)


def attacked(
    case: Case,
    groups: Sequence[str],
    store: Store,
    key: Mapping[str, object],
    title: str,
    say: Say,
    instead: Mapping[str, Case] | None = None,
) -> list[Row]:
    """All rows of a model: groups of attacks one after the other, each from the store where it is there.

    key: what the models of the case are; the rows they are attacked with are added. instead: by group, another
    view of the same models and rows that it runs on.
    """
    plan, rows = choose(case, groups), []
    parts = {"forget": case.forget, "retain": case.parts.retain, "heldout": case.heldout}
    whole = {
        "made": "attacked model",
        "code": [__version__, CODE],
        **key,
        "rows": {name: rows_fingerprint(part) for name, part in parts.items()},
        "shadows": None if case.shadows is None else case.shadows.number,
        "seed": case.seed,
    }
    for group in plan.chosen:
        one, own = replace(plan, chosen=(group,)), (instead or {}).get(group, case)

        def make(_: Path, one: Any = one, own: Case = own, group: str = group) -> dict[str, Any]:
            say(f"{title}: {group}")
            return {"rows": [asdict(row_of(found)) for _, group in run(own, one) for found in group]}

        found = kept_json(store, {**whole, "group": group}, make, f"{title}: {group}")[1]["rows"]
        lists = ("extra", "named", "retrain")
        rows += [Row(**{**each, **{name: tuple(each[name]) for name in lists}}) for each in found]
    rows += [Row(name, "", missing=why) for name, why in plan.left_out.items() if name in groups]
    return rows


def detected(rows: Sequence[Row]) -> dict[str, float]:
    """By attack, the corrected p-value of what is detected among all attacks on a model."""
    adjusted = holm({row.attack: row.p for row in rows if row.p is not None})
    return {name: p for name, p in adjusted.items() if p < LEVEL}


def table(models: Mapping[str, Sequence[Row]]) -> list[str]:
    """Markdown: an attack a line, a model a column; detections bold."""
    names = list(dict.fromkeys(row.attack for rows in models.values() for row in rows))
    lines = ["| attack | " + " | ".join(models) + " |", "|---" * (len(models) + 1) + "|"]
    caught = {name: detected(rows) for name, rows in models.items()}
    for attack in names:
        cells = []
        for model, rows in models.items():
            row = next((row for row in rows if row.attack == attack), None)
            cells.append("–" if row is None else _cell(row, attack in caught[model]))
        lines.append(f"| {attack} | " + " | ".join(cells) + " |")
    return lines


def named(models: Mapping[str, Sequence[Row]]) -> list[str]:
    """Markdown: what share of the forgotten rows membership attacks name at 1 % and 0.1 % false alarms.

    Empty where the unseen rows resolve no such rate.
    """
    seen = {
        name: {row.attack: _rates(row) for row in rows if row.family == "membership" and row.named}
        for name, rows in models.items()
    }
    attacks = list(dict.fromkeys(attack for rows in seen.values() for attack in rows))
    if not attacks:
        return []
    lines = ["| attack | " + " | ".join(models) + " |", "|---" * (len(models) + 1) + "|"]
    for attack in attacks:
        cells = [rows.get(attack, "–") for rows in seen.values()]
        lines.append(f"| {attack} | " + " | ".join(cells) + " |")
    return lines


def _rates(row: Row) -> str:
    """The rates of a model; of an attack by shadows, which are each method's own, a retrained model's beside."""
    own, gold = " / ".join(row.named), " / ".join(row.retrain)
    return f"{own} (Retrain {gold})" if row.attack in SHADOWED and gold else own


def _cell(row: Row, caught: bool) -> str:
    if row.leak is None or row.error is None:
        return "not tested"
    text = f"{row.leak:+.3f} ± {row.error:.3f}"
    return f"**{text}**" if caught else f"*blind* {text}" if row.blind else text


def looks(models: Mapping[str, Sequence[Row]]) -> list[str]:
    """A sentence a model: nothing found, found from its answers, or only once it is disturbed or opened."""
    return [
        _look(name, [row for row in rows if row.attack in detected(rows)], _power(rows))
        for name, rows in models.items()
    ]


def _power(rows: Sequence[Row]) -> str:
    """What the attacks on a model would have found four times in five, at Holm's first step, from their errors."""
    tests = sum(row.p is not None for row in rows)
    errors = [row.error for row in rows if row.p is not None and row.error and not row.blind]
    if not errors:
        return "none could have"
    factor = float(norm.isf(LEVEL / 2 / tests) + norm.isf(1 - POWER))
    ends = f"{factor * min(errors):.3f} to {factor * max(errors):.3f}"
    return f"at power {POWER:g} leaks of {ends}, by attack, were detectable"


def _look(name: str, caught: Sequence[Row], power: str) -> str:
    """What the detections say; only what lies above Retrain brings rows back, and gradients are no answers."""
    if not caught:
        return f"{name}: no attack detects a trace; {power}."
    groups: dict[str, list[str]] = {
        "answers": [],
        "back": [],
        "inside": [],
        "gradients": [],
        "over": [],
        "marked": [],
    }
    for row in caught:
        groups[_way(row)].append(row.attack)
    answers, back, inside, gradients, over, marked = (", ".join(names) for names in groups.values())
    parts = [
        f"its answers alone give the rows away ({answers})" if answers else "",
        f"{back} bring the rows back" if back else "",
        f"{inside} tell them apart inside" if inside else "",
        f"{gradients} tells them apart by its weights" if gradients else "",
        f"{over} show rows that were forgotten too well" if over else "",
        f"{marked} tells rows that were unlearned from rows that were never seen" if marked else "",
    ]
    hidden = not answers and bool(back or inside or gradients)
    return f"{name}{' **only looks forgotten**' if hidden else ''}: {'; '.join(part for part in parts if part)}."


def _way(row: Row) -> str:
    if row.attack == "u-lira":
        return "marked"
    if row.family == "membership" and row.attack != "gradient-norm":
        return "answers"
    if row.leak is not None and row.leak < 0:
        return "over"
    if row.family == "inside" and row.attack != "direction-ablation":  # a probe reads, it brings nothing back
        return "inside"
    return "gradients" if row.attack == "gradient-norm" else "back"


def reasons(models: Mapping[str, Sequence[Row]]) -> list[str]:
    """Why cells say "not tested"."""
    found: dict[str, list[str]] = {}
    for name, rows in models.items():
        for row in rows:
            if row.missing is not None:
                found.setdefault(f"{row.attack}: {row.missing}", []).append(name)
    return [f"{why} ({', '.join(names)})" for why, names in found.items()]
