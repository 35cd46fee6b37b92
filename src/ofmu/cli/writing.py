"""What a run leaves: config, scores, events, ids and the page. No content of forgotten rows, unless asked."""

from __future__ import annotations

import json
import platform
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from ofmu import __version__
from ofmu.benchmarks.study import NAMES
from ofmu.cli.evidence import plain as plain_evidence
from ofmu.cli.evidence import section as evidence_section
from ofmu.cli.options import UnlearnOptions
from ofmu.cli.say import note
from ofmu.cli.scoring import View, score
from ofmu.cli.session import Job, Progress, gradient
from ofmu.engine.models import LoadedModel
from ofmu.engine.prepare import Prepared
from ofmu.engine.provenance import Provenance
from ofmu.engine.requests import Request
from ofmu.errors import UserError
from ofmu.evidence.gates import RULE, Outcome
from ofmu.evidence.outcome import Evidence
from ofmu.report.evidence import EvidenceSection
from ofmu.report.model import (
    ORIGINAL,
    RETRAIN,
    AnswerRow,
    Answers,
    Cost,
    Losses,
    Page,
    ScoreRow,
    TaskSection,
    Trajectory,
)
from ofmu.report.page import render
from ofmu.report.scores import write_scores, write_text


@dataclass
class Result:
    """A finished run with all that was measured of it."""

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
    evidence: Evidence | None = None
    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def task(self) -> str:
        """What tables call the request: the name of the file."""
        return Path(self.options.forget or str(self.options.data)).stem

    @property
    def name(self) -> str:
        """What tables call the method."""
        return NAMES.get(self.options.method, self.options.method)

    @property
    def reached(self) -> bool:
        """False only for a method with an exit rule, where budget or steps ended before the target held."""
        last, hold = self.progress.points[-1], getattr(self.job.method, "hold", None)
        kept, ended = self.progress.best, self.progress.ended == "the target holds"
        earlier = kept is not None and kept["step"] != self.progress.events[-1]["step"]
        if hold is None or last.target is None or (ended and not earlier):
            return True
        reached = float(self.after.losses["forget"].mean()) if earlier else last.forget_loss
        return reached >= hold * last.target

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


def write_result(result: Result, folder: Path) -> None:
    """Write everything but the model."""
    write_text(folder / "config.json", json.dumps(config_of(result), indent=1, ensure_ascii=False) + "\n")
    write_scores(
        folder / "scores.json",
        result.rows,
        {"costs": [asdict(result.cost)], "ended": result.progress.ended, **result.attacked},
    )
    lines = [json.dumps(event) for event in result.progress.events]
    write_text(folder / "events.jsonl", "".join(line + "\n" for line in lines))
    write_text(folder / "forget_ids.txt", "".join(f"{id}\n" for id in result.request.parts.forget.ids))
    try:
        write_text(folder / "report.html", render(page_of(result)))
    except UserError as error:  # the optional packages of pages are not installed: all else is still worth having
        note(f"report.html is left out: {error}")


def config_of(result: Result) -> dict[str, Any]:
    """All that reproduces the run."""
    options = asdict(result.options)
    hidden = options["forget_where"] is not None and not options["show_forgotten"]
    if hidden:
        options["forget_where"], options["forget_ids"] = None, str(Path(options["out"]) / "forget_ids.txt")
    targets = result.prepared.task.targets
    return {
        "command": command_of(options),
        "arguments": options,
        "method": plain(result.job.method),
        "budget_gradients": result.job.budget / gradient(result.job.kind),
        "batches": [result.prepared.task.forget_batch, result.prepared.task.retain_batch],
        "targets": None if targets is None else targets.source,
        "encoder": None if result.request.encoder is None else result.request.encoder.settings(),
        "recipe": None if result.provenance is None else asdict(result.provenance.recipe),
        "fingerprints": {name: value for name, value in result.job.identity.items() if name.startswith("the ")},
        "environment": environment(),
    }


def command_of(options: Mapping[str, Any]) -> str:
    """The command line that these options came from."""
    defaults = {field.name: field.default for field in fields(UnlearnOptions)}
    words = ["ofmu", "unlearn"]
    for name, value in options.items():
        flag = "--" + name.replace("_", "-")
        if value == defaults[name] or name in ("resume", "overwrite"):
            continue
        if value is True or value is False:
            words.append(flag if value else flag.replace("--", "--no-", 1))
        else:
            words += [flag, f"{value:g}" if isinstance(value, float) else str(value)]
    return shlex.join(words)


def plain(value: Any) -> Any:
    """Nested dataclasses as JSON that names their types."""
    if is_dataclass(value) and not isinstance(value, type):
        return {"type": type(value).__name__, **{f.name: plain(getattr(value, f.name)) for f in fields(value)}}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def environment() -> dict[str, str]:
    """Versions and machine."""
    return {
        "ofmu": __version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "machine": f"{platform.system()} {platform.machine()}, {torch.get_num_threads()} threads",
    }


def page_of(result: Result) -> Page:
    """The report."""
    options, request, config = result.options, result.request, config_of(result)
    parts, task, targets = request.parts, result.task, result.prepared.task.targets
    unseen, gold = result.after.losses.get("heldout"), result.gold
    section = TaskSection(
        task,
        f"{len(parts.forget)} rows are forgotten and {len(parts.retain)} kept.",
        result.rows,
        trajectories=[Trajectory(task, result.name, options.seed, result.progress.points)],
        losses=Losses(
            task,
            before=result.before.losses["forget"].tolist(),
            after=result.after.losses["forget"].tolist(),
            retrain=None if gold is None else gold.losses["forget"].tolist(),
            unseen=None if unseen is None else unseen.tolist(),
            method=result.name,
        ),
        answers=Answers(task, result.answers) if result.answers else None,
        costs=[result.cost],
        notes=[] if targets is None else [f"Target: {targets.source}."],
    )
    given = {
        "Model": options.model,
        "Forget": f"{len(parts.forget)} rows",
        "Retain": f"{len(parts.retain)} rows",
        "Held out": "none given" if parts.heldout is None else f"{len(parts.heldout)} rows",
        "Retrain": options.retrain or "none given",
        "Method": result.name,
        "Trained": options.trainable,
    }
    limits = []
    if parts.heldout is not None and gold is None and targets is not None:
        limits.append("The targets were made from the same held-out rows that the result is compared with.")
    return Page(
        f"Unlearning report: {task}",
        given,
        result.verdict,
        [section],
        config["environment"],
        config["command"],
        limits=limits,
        config=json.dumps(config, indent=1, ensure_ascii=False),
        evidence=_evidence(result),
    )


def _evidence(result: Result) -> EvidenceSection | None:
    best, gated = result.progress.best, result.progress.gated
    if result.evidence is None:
        return None
    return evidence_section(result.evidence, result.outcomes, gated, 0 if best is None else best["step"])
