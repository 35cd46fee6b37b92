"""What a language model predicts at the answers of many texts, each common beginning passed once.

A question with its answer, a reworded and five false answers is asked once, and a chat's system prompt once for
many questions. The model reads a tree of tokens (`engine.prefixes`) as one sequence, with each token's own
position and an attention mask by which it sees its own text alone; so the numbers are those of the texts one by
one, up to rounding. Models that cannot be told so read them in padded batches.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn import Module

from ..losses import answer_logits, full
from ..tasks import IGNORE, Samples
from .prefixes import Tree, plan

ROWS = 4096  # planned together: the ids of so many texts are held
WIDTH = {"cpu": 384}  # tokens a tree: what attention costs grows with it; elsewhere `WIDE`
WIDE = 2048
GAIN = 0.9  # a tree's cost against that of padded batches, in tokens, above which it is not worth its mask
CLOSE = 1e-4  # the largest difference of the logits to those of plain texts, relative to their own spread

# by model type, config, precision and kind of input: whether trees are read rightly
_exact: dict[tuple[type, str, torch.dtype, bool], bool] = {}


@runtime_checkable
class TokenSamples(Protocol):
    """Samples whose tokens can be had one by one (`Samples`, and these two)."""

    def encoded(self, row: int) -> tuple[list[int], list[int]]:
        """(input ids, labels) of a text."""
        ...

    def span(self, row: int, first: int, stop: int) -> Mapping[str, Tensor]:
        """The model's inputs [1, stop − first, …] at these places of a text, without its mask."""
        ...


@dataclass(frozen=True)
class Answer:
    """One text's answer. part, row: which text; places: int64 [m], rows of the logits; tokens: int64 [m], true."""

    part: int
    row: int
    places: Tensor
    tokens: Tensor


@dataclass(frozen=True)
class Predicted:
    """Some texts' predictions: logits [k, vocabulary], at least float32; answers may share places in them."""

    logits: Tensor
    answers: list[Answer]


def predictions(
    model: Module, parts: Sequence[Samples], batch: int, rows: Sequence[Sequence[int]] | None = None
) -> Iterator[Predicted]:
    """Every text of every part once, some at a time; call it in `evaluating`.

    batch: texts at a time where they are padded. rows: of each part, the texts that are asked for (None: all).
    Nothing is kept of a group when the next one is asked for.
    """
    asked = [range(len(samples)) for samples in parts] if rows is None else rows
    texts = [(part, row) for part, chosen in enumerate(asked) for row in chosen]
    for start in range(0, len(texts), ROWS):
        some = texts[start : start + ROWS]
        trees = _trees(model, parts, some, batch)
        for tree in trees:
            yield _through(model, parts, some, tree)
        if not trees:
            yield from _padded(model, parts, some, batch)


def sequences(
    model: Module, samples: Samples, batch: int
) -> Iterator[tuple[dict[str, Tensor], dict[int, list[int]]]]:
    """All texts as trees: (the model's inputs, of each row its tokens' places); none where none will do."""
    texts = [(0, row) for row in range(len(samples))]
    for start in range(0, len(texts), ROWS):
        some = texts[start : start + ROWS]
        for tree in _trees(model, [samples], some, batch, whole=True):
            inputs = _inputs([samples], some, tree, next(model.parameters()))
            yield inputs, {some[text][1]: path for text, path in tree.paths.items()}


def _padded(
    model: Module, parts: Sequence[Samples], texts: Sequence[tuple[int, int]], batch: int
) -> Iterator[Predicted]:
    device = next(model.parameters()).device
    for part, rows in _groups(parts, texts, batch):
        logits, labels = answer_logits(model, parts[part].batch(rows).to(device))
        true = labels != IGNORE
        counts = true.sum(1).tolist()
        places = torch.arange(len(logits), device=device).split(counts)
        tokens = labels[true].split(counts)
        yield Predicted(logits, [Answer(part, *one) for one in zip(rows, places, tokens, strict=True)])


def _groups(
    parts: Sequence[Samples], texts: Sequence[tuple[int, int]], batch: int
) -> Iterator[tuple[int, list[int]]]:
    """(part, rows of similar length) of all texts."""
    for part, samples in enumerate(parts):
        rows = sorted((row for other, row in texts if other == part), key=samples.length)
        for start in range(0, len(rows), batch):
            yield part, rows[start : start + batch]


def _trees(
    model: Module,
    parts: Sequence[Samples],
    texts: Sequence[tuple[int, int]],
    batch: int,
    whole: bool = False,
) -> list[Tree]:
    """How the texts pass as trees; empty where they do not, or nothing would be gained.

    whole: with their last tokens, which predict nothing that is known.
    """
    if len(texts) < 2 or not all(isinstance(samples, TokenSamples) for samples in parts):
        return []
    ids = [_encoded(parts, text)[0] for text in texts]
    if not _branching(model, max(map(len, ids))):
        return []
    trees = plan(
        [one if whole else one[:-1] for one in ids], WIDTH.get(next(model.parameters()).device.type, WIDE)
    )
    padded = sum(
        len(rows) * max(len(_encoded(parts, (part, row))[0]) for row in rows)
        for part, rows in _groups(parts, texts, batch)
    )
    worth = sum(tree.size for tree in trees) <= GAIN * padded
    return trees if worth and _right(model, parts, texts, ids) else []


def _encoded(parts: Sequence[Any], text: tuple[int, int]) -> tuple[list[int], list[int]]:
    found: tuple[list[int], list[int]] = parts[text[0]].encoded(text[1])
    return found


def _branching(model: Module, longest: int) -> bool:
    """Whether a model takes positions and a mask [1, 1, t, t]: attention alone, no window that texts exceed."""
    inner = getattr(model, "get_base_model", lambda: model)()
    config = getattr(inner, "config", None)
    if not hasattr(inspect.getmodule(type(inner)), "slice_logits_to_keep") or config is None:
        return False
    takes = "position_ids" in inspect.signature(type(inner).forward).parameters
    window = getattr(config, "sliding_window", None)
    plain = getattr(config, "_attn_implementation", None) in ("eager", "sdpa")
    return takes and plain and not inner._is_stateful and (window is None or longest <= window)


def _right(
    model: Module, parts: Sequence[Samples], texts: Sequence[tuple[int, int]], ids: Sequence[list[int]]
) -> bool:
    """Whether two texts give the same predictions as a tree and as they are; tried once for a kind of model."""
    inner: Any = getattr(model, "get_base_model", lambda: model)()
    first = sorted(range(len(texts)), key=lambda i: ids[i])[:2]
    two = [texts[i] for i in first]
    embedded = "inputs_embeds" in _span(parts, two[0], 0, 1)
    dtype = next(model.parameters()).dtype
    kind = (type(inner), inner.config.to_json_string(), dtype, embedded)
    if kind not in _exact:
        (tree,) = plan([ids[i][:-1] for i in first], sum(len(ids[i]) for i in first))
        ours = _in_order([_through(model, parts, two, tree)])
        whole = _in_order(_padded(model, parts, two, 1))
        apart, spread = float((ours - whole).norm()), float((whole - whole.mean()).norm())
        if not apart < float("inf"):
            return False  # the model is broken, which says nothing of its kind
        _exact[kind] = apart <= max(CLOSE, 4 * torch.finfo(dtype).eps) * spread
    return _exact[kind]


def _in_order(groups: Iterable[Predicted]) -> Tensor:
    """All answers' logits, text after text."""
    found = {(one.part, one.row): group.logits[one.places] for group in groups for one in group.answers}
    return torch.cat([found[text] for text in sorted(found)])


def _through(model: Module, parts: Sequence[Samples], texts: Sequence[tuple[int, int]], tree: Tree) -> Predicted:
    """One tree, passed as one sequence."""
    weight = next(model.parameters())
    answers, wanted = _answers(parts, texts, tree)
    keep = wanted[None].to(weight.device)
    out = model(**_inputs(parts, texts, tree, weight), use_cache=False, logits_to_keep=keep)
    moved = (Answer(a.part, a.row, a.places.to(weight.device), a.tokens.to(weight.device)) for a in answers)
    return Predicted(full(out.logits), list(moved))


def _inputs(
    parts: Sequence[Samples], texts: Sequence[tuple[int, int]], tree: Tree, weight: Tensor
) -> dict[str, Tensor]:
    """The tree's tokens [1, n], the positions [1, n] and the mask that is added [1, 1, n, n]."""
    pieces = [_span(parts, texts[branch.text], branch.first, branch.stop) for branch in tree.branches]
    inputs = {name: torch.cat([piece[name] for piece in pieces], 1) for name in pieces[0]}
    hidden = torch.zeros(tree.size, tree.size, dtype=weight.dtype)
    hidden.masked_fill_(~tree.sees(), torch.finfo(weight.dtype).min)
    inputs |= {"position_ids": tree.positions()[None], "attention_mask": hidden[None, None]}
    return {name: value.to(weight.device) for name, value in inputs.items()}


def _span(parts: Sequence[Any], text: tuple[int, int], first: int, stop: int) -> Mapping[str, Tensor]:
    found: Mapping[str, Tensor] = parts[text[0]].span(text[1], first, stop)
    return found


def _answers(
    parts: Sequence[Samples], texts: Sequence[tuple[int, int]], tree: Tree
) -> tuple[list[Answer], Tensor]:
    """The answers of a tree's texts, and bool [n]: the places whose predictions they need."""
    wanted, found = torch.zeros(tree.size, dtype=torch.bool), []
    for text, path in tree.paths.items():
        labels = _encoded(parts, texts[text])[1]
        at = [i for i in range(1, len(labels)) if labels[i] != IGNORE]
        places = torch.tensor([path[i - 1] for i in at])
        wanted[places] = True
        found.append((texts[text], places, torch.tensor([labels[i] for i in at])))
    number = wanted.cumsum(0) - 1  # a place's row among those that are kept
    return [Answer(part, row, number[places], tokens) for (part, row), places, tokens in found], wanted
