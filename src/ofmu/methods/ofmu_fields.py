"""OFMU's hyper-parameters with the reason for each, its presets, and what changes while it runs."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, field, replace
from typing import Literal, Self

import torch

from ..core.schedule import Geometric, Penalty, Priority, Relative
from ..core.similarity import Cosine, Measure
from ..core.vectors import Vector
from ..losses import NLL, Bounded, Objective, Plausible
from ..tasks import Need, Task
from .base import Descent
from .brief import Brief


@dataclass
class OFMUState:
    """round: outer iterations done. size: ‖θ₀‖. moments, heading: running means of squared ascent gradients
    (scaling = "adam") and of ascent directions (`momentum`), over `ascents` steps. repaired: the last repair
    reached its level. growths, mark: the penalty's memory; multiplier: λ of an augmented Lagrangian. pull: the
    last ∇Sim, `age` steps old, used again while `lazy` (`refresh`). retain_loss: L_r as the last repair left it.
    begun: the cost when the rounds began; pace: what both rates are multiplied by in this iteration (`cooling`).
    """

    optimizer: torch.optim.Optimizer
    size: float
    round: int = 0
    ascents: int = 0
    moments: Vector = field(default_factory=list)
    repaired: bool = False
    growths: int = 0
    mark: float = math.inf
    multiplier: Vector = field(default_factory=list)
    pull: Vector = field(default_factory=list)
    age: int = 0
    lazy: bool = True
    heading: Vector = field(default_factory=list)
    retain_loss: float = 0.0
    begun: float = 0.0
    pace: float = 1.0


@dataclass(frozen=True)
class OFMUFields:
    """OFMU's hyper-parameters; each safeguard is a field, and says why it is there.

    The values below are those of `ofmu-both` on images: both of the paper's terms at a tenth of the gradients they
    stand beside, ascents of a hundredth of ‖θ₀‖, a long raw repair. They were settled on digits; what terms are
    worth there is in benchmarks/results/digits-terms.md. No default is made of them alone: see `image` and `text`.

    forget: what is ascended. Bounded at the unseen level, Φ has a maximum (cross-entropy has none, and its
        saturation passes for stationarity: a destroyed model).
    retain: what the outer loop descends, the task's own loss.
    beta, balanced: weight of the similarity. Balanced, β is relative: d = g_f − β (‖g_f‖/‖∇Sim‖) ∇Sim, since near
        a minimum ‖∇cos‖ is hundreds of times ‖g_f‖.
    similarity: Sim (`ofmu.core.similarity`), the printed cosine unless said otherwise.
    curvature_batch: samples of each batch that ∇Sim and the penalty's outer product are taken on; where that is
        the whole batch, the gradients of its linearisation serve the step too, and nothing is computed twice.
    refresh, drift: ∇Sim is taken every `refresh`-th ascent step and used again in between, until a fresh one has a
        cosine below `drift` with the one that it replaces: from then on it is taken at every step.
    priority: how much forgetting counts against retention, over the outer iterations; ½ is neutral.
    inner_steps: T, at most; fewer once the target holds.
    scaling, rate: "fixed": η = rate (printed). "raw": a step of length ≤ rate · ‖θ₀‖ along d. "adam": d is
        divided by the root of g_f's running mean square, and a step is ≤ rate · (outer lr) · √(#parameters):
        language models need it, one raw step of useful length breaks them. "raw" and "adam" never step beyond
        where the linear model meets the target (Polyak): length ≤ (mean τ − L_f)/(g_f · d̂).
    overshoot: after a step that may have passed the target, halve it while the batch's loss exceeds overshoot ·
        mean τ (None: never).
    hold: the target holds where L_f ≥ hold · mean τ; such a batch is not ascended (None: always ascend).
    penalty: ρ_k; relative to ‖g_r‖, as a fixed one is either nothing or ruin. Only the first outer step after an
        ascent carries it; the repair steps that follow descend L_r alone. None: no stationarity term.
    outer: the outer optimiser, its gradient clipped.
    repair: (fewest, most) outer steps per iteration: one, as printed, collapses.
    slack: repair ends when L_r (averaged with memory `memory`) is back at the original's level plus slack ·
        (unseen level − that level). None: always the fewest steps.
    rounds: fewest outer iterations before the exit rule (target holds after repair) is asked. None: no exit.
    settled: the exit rule also asks that the last repair reached its level. Where `repair` is short, one repair
        need not.
    stationary: a step whose ‖∇Φ‖ (logged as "stationarity") is at most this ends the run, as the printed algorithm
        may. None: never.
    neutral: λ of KL(original ‖ θ) on held-out text, added to L_r in the outer steps: nothing else says what should
        *not* change beside D_r, and people whom nobody asked to forget drift with those who are forgotten. Needs
        held-out rows; without them it is off. Repair's level is that of L_r alone.
    project: d is made orthogonal to a fresh gradient of the outer loss (L_r + λ KL) wherever it would raise it,
        a first-order decorrelation at the price of one gradient, without second derivatives.
    start: where θ begins. "head": at a model whose last two layers were reset and trained on D_r over the outputs
        of the frozen ones, or whose other layers were trained too, where held-out data show that those outputs
        remember D_f (`engine.head_start`); where nothing of D_f then scores above held-out data, no
        round is made. "reference" (and "head" where it cannot be): at the short reference
        that image targets were made with (its last layers were reset and trained on D_r), where there is one that
        has learned D_r again (`engine.prepare`): what the original's last layers knew of D_f is gone.
    lookahead: how far θ goes from where an iteration began to where it ended, once the target held on one of its
        batches (slow weights: Lookahead, Zhang et al. 2019, arXiv 1907.08610); 1: all the way. The last iterations
        overshoot some samples and repair undoes others; a mean of two is nearer, at the price of a vector.
    momentum: the share of the last direction that stays in the next: d becomes its running mean over ascents.
        One batch's direction is mostly noise, which harms D_r and which repair then undoes; of the mean there is
        left what D_f has in common. 0: none.
    brake: an iteration has no ascent while the last repair left L_r above the original's level plus brake ·
        (unseen level − that level): a network with batch normalisation lost D_r faster than repair took it back,
        until it predicted one class. None: never.
    cooling: over this last share of what the budget leaves for rounds both rates fall linearly to 0: what a step
        of full length breaks in D_r is then repaired, and what was forgotten stays so. 0: they do not fall; nor do
        they where nobody set a budget.
    brief: what rounds are like where the budget is small for the forget set (None: like all others).
    """

    forget: Objective = field(default_factory=Bounded)
    retain: Objective = field(default_factory=NLL)
    beta: float = 0.1
    curvature_batch: int = 32
    balanced: bool = True
    similarity: Measure = field(default_factory=Cosine)
    refresh: int = 1
    drift: float = 0.9
    priority: Priority = field(default_factory=Priority)
    inner_steps: int = 5
    scaling: Literal["fixed", "raw", "adam"] = "raw"
    rate: float = 0.01
    overshoot: float | None = None
    hold: float | None = 0.9
    penalty: Penalty | None = field(default_factory=Relative)
    outer: Descent = field(default_factory=lambda: Descent("sgd", 0.3, clip=0.3))
    repair: tuple[int, int] = (5, 60)
    slack: float | None = 0.05
    memory: float = 0.5
    rounds: int | None = 3
    settled: bool = False
    neutral: float = 0.0
    project: bool = False
    start: Literal["original", "reference", "head"] = "original"
    stationary: float | None = None
    lookahead: float = 1.0
    brief: Brief | None = None
    momentum: float = 0.0
    brake: float | None = None
    cooling: float = 0.0

    def __post_init__(self) -> None:
        if self.balanced and not 0 <= self.beta < 1:
            raise ValueError(f"OFMU: balanced beta is {self.beta}, expected 0 ≤ β < 1 (else d may not ascend L_f)")
        if not 0 < self.lookahead <= 1:
            raise ValueError(f"OFMU: lookahead is {self.lookahead}, expected above 0 and at most 1 (all the way)")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"OFMU: momentum is {self.momentum}, expected 0 (none) or more, and below 1")
        if not 0 <= self.cooling <= 1:
            raise ValueError(f"OFMU: cooling is {self.cooling}, expected a share from 0 (none) to 1 (all the way)")
        if self.refresh < 1:
            raise ValueError(f"OFMU: refresh is {self.refresh}, expected at least 1 (a fresh ∇Sim at every step)")
        if not 1 <= self.repair[0] <= self.repair[1]:
            raise ValueError(f"OFMU: repair is {self.repair}, expected 1 ≤ fewest ≤ most")
        if self.stationary is not None and self.penalty is None:
            raise ValueError(
                f"OFMU: stationary is {self.stationary}, expected a penalty with it: else ‖∇Φ‖ is not taken"
            )

    @classmethod
    def paper(
        cls,
        *,
        beta: float = 0.1,
        inner_steps: int = 5,
        inner_lr: float = 1e-2,
        outer_lr: float = 1e-2,
        rho: float = 0.01,
        growth: float = 1.1,
        stationary: float | None = None,
    ) -> Self:
        """The printed algorithm: unbounded L_f, fixed steps, one outer step, ρ_k = ρ·γ^k, ends if `stationary`."""
        return cls(
            forget=NLL(),
            beta=beta,
            curvature_batch=sys.maxsize,
            balanced=False,
            inner_steps=inner_steps,
            scaling="fixed",
            rate=inner_lr,
            hold=None,
            penalty=Geometric(rho, growth),
            outer=Descent("sgd", outer_lr),
            repair=(1, 1),
            slack=None,
            rounds=None,
            stationary=stationary,
        )

    @classmethod
    def image(cls, lr: float) -> Self:
        """The image preset: a head start, then `safeguarded`'s rounds for what still scores above held-out data.

        A short honest retraining of the last layers costs less than ascent and repair, and is nearer to a full one
        (benchmarks/results/ofmu-image-ablation.md). What it cannot reach is what the frozen layers remember: that
        is for the rounds, whose targets are the new model's own held-out losses. `lr` is the outer AdamW's.
        """
        return replace(cls.safeguarded(lr), start="head")

    @classmethod
    def safeguarded(cls, lr: float) -> Self:
        """Images, rounds alone: many short rounds of small steps, begun at the short reference.

        A long ascent along the raw gradient harms D_r as much as D_f, and the repair that undoes the one undoes
        the other. One step of Adam's length (`inner_steps`, `scaling`, `rate`) along what the last ascents had in
        common (`momentum`), then at most four of repair, leave the harm to neither; so short a repair need not end
        repaired, so the exit asks that it did (`settled`), and no ascent follows while much is broken (`brake`).
        Where the budget ends the run, both rates have fallen to nothing by then (`cooling`).
        β = 0 and no stationarity term by cost: one round's curvature is dearer than the round. Exit and repair go
        by the fields' `hold`, `slack`, `memory` and `rounds`. `lr` is the outer AdamW's.
        """
        return cls(
            beta=0.0,
            inner_steps=1,
            scaling="adam",
            rate=1.0,
            penalty=None,
            outer=Descent("adamw", lr),
            repair=(1, 4),
            settled=True,
            start="reference",
            momentum=0.9,
            brake=0.5,
            cooling=0.3,
        )

    @classmethod
    def text(cls, lr: float) -> Self:
        """The language preset: a token bound with plausible alternatives, a gate per sample, Adam scaling.

        β = 0 and no stationarity term by measurement: at equal cost the cosine spends the budget before the
        answers are forgotten, and keeps less; the penalty changes nothing. Steps of half of Adam's length: shorter
        ones spend the budget, longer ones end farther off. `hold`: what is left below τ costs more than it brings;
        `slack`, `repair`: one step or a laxer level loses kept answers, more than 8 were never needed;
        `lookahead`, `overshoot`: nearer to the targets, and more is kept; `brief`: nearer with at most
        24 sample-gradients for each forget sample. A row for each is in
        benchmarks/results/ofmu-text-ablation.md. `lr` is the outer AdamW's.
        """
        return cls(
            forget=Plausible(Bounded("token", gate=True)),
            beta=0.0,
            inner_steps=8,
            scaling="adam",
            rate=0.5,
            overshoot=1.0,
            hold=0.85,
            penalty=None,
            outer=Descent("adamw", lr, clip=1.0),
            repair=(1, 8),
            slack=0.003,
            memory=0.0,
            rounds=1,
            lookahead=0.5,
            brief=Brief(),
        )

    @classmethod
    def matched(cls, lr: float) -> Self:
        """The language preset with three more terms, on trial: each answers a fault that was seen on SmolLM2.

        Samples that were carried too far come down (`Bounded.two_sided`), wrong tokens get the confidence that the
        original has on unseen text (`Plausible.sharpened`), and held-out text stays as it was (`neutral`). Not the
        default: on the tiny Llama they came nearer to the targets, not to Retrain, and cost a third more.
        """
        forget = Plausible(Bounded("token", gate=True, two_sided=True), sharpened=True)
        return replace(cls.text(lr), forget=forget, neutral=1.0)

    def within(self, task: Task) -> Self:
        """The method with rounds that suit the task's budget."""
        if self.brief is None or not self.brief.due(task):
            return self
        fewest, most = (min(steps, self.brief.repair) for steps in self.repair)
        rate = self.brief.rate * self.rate
        return replace(self, inner_steps=1, rate=rate, repair=(fewest, most), lookahead=1.0, brief=None)

    @property
    def needs(self) -> frozenset[Need]:
        """What its two objectives need, and a start."""
        kinds: dict[str, Need] = {"reference": "start", "head": "head"}
        start: frozenset[Need] = frozenset({kinds[self.start]} if self.start in kinds else ())
        neutral: frozenset[Need] = frozenset({"reference", "neutral"} if self.neutral > 0 else ())
        return self.forget.needs | self.retain.needs | start | neutral

    @property
    def curved(self) -> bool:
        """Whether second derivatives are asked for."""
        return self.beta != 0 or self.penalty is not None
