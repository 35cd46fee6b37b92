"""Attacks that train shadows: LiRA and RMIA against retrained models, U-LiRA and KLoM against unlearned ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from torch.nn import Module

from ..attacks import auc_with_error, offline_lira, online_lira, rmia, u_lira, u_lira_left_out
from ..engine.targets import Rows
from ..metrics import klom, normal_klom
from ..metrics.score import Floats
from ..tasks import Samples
from .case import Case, some
from .finding import Finding, Pair, judged
from .relabelled import relabelled
from .rows import joined
from .shadows import Setup, Shadow, scores_before, scores_of, shadow_scores

FEWEST, MOST, USUAL = 8, 64, 16  # shadows
REDRAWN = 99  # designs drawn anew, to see what chance does
KLOM = Finding(
    "klom",
    "membership",
    "Over many runs of the method: do forgotten rows' margins move away from retrained models' (KLoM)?",
)


def against_retrained(case: Case) -> list[Finding]:
    """Offline LiRA and RMIA, with shadows that are retrained models: trained on the kept rows alone.

    RMIA's population is one half of the held-out rows; the other half is what forgotten rows are compared with.
    """
    lira = Finding("lira", "membership", "Is a forgotten row likelier than in models that never saw it (LiRA)?")
    ratio = Finding("rmia", "membership", "The same, beside what the model makes of other unseen rows (RMIA)?")
    setup = case.shadows
    if setup is None or case.recipe is None:
        return [replace(each, missing="nothing says how the model was trained") for each in (lira, ratio)]
    number = setup.number or USUAL
    forget, heldout = len(case.forget), len(case.heldout)
    pool = joined([case.forget, case.heldout])
    phi, log_p = retrained_scores(case, setup, pool, number)
    order = np.random.default_rng(case.seed).permutation(heldout) + forget
    others, unseen = order[: heldout // 2], order[heldout // 2 :]

    def lira_of(module: Module) -> Pair:
        z = offline_lira(scores_of(module, case.kind, pool)[0], phi)
        return z[:forget], z[forget:]

    def rmia_of(module: Module) -> Pair:
        own = scores_of(module, case.kind, pool)[1]
        asked = np.r_[np.arange(forget), unseen]
        found = rmia(own[asked], log_p[:, asked], own[others], log_p[:, others])
        return found[:forget], found[forget:]

    said = (f"{number} shadows",)
    return [
        replace(_asked(case, lira, lira_of), extra=said),
        replace(_named_flat(_asked(case, ratio, rmia_of)), extra=(*said, f"{len(others)} other unseen rows")),
    ]


def _named_flat(found: Finding) -> Finding:
    """RMIA's usual reason for scores that are all alike: no row is γ times as likely, relatively, as another."""
    flat = found.missing is not None and not found.failed
    return replace(found, missing=f"{found.missing} (often since no row's ratio passes γ = 2)") if flat else found


def retrained_scores(case: Case, setup: Setup, pool: Samples, number: int) -> tuple[Floats, Floats]:
    """(φ, log p) of `number` shadows that were trained on the kept rows alone, of the pool's rows."""
    shadows = [_shadow(case, setup, pool, j) for j in range(number)]
    return shadow_scores(shadows, setup.root, setup.jobs, _watched(setup, len(shadows)))


def against_unlearned(case: Case) -> list[Finding]:
    """U-LiRA, and online LiRA with the same shadows before they unlearned.

    Shadows saw half of the forgotten and held-out rows and unlearned them, as the target did.

    Shadows come in pairs that split those rows between them, so that every row is unlearned in half of the
    shadows and never seen by the others. The target's rows are scored by how the shadows treated the same rows.
    `extra` has what the shadows say of the *method* (`method_words`). Before unlearning, the shadows are models
    that were trained with and without a row: online LiRA asks which of the two the target is like.
    """
    asks = "Does a forgotten row look unlearned rather than never seen (U-LiRA)?"
    finding = Finding("u-lira", "membership", asks, one_sided=True, marks=True)
    online = Finding(
        "lira-online", "membership", "Is a row answered as by models that were trained on it (online LiRA)?"
    )
    setup = case.shadows
    if setup is None or setup.how is None or case.recipe is None:
        why = "nothing says how the model was trained and unlearned"
        return [replace(each, missing=why) for each in (finding, online)]
    heldout = some(case.heldout, len(case.forget))  # evenly spread: they may stand in an order
    pool, n = joined([case.forget, heldout]), len(case.forget)
    gone = design(len(pool), setup.number or USUAL, case.seed)
    shadows = [_shadow(case, setup, pool, j, row) for j, row in enumerate(gone)]
    phi, _ = shadow_scores(shadows, setup.root, setup.jobs, _watched(setup, len(shadows)))

    before = scores_before(shadows, setup.root)

    def unlearned(module: Module) -> Pair:
        found = u_lira(scores_of(module, case.kind, pool)[0], phi, gone, ~gone)
        return found[:n], found[n:]

    def trained(module: Module) -> Pair:
        found = online_lira(scores_of(module, case.kind, pool)[0], before, gone)
        return found[:n], found[n:]

    found = _asked(replace(case, original=None), finding, unlearned)  # it unlearned nothing: no control
    found = replace(found, extra=(method_words(phi, gone, case.seed),))
    return [found, replace(_asked(case, online, trained), extra=(f"{len(shadows)} shadows",))]


def margins_apart(case: Case) -> list[Finding]:
    """KLoM: over many runs of the method on this very request, how far each row's margin is from Retrain's.

    As many models a side: retrained ones (those of `against_retrained`) and ones that were trained on all rows and
    unlearned the forget rows. A row's score is ± KL(margins over retrainings ‖ margins over runs of the method) of
    fitted normal distributions (`metrics.normal_klom`), with the sign of the mean margin's shift, so that both
    sides are seen; the histograms of KLoM itself, which `extra` gives, need some 100 models a side. With few it
    is large even where nothing is left, of forgotten and unseen rows alike: these are compared, and one half of
    the retrained models with the other. It judges the method, not the one model: p is of a permutation test over
    models (`relabelled`). Control: the same models before they unlearned. Source: Georgiev et al. 2024, arXiv
    2410.23232.
    """
    setup = case.shadows
    if setup is None or setup.how is None or case.recipe is None:
        return [replace(KLOM, missing="nothing says how the model was trained and unlearned")]
    number, n = setup.number or USUAL, len(case.forget)
    pool = joined([case.forget, case.heldout])
    gold = retrained_scores(case, setup, pool, number)[0]
    first = np.r_[np.ones(n, dtype=bool), np.zeros(len(case.heldout), dtype=bool)]
    shadows = [_shadow(case, setup, pool, number + j, first) for j in range(number)]
    ours = shadow_scores(shadows, setup.root, setup.jobs, _watched(setup, len(shadows)))[0]
    return [klom_finding(ours, gold, scores_before(shadows, setup.root), n)]


def klom_finding(ours: Floats, gold: Floats, before: Floats, n: int) -> Finding:
    """The finding of `margins_apart` from margins [models, rows]: of the method, of Retrain, before unlearning.

    n: the first so many rows are the forgotten ones.
    """
    sides = ((ours, gold), (gold[::2], gold[1::2]), (before, gold))

    def auc(a: Floats, b: Floats) -> float:
        score = _shifts(a, b)
        return auc_with_error(score[:n], score[n:])[0]

    try:
        scores = [_shifts(*pair) for pair in sides]
        against, caught = (relabelled(auc, each, gold) for each in (ours, before))
    except ValueError as error:
        return replace(KLOM, missing=str(error), failed=True)
    values = [klom(*pair).values for pair in sides]
    words = [f"{each[:n].mean():.2f} and {each[n:].mean():.2f}" for each in values]
    said = (
        f"the method over {len(ours)} models a side: mean KLoM of forgotten and unseen rows {words[0]} nats; half "
        f"of the retrained against the others {words[1]}; before unlearning {words[2]}"
    )
    found, floor, control = ((each[:n], each[n:]) for each in scores)
    finding = judged(replace(KLOM, extra=(said,)), found, [floor], control)
    return finding if finding.failed else replace(finding, against=against, control=caught)


def _shifts(ours: Floats, gold: Floats) -> Floats:
    """[rows]: the divergence of a row's margins, with the sign of their mean's shift."""
    signed: Floats = np.sign(ours.mean(axis=0) - gold.mean(axis=0)) * normal_klom(ours, gold)
    return signed


def design(rows: int, shadows: int, seed: int) -> np.ndarray:
    """Which rows each shadow unlearns, bool [shadows, rows]; neighbours 2i and 2i + 1 split the rows between them.

    Raises ValueError for an odd number of shadows and fewer than `FEWEST`.
    """
    if shadows % 2 or shadows < FEWEST:
        raise ValueError(f"shadows: found {shadows}, expected an even number of at least {FEWEST}")
    rng, found = np.random.default_rng(seed), np.zeros((shadows, rows), dtype=bool)
    for first in range(0, shadows, 2):
        found[first, rng.permutation(rows)[: rows // 2]] = True
        found[first + 1] = ~found[first]
    return found


def method_words(phi: Floats, gone: np.ndarray, seed: int) -> str:
    """What shadows say of the method: the AUC of "unlearned" against "unseen", each in turn scored by the others.

    phi: [shadows, rows]; gone: which rows each unlearned (`design`), drawn with `seed`. Mean over shadows. These
    AUCs share shadows, so that no interval over them keeps its level (of t intervals 10 % leave out .5 where
    nothing differs). But were an unlearned row like an unseen one, any other design would have done as well: the
    range is that of `REDRAWN` designs, and p the share of them, this one included, that lie as far from .5.
    """
    found = _left_out_auc(phi, gone)
    others = [_left_out_auc(phi, design(phi.shape[1], len(phi), seed + 1 + draw)) for draw in range(REDRAWN)]
    low, high = np.quantile(others, (0.025, 0.975))
    p = (1 + sum(abs(other - 0.5) >= abs(found - 0.5) for other in others)) / (1 + REDRAWN)
    return (
        f"the method over {len(phi)} shadows: AUC {found:.3f}; were unlearned rows like unseen ones, {low:.3f} to "
        f"{high:.3f} (95 %, p {p:.2g})"
    )


def _left_out_auc(phi: Floats, gone: np.ndarray) -> float:
    """The mean over shadows of the AUC within each."""
    found = u_lira_left_out(phi, gone, ~gone)
    aucs = []
    for model in range(len(phi)):
        sides = found.unlearned[found.model_of_unlearned == model], found.unseen[found.model_of_unseen == model]
        if len(sides[0]) and len(sides[1]):
            aucs.append(auc_with_error(*sides)[0])
    return float(np.mean(aucs))


def _shadow(case: Case, setup: Setup, pool: Samples, j: int, gone: np.ndarray | None = None) -> Shadow:
    assert case.recipe is not None
    recipe = replace(case.recipe, seed=case.seed * 100_003 + 5_000 + j)
    common = Shadow(case.kind, setup.template, setup.scratch, recipe, case.parts.retain, pool)
    if gone is None:
        return common
    unlearned, never = (Rows(pool, np.flatnonzero(mask).tolist()) for mask in (gone, ~gone))
    return replace(common, forget=unlearned, heldout=never, how=setup.how)


def _watched(setup: Setup, total: int) -> Callable[[int], None] | None:
    watch = setup.watch
    return None if watch is None else lambda done: watch(done, total)


def _asked(case: Case, finding: Finding, scores: Callable[[Module], Pair]) -> Finding:
    gold = [scores(each) for each in case.retrains]
    before = None if case.original is None else scores(case.original)
    return judged(finding, scores(case.model), gold, before, case.alike)
