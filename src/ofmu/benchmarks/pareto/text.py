"""The one-minute Llama at several budgets: people that it memorised are forgotten; the TOFU benchmark's runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ...engine.prepare import UNIT
from ...engine.store import Store
from ...report.model import FLOOR, ORIGINAL, RETRAIN, ScoreRow
from ...tasks import Method
from ..study import titled
from ..tofu_choice import Choice, smoke_setting, tofu_setting
from ..tofu_models import ONE_MINUTE
from ..tofu_references import SECOND, Reference, reference
from ..tofu_rows import missing_rows, score_rows
from ..tofu_runs import seen_reference, seen_run, unlearned
from ..tofu_seen import Seen
from ..tofu_setting import Setting
from ..tofu_space import Chosen
from ..tofu_tuning import chosen
from .ground import Found, Quality, Spot

GAP = (
    "prob_gap"  # 100 × mean |probability − Retrain's| over the three groups, as the images' gap is over accuracies
)
PROBABILITIES = ("forget_prob", "retain_prob", "unseen_prob")
KEPT = ("nll_error", "forget_prob", "retain_prob", "unseen_prob", "ks_p")  # of the TOFU benchmark's scores
QUALITIES = (
    Quality(GAP, "gap to Retrain, in points (lower is nearer)", (FLOOR, ORIGINAL), log=True),
    Quality("nll_error", "error of the loss per forgotten answer (lower is nearer)", (FLOOR, ORIGINAL), log=True),
    Quality("forget_prob", "probability of forgotten answers", (RETRAIN, ORIGINAL)),
    Quality("retain_prob", "probability of kept answers", (RETRAIN, ORIGINAL)),
    Quality("unseen_prob", "probability of true answers about unseen people", (RETRAIN, ORIGINAL)),
    Quality("ks_p", "KS p of the truth ratios", (FLOOR, ORIGINAL)),
)
METHODS = ("ofmu", "simnpo", "npo", "graddiff-bounded", "graddiff", "undial")
OURS = "ofmu"


@dataclass
class TextGround:
    """The task; setting: of the TOFU benchmark; development: people to tune on."""

    setting: Setting
    development: Setting
    methods: Sequence[str]
    trials: int
    store: Store
    say: Callable[[str], None]
    _tuned: dict[tuple[str, float], Chosen] = field(default_factory=dict)

    qualities = QUALITIES
    pair = (GAP, "nll_error")
    resets = ()
    unit = UNIT["text"]
    name = "llama: two of eight people"

    @property
    def about(self) -> str:
        """The paragraph above the table."""
        groups = self.setting.groups
        return (
            f"A Llama of a million parameters learned {len(groups.trained)} questions and answers by heart, and "
            f"is to forget {len(groups.forget)} of them. A seed trains its own models on the same people."
        )

    def tuning(self, method: str, budget: float) -> str:
        """How a method's settings at a budget were found."""
        found = self._tuned.get((method, budget))
        return (
            "none: the preset" if found is None or not found.trials else f"{found.trials} trials on other people"
        )

    def run(self, seed: int, budgets: Sequence[float], found: Found, done: Callable[[], None]) -> None:
        """One seed: its references, then every method at every budget."""
        models, seen = self._references(seed, found)
        whole = models[RETRAIN].spent.samples
        for budget in budgets:
            setting = replace(self.setting, budget=budget * whole)
            for name in self.methods:
                title = titled(name)
                method = self._method(name, budget)
                run = unlearned(setting, title, method, seed, models[ORIGINAL], self.store)
                spot = Spot(self.name, title, budget, seed, run.spent.samples / whole, run.spent.ended)
                if run.failed:
                    rows = _kept(missing_rows(self.name, spot.label, seed, run.spent.ended))
                else:
                    view = seen_run(run, setting, models[ORIGINAL], self.store)
                    rows = self._rows(spot.label, seed, view, seen)
                note = f"{spot.label}, seed {seed}: {run.spent.ended}" if run.failed else ""
                found.run(spot, rows, replace(run.spent, method=spot.label), note)
                done()

    def _references(self, seed: int, found: Found) -> tuple[Mapping[str, Reference], Mapping[str, Seen]]:
        models = {name: reference(self.setting, name, seed, self.store) for name in (ORIGINAL, RETRAIN)}
        models[FLOOR] = reference(self.setting, RETRAIN, seed + SECOND, self.store)
        seen = {name: seen_reference(model, self.setting, self.store) for name, model in models.items()}
        rows = [row for name, view in seen.items() for row in self._rows(name, seed, view, seen)]
        found.references(seed, rows, [replace(model.spent, method=name) for name, model in models.items()])
        return models, seen

    def _rows(self, label: str, seed: int, view: Seen, seen: Mapping[str, Seen]) -> list[ScoreRow]:
        gold = None if view is seen[RETRAIN] else seen[RETRAIN]
        rows = _kept(score_rows(self.name, label, seed, view, self.setting, gold, seen[ORIGINAL]))
        if gold is None:
            return rows
        theirs = _kept(score_rows(self.name, RETRAIN, seed, gold, self.setting, None, seen[ORIGINAL]))
        return [*rows, gap(rows, theirs)]

    def _method(self, name: str, budget: float) -> Method:
        """The preset, or what tuning on other people chose at this budget; OFMU stays at its preset."""
        preset = self.setting.method(name)
        if name == OURS or not self.trials:
            return preset
        title = titled(name)
        if (title, budget) not in self._tuned:
            retraining = self.development.recipe.epochs * len(self.development.groups.remaining)
            setting = replace(self.development, budget=budget * retraining)
            folder = self.store.root / "tuning"
            self._tuned[title, budget] = chosen(setting, name, preset, self.trials, folder, self.store)
        return self._tuned[title, budget].method or preset


def text_ground(
    methods: Sequence[str], trials: int, store: Store, say: Callable[[str], None], smoke: bool
) -> TextGround:
    """The embedded people and the one-minute Llama; answers are not generated beyond what the scores need."""
    setting, groups = smoke_setting() if smoke else tofu_setting(Choice(model=ONE_MINUTE), store)
    setting = replace(setting, preset=replace(setting.preset, generated=1, longest=4), general={})
    return TextGround(setting, setting.on(groups), tuple(methods) or METHODS, trials, store, say)


def _kept(rows: Sequence[ScoreRow]) -> list[ScoreRow]:
    return [row for row in rows if row.metric in KEPT]


def gap(rows: Sequence[ScoreRow], theirs: Sequence[ScoreRow]) -> ScoreRow:
    """The row of `GAP`; missing where one of the probabilities is."""
    found = {row.metric: row for row in rows}
    distances = []
    for goal in theirs:
        if goal.metric in PROBABILITIES:
            mine = found[goal.metric]
            if mine.value is None or goal.value is None:
                return replace(mine, metric=GAP, value=None, n=0, missing=mine.missing or goal.missing)
            distances.append(abs(mine.value - goal.value))
    head = rows[0]
    return ScoreRow(head.task, head.method, head.seed, GAP, 100 * sum(distances) / len(distances), head.n, False)
