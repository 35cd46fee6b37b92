"""Evidence of benchmarks and controls as Markdown."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from ...report.scores import write_text
from .controls import Alarms, Outcome, each_attack, pooled
from .rows import Row, looks, named, reasons, table

ABOUT = """Each cell is the attack's AUC minus its mean over the retrained models, ± its standard error: above 0
remembered, below over-forgotten (u-lira: above 0 unlearned rather than never seen, whichever way).
**Bold**: detected at 5 %, corrected for all attacks on that model (Holm). *blind*: the attack does not find the
original either. "Retrain (2nd)" is a further retrained model: it should be plain. What is not bold was not
detected: one test at 5 % finds 2.8 times ± four times in five, one of twenty corrected ones 3.9 times. Nothing
here says that nothing is left."""
NAMED = """The share of forgotten rows that an attack names at 1 % / at 0.1 % false alarms on unseen rows, with its
exact 95 % interval. An attack that knows nothing names as many as its false alarms; what a retrained model gives
away is in the column of "Retrain (2nd)", and of attacks by shadows, which are each method's own, in brackets."""
BESIDE = """Beside the AUC: how far the losses of forgotten rows lie from Retrain's (W1, KS), how many steps of
relearning bring back half of what the original knew, how near the layers are to Retrain's (CKA: 1 is the same but
for rotation and scale), what shadows say of the method. None of these is a test, but what is said of shadows."""
CONTROLS = """*Memorised*: a model that was trained on the rows and unlearned nothing. *Too well*: one whose
forgotten rows cost more than unseen ones; of a two-sided attack an AUC below .5 says so. *Hidden*: one whose
answers no longer show them, while everything it knew is still there: images, behind one direction of one layer;
texts, under an adapter of the last block. *Halved*: one that a method made forget half, for attacks by shadows,
which unlearned in the same way. p is of that attack alone; **bold** below .05. *Alarms*: retrained models, each
beside {gold} others, that the attack tells from them at 5 % before correction; one in twenty should
be. ±: the median standard error there; a leak of 2.8 times as much is found in four of five runs."""


@dataclass(frozen=True)
class Controls:
    """Of one kind of model: outcomes by positive control, and of the negative control by seed."""

    positive: Mapping[str, Sequence[Outcome]]
    seeds: Sequence[Sequence[Outcome]]


def section(title: str, command: str, made: str, about: Sequence[str], models: Mapping[str, Sequence[Row]]) -> str:
    """One modality: what it is, methods × attacks, and what follows."""
    blocks = [f"## {title}", f"    {command}\n\n{made}", *about, ABOUT, "\n".join(table(models))]
    if rates := named(models):
        blocks += [NAMED, "\n".join(rates)]
    blocks.append("\n".join(f"- {sentence}" for sentence in looks(models)))
    if extra := _beside(models):
        blocks += [BESIDE, "\n".join(extra)]
    if untested := reasons(models):
        blocks.append("Not tested:\n\n" + "\n".join(f"- {why}" for why in untested))
    return "\n\n".join(blocks)


def _beside(models: Mapping[str, Sequence[Row]]) -> list[str]:
    """By attack, what it says of every model in words."""
    said: dict[str, list[str]] = {}
    for name, rows in models.items():
        for row in rows:
            if row.extra:
                said.setdefault(row.attack, []).append(f"  - {name}: {'; '.join(row.extra)}")
    return [line for attack, lines in said.items() for line in (f"- {attack}", *lines)]


def write_sections(out: Path, name: str, text: str) -> Path:
    """Put a modality's section into out/evidence.md, beside those of earlier runs (kept in out/evidence.json)."""
    kept, file = out / "evidence.json", out / "evidence.md"
    found = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else {}
    found[name] = text
    write_text(kept, json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    write_text(file, "\n\n".join(["# Evidence: methods × attacks", *(found[n] for n in sorted(found))]) + "\n")
    return file


def controls_page(command: str, made: str, gold: int, kinds: Mapping[str, Controls]) -> str:
    """Controls by attack, a table for each kind of model, and the pooled false alarms."""
    blocks = ["# Evidence: controls of the attacks", f"    {command}\n\n{made}", CONTROLS.format(gold=gold)]
    for kind, found in kinds.items():
        blocks += [f"## Controls: {kind}", "\n".join(_controls_table(found))]
    said = [f"- {kind}: {_alarms(pooled(found.seeds))}" for kind, found in kinds.items()]
    if len(kinds) > 1:
        everything = [seed for found in kinds.values() for seed in found.seeds]
        said.append(f"- together: {_alarms(pooled(everything))}")
    return "\n\n".join([*blocks, "## False alarms, all attacks pooled", "\n".join(said)]) + "\n"


def _controls_table(found: Controls) -> list[str]:
    lines = ["| attack | " + " | ".join(f"{name}: AUC (p)" for name in found.positive) + " | alarms | ± |"]
    lines.append("|---" * (len(found.positive) + 3) + "|")
    counts = each_attack(found.seeds)
    names = dict.fromkeys([each.attack for rows in found.positive.values() for each in rows] + list(counts))
    for name in names:
        cells = [_control(name, rows) for rows in found.positive.values()]
        alarms, tests = counts.get(name, (0, 0))
        errors = [o.error for seed in found.seeds for o in seed if o.attack == name and o.error is not None]
        cells += [f"{alarms} of {tests}" if tests else "–", f"{median(errors):.3f}" if errors else "–"]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def _control(name: str, rows: Sequence[Outcome]) -> str:
    row = next((row for row in rows if row.attack == name), None)
    if row is None or row.auc is None or row.p is None:
        return "–"
    text = f"{row.auc:.2f} ({row.p:.1g})"
    return f"**{text}**" if row.p < 0.05 else text


def _alarms(found: Alarms) -> str:
    seeds = "–" if math.isnan(found.by_seed) else f"{found.by_seed:.2f}"
    return (
        f"{found.alarms} of {found.tests} tests, {found.rate:.1%} [{found.low:.1%}, {found.high:.1%}]; nominal "
        f"5 %: binomial p {found.p:.2f} as if all were independent, {seeds} by a t test of the seeds' rates; "
        f"after Holm's correction {found.families} of {found.seeds} seeds have an alarm (p {found.families_p:.2f})"
    )
