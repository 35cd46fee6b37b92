"""Membership attacks on a case: what a model's answers or gradients say of the forget rows beside unseen ones."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from scipy.stats import ks_2samp, wasserstein_distance
from torch.nn import Module

from ..attacks import svc_attack, svc_scores, true_confidence
from ..engine.measuring import image_logits
from ..engine.targets import labels_of
from ..metrics.score import Floats
from ..tasks import Samples
from .case import Case, ask, looked, some
from .finding import Finding, Pair, judged
from .scores import gradient_scores, image_scores, losses_of, text_scores

SVC_ROWS = 1000  # of each side that the kernel machine is fitted on: its time grows with the square
QUESTIONS = {
    "loss": "Do the losses (or, which is the same order, the confidences) of the forgotten rows give them away?",
    "entropy": "Is the model more certain on the forgotten rows than on unseen ones?",
    "modified-entropy": "The same, with the true label known?",
    "learnt-logistic": "Does a linear rule learnt from kept against unseen rows pick out the forgotten ones?",
    "learnt-svc": "Does a non-linear rule learnt in the same way pick them out?",
    "svc": "Does the kernel machine of the SalUn protocol, on the confidence alone, pick them out?",
    "min-k": "Are the least likely words of the forgotten texts less unlikely than those of unseen texts?",
    "min-k++": "The same, beside what else the model would have said there?",
    "zlib": "Are the forgotten texts likelier than their own complexity explains?",
    "reference": "Has the model moved on the forgotten texts more than on unseen ones, from the base model?",
    "extraction": "Can more of the forgotten answers be completed word for word than of unseen ones?",
    "gradient-norm": "Do the forgotten rows still sit in a flat place of the loss?",
}


IMAGES = ("loss", "entropy", "modified-entropy", "learnt-logistic", "learnt-svc")
TEXTS = ("loss", "min-k", "min-k++", "zlib", "extraction")


def one_query(case: Case) -> list[Finding]:
    """All attacks that one look at each model pays for."""
    look = image_scores if case.kind == "image" else text_scores
    names = IMAGES if case.kind == "image" else TEXTS if case.base is None else (*TEXTS, "reference")
    try:
        ours, gold, before = looked(case, "one query", partial(look, case))
    except ValueError as error:
        return [replace(_asking(name), missing=str(error), failed=True) for name in names]
    found = [
        judged(
            _asking(name),
            pair,
            [each[name] for each in gold],
            None if before is None else before[name],
            case.alike,
        )
        for name, pair in ours.items()
    ]
    distances = _distances(*(losses_of(case, each["loss"][0]) for each in (ours, *gold)))
    found = [replace(each, extra=distances) if each.attack == "loss" else each for each in found]
    return [*found, svc(case)] if case.kind == "image" else found


def _asking(name: str) -> Finding:
    return Finding(name, "elicitation" if name == "extraction" else "membership", QUESTIONS[name])


def _distances(ours: Floats, *gold: Floats) -> tuple[str, ...]:
    """How far the forgotten rows' losses lie from Retrain's, and how far two retrained models' lie apart."""
    if not gold:
        return ()
    pairs = [(ours, each) for each in gold], [(a, b) for i, a in enumerate(gold) for b in gold[:i]]
    words = [
        f"W1 {sum(wasserstein_distance(*p) for p in group) / len(group):.3f} nats, "
        f"KS {sum(ks_2samp(*p).statistic for p in group) / len(group):.2f}"
        for group in pairs
        if group
    ]
    return (f"forgotten rows beside a retrained model's: {'; two retrained models: '.join(words)}",)


def svc(case: Case) -> Finding:
    """The kernel machine on the true-label confidence; `extra` has the protocol's MIA of every model."""
    finding = Finding("svc", "membership", QUESTIONS["svc"])

    def look(module: Module) -> tuple[Pair, float]:
        forget, heldout, retain = (
            _confidences(module, part) for part in (case.forget, case.heldout, some(case.parts.retain, SVC_ROWS))
        )
        mia = svc_attack(retain, heldout, forget, most=SVC_ROWS).mia
        return svc_scores(retain, heldout, forget, case.seed, SVC_ROWS), mia

    try:
        ours, gold, before = looked(case, "svc", look)
    except ValueError as error:
        return replace(finding, missing=str(error), failed=True)
    found = judged(finding, ours[0], [pair for pair, _ in gold], None if before is None else before[0], case.alike)
    said = [f"{mia:.1f} %" for _, mia in (*gold, *([] if before is None else [before]))]
    others = f"; other models: {', '.join(said)}" if said else ""
    return replace(
        found, extra=(f"MIA, the share of forgotten rows that it calls unseen: {ours[1]:.1f} %{others}",)
    )


def _confidences(module: Module, part: Samples) -> Floats:
    return true_confidence(image_logits(module, part).double().numpy(), labels_of(part).numpy())


def gradient_norm(case: Case) -> list[Finding]:
    """The gradient-norm attack: white-box, one gradient a row."""
    finding = Finding("gradient-norm", "membership", QUESTIONS["gradient-norm"])
    return [ask(case, finding, partial(gradient_scores, case))]
