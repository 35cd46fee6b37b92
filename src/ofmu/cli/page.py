"""The page of one run."""

from __future__ import annotations

import json

from ofmu.cli.config import config_of
from ofmu.cli.evidence import section as evidence_section
from ofmu.cli.loading import places_of
from ofmu.cli.result import Result
from ofmu.report.evidence import EvidenceSection
from ofmu.report.model import Answers, Losses, Page, TaskSection, Trajectory


def page_of(result: Result) -> Page:
    """The report."""
    options, parts, config = result.options, result.request.parts, config_of(result)
    places = places_of(options)
    given = {
        "Model": options.model,
        "Forget": f"{len(parts.forget)} rows, {places['Forget']}",
        "Retain": f"{len(parts.retain)} rows, {places['Retain']}",
        "Held out": "none given" if parts.heldout is None else f"{len(parts.heldout)} rows, {options.heldout}",
        "Retrain": ", ".join(options.retrain) or "none given",
        "Method": result.name,
        "Trained": options.trainable,
    }
    limits = []
    if parts.heldout is not None and result.gold is None and result.prepared.task.targets is not None:
        limits.append("The targets were made from the same held-out rows that the result is compared with.")
    return Page(
        f"Unlearning report: {result.task}",
        given,
        result.verdict,
        [_section(result)],
        config["environment"],
        config["command"],
        limits=limits,
        config=json.dumps(config, indent=1, ensure_ascii=False),
        evidence=_evidence(result),
    )


def _section(result: Result) -> TaskSection:
    parts, task, targets = result.request.parts, result.task, result.prepared.task.targets
    return TaskSection(
        task,
        f"{len(parts.forget)} rows are forgotten and {len(parts.retain)} kept.",
        result.rows,
        trajectories=[Trajectory(task, result.name, result.options.seed, result.progress.points)],
        losses=_losses(result),
        answers=Answers(task, result.answers) if result.answers else None,
        costs=[result.cost],
        notes=[] if targets is None else [f"Target: {targets.source}."],
    )


def _losses(result: Result) -> Losses:
    unseen, gold = result.after.losses.get("heldout"), result.gold
    return Losses(
        result.task,
        before=result.before.losses["forget"].tolist(),
        after=result.after.losses["forget"].tolist(),
        retrain=None if gold is None else gold.losses["forget"].tolist(),
        unseen=None if unseen is None else unseen.tolist(),
        method=result.name,
    )


def _evidence(result: Result) -> EvidenceSection | None:
    best, gated = result.progress.best, result.progress.gated
    if result.evidence is None:
        return None
    return evidence_section(result.evidence, result.outcomes, gated, 0 if best is None else best["step"])
