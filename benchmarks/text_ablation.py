"""What each part of OFMU's text recipe does, on the demo's one-minute Llama: python benchmarks/text_ablation.py.

Every seed trains an original and a retrained model (about a minute of one core), then runs each variant (ten
seconds each) with the budget of one retraining. Prints a table of means ± standard deviations over seeds; --json
FILE keeps every seed's numbers as they come, and what is there already is not run again.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch.nn import Module

from ofmu.attacks import auc_with_error
from ofmu.benchmarks.demo_text import RECIPE, SEEDS, demo_encoder, fresh, reference
from ofmu.benchmarks.experiment import Budget, Run, run_method
from ofmu.benchmarks.study import Cell
from ofmu.benchmarks.text_scores import TextParts, text_parts, text_rows, view_text
from ofmu.benchmarks.token_pass import token_scores
from ofmu.core.schedule import Relative
from ofmu.core.similarity import Hinge
from ofmu.data.encode import TextSamples
from ofmu.data.people import people
from ofmu.engine.prepare import UNIT, Parts, Sources, prepare
from ofmu.losses import Bounded, Plausible
from ofmu.methods import OFMU, default_rate
from ofmu.report.model import ORIGINAL, RETRAIN
from ofmu.report.scores import write_text

DEFAULT = OFMU.text(default_rate("text", 160))
TEXT = replace(DEFAULT, lookahead=1.0, overshoot=1.1)  # the default that the parts were measured in
MATCHED = replace(OFMU.matched(default_rate("text", 160)), lookahead=1.0, overshoot=1.1)


def _forget(two_sided: bool, sharpened: bool) -> Plausible:
    return Plausible(Bounded("token", gate=True, two_sided=two_sided), sharpened=sharpened)


VARIANTS: Mapping[str, OFMU] = {
    "the default: lookahead .5, overshoot 1": DEFAULT,
    "text: lookahead 1, overshoot 1.1": TEXT,
    "text + two-sided": replace(TEXT, forget=_forget(True, False)),
    "text + sharpened": replace(TEXT, forget=_forget(False, True)),
    "text + neutral": replace(TEXT, neutral=1.0),
    "matched (all three)": MATCHED,
    "matched − two-sided": replace(MATCHED, forget=_forget(False, True)),
    "matched − sharpened": replace(MATCHED, forget=_forget(True, False)),
    "matched − neutral": replace(MATCHED, neutral=0.0),
    "matched − two-sided + projected": replace(MATCHED, forget=_forget(False, True), project=True),
    # one default at a time
    "bound alone": replace(TEXT, forget=Bounded("token")),
    "bound by sample": replace(TEXT, forget=Bounded("sample")),
    "no gate": replace(TEXT, forget=Plausible(Bounded("token", gate=False))),
    "alternatives weigh .1": replace(TEXT, forget=Plausible(Bounded("token"), 0.1)),
    "alternatives weigh 1": replace(TEXT, forget=Plausible(Bounded("token"), 1.0)),
    "2 ascents": replace(TEXT, inner_steps=2),
    "16 ascents": replace(TEXT, inner_steps=16),
    "raw steps": replace(TEXT, scaling="raw", rate=0.01),
    "ascent rate .2": replace(TEXT, rate=0.2),
    "ascent rate 1": replace(TEXT, rate=1.0),
    "never halved": replace(TEXT, overshoot=None),
    "hold .75": replace(TEXT, hold=0.75),
    "hold .95": replace(TEXT, hold=0.95),
    "unclipped": replace(TEXT, outer=replace(TEXT.outer, clip=None)),
    "half the rate": replace(TEXT, outer=replace(TEXT.outer, lr=TEXT.outer.lr / 2)),
    "twice the rate": replace(TEXT, outer=replace(TEXT.outer, lr=2 * TEXT.outer.lr)),
    "1 repair": replace(TEXT, repair=(1, 1)),
    "at most 32 repairs": replace(TEXT, repair=(1, 32)),
    "slack .03": replace(TEXT, slack=0.03),
    "repair judged over batches": replace(TEXT, memory=0.5),
    "3 rounds at least": replace(TEXT, rounds=3),
    "overshoot 1": replace(TEXT, overshoot=1.0),
    "lookahead .5": replace(TEXT, lookahead=0.5),
    "4 ascents": replace(TEXT, inner_steps=4),
    "4 ascents, lookahead .5": replace(TEXT, inner_steps=4, lookahead=0.5),
    "4 ascents, 4 repairs, lookahead .5": replace(TEXT, inner_steps=4, repair=(1, 4), lookahead=0.5),
    # what decorrelates, at equal cost
    "text + cosine .1": replace(TEXT, beta=0.1),
    "text + cosine .5": replace(TEXT, beta=0.5),
    "text + hinge .5": replace(TEXT, beta=0.5, similarity=Hinge()),
    "text + penalty": replace(TEXT, penalty=Relative()),
    "text + cosine .1 + penalty": replace(TEXT, beta=0.1, penalty=Relative()),
    "text + projected": replace(TEXT, project=True),
    "text + neutral + projected": replace(TEXT, neutral=1.0, project=True),
}
COLUMNS: Mapping[str, tuple[str, Callable[[float], str]]] = {  # measure -> heading, how one number is printed
    "nll": ("forget NLL / Retrain", "{:.2f}".format),
    "prob": ("forget prob.", "{:.4f}".format),
    "err": ("NLL error to Retrain", "{:.2f}".format),
    "distance": ("NLL distance to τ", "{:.2f}".format),
    "ks": ("KS p", "{:.2f}".format),
    "retain": ("retain prob.", "{:.3f}".format),
    "unseen": ("unseen prob. / Retrain", "{:.2f}".format),
    "auc": ("Min-K%++ AUC", "{:.2f}".format),
    "cost": ("gradients", "{:.0f}".format),
}
Measures = Mapping[str, float]


def measured(
    seed: int,
    names: Sequence[str],
    neutral_batch: int,
    note: Callable[[str], None],
    keep: Callable[[str, Measures], None],
    known: Collection[str],
) -> None:
    """Keep the measures of each variant, and of Original and Retrain, on one seed's people; not those `known`."""
    world, encoder = people(seed, forget=2, retain=6), demo_encoder()
    parts = text_parts(world.forget, world.retain, world.unseen, encoder)
    learned = {ORIGINAL: world.retain + world.forget, RETRAIN: world.retain}
    models = {name: reference(name, learned[name], encoder, seed, Cell(seed)) for name in SEEDS}
    for name, model in models.items():
        keep(name, _measures(model, models[RETRAIN], parts))
    data = Parts(parts.forget, parts.retain, TextSamples(world.heldout, encoder))
    for name in (name for name in names if name not in known):
        method = VARIANTS[name]
        prepared = prepare(models[ORIGINAL], "text", data, method, Sources(fresh=fresh, recipe=RECIPE), seed)
        prepared.task.neutral_batch = neutral_batch
        run = run_method(models[ORIGINAL], prepared, data, method, Budget(RECIPE.epochs * len(parts.retain)))
        assert prepared.task.targets is not None
        keep(name, _measures(run.model, models[RETRAIN], parts, prepared.task.targets.per_sample.numpy(), run))
        note(f"seed {seed}: {name}: {run.ended}")


def _measures(
    model: Module, retrain: Module, parts: TextParts, targets: np.ndarray | None = None, run: Run | None = None
) -> Measures:
    view, gold = view_text(model, parts), view_text(retrain, parts)
    rows = {row.metric: row.value for row in text_rows("text", "method", 0, view, gold) if row.value is not None}
    best = {row.metric: row.value for row in text_rows("text", "method", 0, gold, None) if row.value is not None}
    assert parts.unseen is not None
    scores = [token_scores(model, samples).min_k_plus_plus for samples in (parts.forget, parts.unseen)]
    found = {
        "nll": rows["forget_nll"] / best["forget_nll"],
        "prob": rows["forget_prob"],
        "err": float(np.abs(view.losses["forget"] - gold.losses["forget"]).mean()),
        "ks": rows.get("ks_p", 1.0 if model is retrain else float("nan")),
        "retain": rows["retain_prob"],
        "unseen": rows["unseen_prob"] / best["unseen_prob"],
        "auc": auc_with_error(*scores)[0],
    }
    if targets is not None:
        found["distance"] = float(np.abs(view.losses["forget"] - targets).mean())
    return found if run is None else {**found, "cost": run.cost / UNIT["text"]}


def table(found: Mapping[str, Sequence[Measures]]) -> str:
    """Markdown: a row a variant, a column a measure; mean ± standard deviation over seeds (n − 1)."""
    lines = ["| variant | " + " | ".join(head for head, _ in COLUMNS.values()) + " |"]
    lines.append("|---|" + "---:|" * len(COLUMNS))
    for name, seeds in found.items():
        cells = [_cell([one[key] for one in seeds if key in one], show) for key, (_, show) in COLUMNS.items()]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(values: Sequence[float], show: Callable[[float], str]) -> str:
    if not values:
        return "–"
    spread = f" ± {show(float(np.std(values, ddof=1)))}" if len(values) > 1 else ""
    return show(float(np.mean(values))) + spread


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[10, 11, 12])
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--neutral-batch", type=int, default=4, help="held-out rows in each outer step")
    parser.add_argument("--json", type=Path, help="where every seed's numbers are kept; what is there is not run")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    file: Path | None = options.json
    kept = json.loads(file.read_text(encoding="utf-8")) if file is not None and file.exists() else {}
    for seed in options.seeds:
        known: dict[str, Measures] = kept.setdefault(str(seed), {})

        def keep(name: str, measures: Measures, known: dict[str, Measures] = known) -> None:
            known[name] = measures
            if file is not None:
                write_text(file, json.dumps(kept, indent=1, ensure_ascii=False) + "\n")

        if not known.keys() >= {*options.variants, ORIGINAL, RETRAIN}:
            note = lambda line: print(line, file=sys.stderr, flush=True)  # noqa: E731
            measured(seed, options.variants, options.neutral_batch, note, keep, list(known))
    rows = [*options.variants, ORIGINAL, RETRAIN]
    print(table({name: [kept[str(seed)][name] for seed in options.seeds] for name in rows}))


if __name__ == "__main__":
    main()
