"""Attacks on what is inside: forgetting that sits in the last layers alone leaves the rest as it was."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch.nn import Module

from ..engine.measuring import evaluating
from ..engine.trainable import block_list
from ..losses import pass_through, placed
from ..metrics.score import Floats
from ..tasks import IGNORE, Samples, batches
from .case import Case, ask, halves, looked, some
from .finding import Finding, Pair, judged
from .layers import LAYERS, cka, features, layers_of, probe_scores, without_directions
from .scores import loss_scores

ROWS = 500  # that layers are looked at on


def inside(case: Case) -> list[Finding]:
    """Linear probes with CKA, the logit lens (texts), and direction ablation."""
    lens = [] if case.kind == "image" else logit_lens(case)
    return [*probes(case), *lens, ablation(case)]


def probes(case: Case) -> list[Finding]:
    """One probe a layer; `extra` says how near it is to Retrain's and to the original's (CKA, forget rows).

    Rows that are alike (`Case.alike`) do not sharpen this one: a probe is fitted on the labels it is asked for, so
    scores of one fit depend on each other, which the error for drawing rows leaves out. What several retrained
    models' AUCs differ by does hold it; with one retrained model p is too small.
    """
    look = partial(_both, case)
    ours, gold, before = looked(case, "layers", look)
    found = []
    for name in ours[0]:
        scores = partial(_probe, name=name, seed=case.seed)
        asked = f"Does a linear probe of layer {name} tell forgotten from unseen rows?"
        finding = Finding(f"probe {name}", "inside", asked, one_sided=True)
        said = _near(ours[0][name], [each[0][name] for each in gold], None if before is None else before[0][name])
        try:
            found.append(
                judged(
                    replace(finding, extra=said),
                    scores(ours),
                    [scores(each) for each in gold],
                    None if before is None else scores(before),
                )
            )
        except ValueError as error:
            found.append(replace(finding, missing=str(error), failed=True))
    return found


Features = tuple[dict[str, Floats], dict[str, Floats]]


def _both(case: Case, module: Module) -> Features:
    forget, heldout = (features(module, case.kind, some(part, ROWS)) for part in (case.forget, case.heldout))
    return forget, heldout


def _probe(found: Features, name: str, seed: int) -> Pair:
    return probe_scores(found[0][name], found[1][name], seed)


def _near(ours: Floats, gold: Sequence[Floats], before: Floats | None) -> tuple[str, ...]:
    said = []
    try:
        if gold:
            said.append("CKA to the retrained model " + ", ".join(f"{cka(ours, each):.2f}" for each in gold))
        if before is not None:
            said.append(f"CKA to the original {cka(ours, before):.2f}")
        if len(gold) > 1:
            said.append(f"CKA of two retrained models {cka(gold[0], gold[1]):.2f}")
    except ValueError as error:
        return (f"no CKA: {error}",)
    return tuple(said)


def logit_lens(case: Case) -> list[Finding]:
    """The loss that every layer's state would have if it went straight to the output: norm, then output matrix.

    Source: nostalgebraist, "interpreting GPT: the logit lens" (2020); Patil et al., "Can sensitive information be
    deleted from LLMs?" (2023) use it to extract what was edited out. The last layer is left out: it is the model.
    """
    number = len(block_list(_inner(case.model))[0])
    chosen = sorted({round(i * (number - 1) / LAYERS) for i in range(LAYERS)} - {number - 1})
    asked = "Does block {} already know the forgotten answers, before the last layers hide them?"
    findings = {i: Finding(f"lens block {i}", "inside", asked.format(i)) for i in chosen}
    try:
        ours, gold, before = looked(case, "lens", partial(_lens, case, layers=chosen))
    except ValueError as error:
        return [replace(finding, missing=str(error), failed=True) for finding in findings.values()]
    return [
        judged(found, ours[i], [each[i] for each in gold], None if before is None else before[i], case.alike)
        for i, found in findings.items()
    ]


def _lens(case: Case, module: Module, layers: Sequence[int]) -> dict[int, Pair]:
    forget, heldout = (lens_losses(module, some(part, ROWS), layers) for part in (case.forget, case.heldout))
    return {i: (-forget[i], -heldout[i]) for i in layers}


def lens_losses(module: Module, samples: Samples, layers: Sequence[int]) -> dict[int, Floats]:
    """By layer, [n]: mean loss, in nats per answer token, of its block's output through final norm and matrix."""
    blocks, out = block_list(_inner(module))[0], {layer: np.empty(len(samples)) for layer in layers}
    kept: dict[int, torch.Tensor] = {}
    with ExitStack() as stack:
        for layer in layers:
            hook = blocks[layer].register_forward_hook(partial(_keep, kept, layer))
            stack.callback(hook.remove)
        stack.enter_context(evaluating(module))
        for rows in batches(samples, 8):
            batch = samples.batch(rows).to(next(module.parameters()).device)
            pass_through(module, batch.inputs)
            for layer in layers:
                out[layer][rows] = _read_out(_inner(module), kept[layer], batch.labels[:, 1:])
    return out


def _keep(kept: dict[int, torch.Tensor], layer: int, _: Module, __: Any, found: Any) -> None:
    kept[layer] = found[0] if isinstance(found, tuple) else found


def _read_out(inner: Module, states: torch.Tensor, labels: torch.Tensor) -> Floats:
    """[b]: mean loss of states [b, t, d] that go straight to the output."""
    answers = states[:, :-1][labels != IGNORE]
    for norm in block_list(inner)[1]:
        answers = norm(answers) if any(True for _ in norm.parameters()) else answers
    logits = inner.get_output_embeddings()(answers)  # type: ignore[operator]
    lost = F.cross_entropy(logits.float(), labels[labels != IGNORE], reduction="none")
    return placed(lost, labels).per_sample().double().cpu().numpy()


def _inner(module: Module) -> Module:
    return getattr(module, "get_base_model", lambda: module)()


def ablation(case: Case) -> Finding:
    """Take out, in every looked-at layer, the direction in which forgotten rows differ from kept ones.

    If forgetting is one direction that all answers about the forgotten rows pass through, taking it out brings
    them back. The direction, mean(forgotten) − mean(kept), is found on one half of the forget rows, for every
    model its own; the other half is judged.
    """
    first, asked = halves(case.forget, case.seed)
    finding = Finding(
        "direction-ablation", "inside", "Is the forgetting one direction that can be taken out of the layers?"
    )
    if len(first) < 2 or len(asked) < 2:
        return replace(finding, missing="too few rows to find a direction on some and ask for others")
    inner, kept = case.with_rows(asked, case.heldout), some(case.parts.retain, ROWS)

    def scores(module: Module) -> Pair:
        forgotten = features(module, case.kind, some(first, ROWS))
        others = features(module, case.kind, kept)
        parts = [
            (part, torch.as_tensor(forgotten[name].mean(0) - others[name].mean(0)))
            for name, part in layers_of(module, case.kind)
        ]
        with without_directions(parts):
            return loss_scores(inner, module)

    return ask(case, finding, scores)
