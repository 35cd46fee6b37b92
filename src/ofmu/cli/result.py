"""A finished run with all that was measured of it: its scores, its cost, and what happened in sentences."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ofmu.benchmarks.study import titled
from ofmu.cli.evidence import plain as plain_evidence
from ofmu.cli.job import Job, Progress, gradient
from ofmu.cli.options import UnlearnOptions
from ofmu.cli.scoring import View, score
from ofmu.engine.models import LoadedModel
from ofmu.engine.prepare import Prepared
from ofmu.engine.provenance import Provenance
from ofmu.engine.requests import Request
from ofmu.evidence.gates import RULE, Outcome
from ofmu.evidence.outcome import Evidence
from ofmu.report.model import ORIGINAL, RETRAIN, AnswerRow, Cost, ScoreRow


@dataclass
class Result:
    """A finished run with all that was measured of it. missed: what the method asks for and did not reach."""

    options: UnlearnOptions
    loaded: LoadedModel
    request: Request
    job: Job
    prepared: Prepared
    progress: Progress
    before: View
    after: View
    gold: View | None
    provenance: Provenance | None
    answers: list[AnswerRow]
    missed: list[str] = field(default_factory=list)
    evidence: Evidence | None = None
    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def task(self) -> str:
        """What tables call the request: the name of the file."""
        return Path(self.options.forget or str(self.options.data)).stem

    @property
    def name(self) -> str:
        """What tables call the method."""
        return titled(self.options.method)

    @cached_property
    def rows(self) -> list[ScoreRow]:
        """The scores of the original, the Retrain where there is one, and the result."""
        task, seed, gold = self.task, self.options.seed, self.gold
        rows = score(task, ORIGINAL, seed, self.before, gold)
        if gold is not None:
            rows += score(task, RETRAIN, seed, gold, gold)
        return rows + score(task, self.name, seed, self.after, gold, self.before)

    @property
    def cost(self) -> Cost:
        """What the run took, in gradient-equivalents."""
        unit, progress = gradient(self.job.kind), self.progress
        whole = self.provenance and self.provenance.recipe.epochs * len(self.request.parts.retain)
        return Cost(
            self.task,
            self.name,
            gradients=progress.cost / unit,
            of_retraining=progress.cost / whole if whole else None,
            target_cost=self.prepared.cost / unit,
            seconds=progress.seconds,
            peak_mb=progress.peak_bytes / 2**20 if progress.peak_bytes else None,
            budget=self.job.budget / unit,
            tuning="the method's preset" if self.options.lr is None else "--lr was given",
        )

    @property
    def verdict(self) -> list[str]:
        """What happened, in plain sentences."""
        first, last = self.before.losses, self.after.losses
        target = self.progress.points[-1].target
        level = "" if target is None else f"; unseen rows like them would have {target:.3g}"
        said = [
            *(f"Preparation: {text}." for text in self.prepared.notes),
            f"{self.name} stopped because {self.progress.ended or 'no step was taken'}.",
            *self._kept,
            *(f"Not reached: {text}." for text in self.missed),
            f"Mean loss on rows to forget: {first['forget'].mean():.3g} before, {last['forget'].mean():.3g} "
            f"after{level}.",
            f"Mean loss on rows to keep: {first['retain'].mean():.3g} before, {last['retain'].mean():.3g} after.",
            *self._retrained,
        ]
        found = [row for row in self.rows if row.metric == "attack_auc" and row.method == self.name]
        if found and found[0].value is not None:
            said.append(
                f"An attack by the loss tells forgotten from held-out rows with AUC {found[0].value:.2f} "
                "(0.5: not at all; above: remembered; below: over-forgotten)."
            )
        return said

    @property
    def _kept(self) -> list[str]:
        """Which state was kept, as a sentence; nothing where it is the last anyway."""
        progress = self.progress
        if progress.best is None:
            return []
        return [
            f"Of {len(progress.gated)} states that were attacked on the way, the one after step "
            f"{progress.best['step']} of {progress.events[-1]['step']} was kept; "
            f"{progress.best['standing']['missed']} gates were missed there."
        ]

    @property
    def _retrained(self) -> list[str]:
        if self.gold is None:
            return []
        forget, retain = (self.gold.losses[name].mean() for name in ("forget", "retain"))
        return [
            f"The retrained model has a mean loss of {forget:.3g} on rows to forget, {retain:.3g} on rows to keep."
        ]

    @property
    def written(self) -> list[str]:
        """What OUT holds."""
        return ["model/", "config.json", "scores.json", "events.jsonl", "forget_ids.txt", "report.html"]

    def summary(self, code: int) -> dict[str, Any]:
        """The machine's output."""
        return {
            "out": self.options.out,
            "exit_code": code,
            "ended": self.progress.ended,
            "missed": self.missed,
            "cost": asdict(self.cost),
            "rows": [asdict(row) for row in self.rows],
            **self.attacked,
        }

    @property
    def attacked(self) -> dict[str, Any]:
        """What attacks found, as JSON; empty where none was asked for."""
        if self.evidence is None:
            return {}
        found, best = plain_evidence(self.evidence, self.outcomes), self.progress.best
        if best is not None:
            found["states"] = {"rule": RULE, "kept": best["step"], "attacked": self.progress.gated}
        return {"evidence": found}
