"""What OFMU's text preset fits to the budget, part by part: python benchmarks/text_budgets.py --store runs/store.

On the one-minute Llama and the development people of `ofmu bench tofu`, none of whom any table reports. A seed
trains an original and a retrained model once; a run takes some seconds.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch.nn import Module

from ofmu.benchmarks.tofu_choice import Choice, tofu_setting
from ofmu.benchmarks.tofu_models import ONE_MINUTE
from ofmu.benchmarks.tofu_objective import objective
from ofmu.benchmarks.tofu_references import reference
from ofmu.benchmarks.tofu_runs import restored, unlearned
from ofmu.benchmarks.tofu_setting import Setting
from ofmu.data.records import Record
from ofmu.engine.measuring import sample_losses
from ofmu.engine.store import Store
from ofmu.engine.targets_known import Source
from ofmu.engine.targets_text import Alike, ShortReference, TokenConstant
from ofmu.losses import token_nll
from ofmu.methods import OFMU
from ofmu.methods.brief import Brief
from ofmu.report.model import ORIGINAL, RETRAIN
from ofmu.tasks import Method

Row = tuple[float, float, float, float, float, float]
HEADS = ("J", "error", "forgotten − Retrain's", "kept", "unseen", "spent")
SHOWN = ("{:.3f}", "{:.2f}", "{:+.3f}", "{:.3f}", "{:.4f}", "{:.1f} %")


def variants(setting: Setting) -> Mapping[str, tuple[Method, Source | None]]:
    """The method and the source of its targets (None: the default), by name."""
    default = setting.method("ofmu")
    assert isinstance(default, OFMU)

    def brief(rate: float = 6.0, repair: int = 2) -> OFMU:
        return replace(default, brief=Brief(1e9, rate, repair))

    careful = replace(default, brief=None)
    return {
        "the default": (default, None),
        "careful rounds": (careful, TokenConstant()),
        "careful rounds, short reference": (careful, ShortReference()),
        "brief rounds": (brief(), TokenConstant()),
        "brief, rate × 4": (brief(rate=4.0), TokenConstant()),
        "brief, rate × 8": (brief(rate=8.0), TokenConstant()),
        "brief, 1 repair": (brief(repair=1), TokenConstant()),
        "brief, 4 repairs": (brief(repair=4), TokenConstant()),
        "brief, targets alike": (brief(), Alike()),
        "brief, shorter reference (.1)": (brief(), ShortReference(0.1)),
        "brief, short reference (.2)": (brief(), ShortReference()),
        "NPO": (setting.method("npo"), None),
        "SimNPO": (setting.method("simnpo"), None),
    }


def losses(model: Module, records: Sequence[Record], setting: Setting, store: Store) -> np.ndarray:
    """[n]: the mean token loss of each answer."""
    return np.array(sample_losses(model, setting.samples(records, store, False), token_nll, batch=8).tolist())


def measured(setting: Setting, name: str, seed: int, budget: float, store: Store) -> Row:
    """One run; ValueError where it diverged, so that no table takes it for a number."""
    models = {label: reference(setting, label, seed, store) for label in (ORIGINAL, RETRAIN)}
    forget, kept, unseen = setting.groups.forget, setting.groups.kept, setting.groups.unseen
    method, targets = variants(setting)[name]
    whole = models[RETRAIN].spent.samples
    here = replace(setting, budget=budget * whole, targets=targets)
    run = unlearned(here, name, method, seed, models[ORIGINAL], store)
    if run.failed:
        raise ValueError(f"{name}, seed {seed}, {budget:g}: {run.spent.ended}")
    top, gold = restored(run, here, models[ORIGINAL]), models[RETRAIN].top(setting)
    before = losses(models[ORIGINAL].top(setting), forget, setting, store)
    ours, theirs = ([losses(m, part, setting, store) for part in (forget, kept)] for m in (top, gold))
    p = [float(np.exp(-values).mean()) for values in (*ours, losses(top, unseen, setting, store), theirs[0])]
    j = objective(ours[0], ours[1], before, theirs[0], theirs[1])
    return j, float(np.abs(ours[0] - theirs[0]).mean()), p[0] - p[3], p[1], p[2], 100 * run.spent.samples / whole


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--budgets", type=float, nargs="+", default=[0.05, 0.1, 0.2, 0.5, 0.8], help="of retraining"
    )
    parser.add_argument("--store", type=Path, required=True, help="where models are kept")
    options = parser.parse_args()
    torch.set_num_threads(1)
    store = Store(options.store)
    setting, groups = tofu_setting(Choice(model=ONE_MINUTE), store)
    setting = setting.on(groups)
    print(f"| budget | variant | {' | '.join(HEADS)} |\n|---:|---|{'---:|' * len(HEADS)}")
    for budget in options.budgets:
        for name in variants(setting):
            rows = np.array([measured(setting, name, seed, budget, store) for seed in options.seeds])
            cells = [f"{show.format(mean)}" for show, mean in zip(SHOWN, rows.mean(0), strict=True)]
            cells[0] += f" ± {rows[:, 0].std(ddof=1):.3f}" if len(rows) > 1 else ""
            print(f"| {100 * budget:g} % | {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
