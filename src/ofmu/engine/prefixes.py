"""Texts that begin alike, laid out as a tree: what they have in common stands in one sequence once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True)
class Branch:
    """Tokens `first` … `stop` − 1 of a text, which stand next in the sequence; parent: the place they follow."""

    text: int
    first: int
    stop: int
    parent: int  # −1: none, the text begins here


@dataclass(frozen=True)
class Tree:
    """Some texts as one sequence of `size` places. paths: of each text, [m]: the place of each of its tokens."""

    branches: list[Branch] = field(default_factory=list)
    paths: dict[int, list[int]] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """How many tokens the sequence has."""
        return sum(branch.stop - branch.first for branch in self.branches)

    def positions(self) -> Tensor:
        """Where each token stands in its own texts, int64 [size]."""
        return torch.cat([torch.arange(branch.first, branch.stop) for branch in self.branches])

    def sees(self) -> Tensor:
        """What each place attends to, bool [size, size]: itself and the tokens before it in its own texts."""
        size = self.size
        seen, start = torch.zeros(size, size, dtype=torch.bool), 0
        for branch in self.branches:
            stop = start + branch.stop - branch.first
            if branch.parent >= 0:
                seen[start:stop] = seen[branch.parent]
            seen[start:stop, start:stop] = torch.ones(stop - start, stop - start).tril() > 0
            start = stop
        return seen


def plan(texts: Sequence[list[int]], width: int) -> list[Tree]:
    """Trees that hold every text (its token ids) once, of at most `width` places where a text is no longer.

    In the order of their ids, a text has the longest common beginning with its neighbour, so that one pass over
    the sorted texts finds all there is to share.
    """
    trees: list[Tree] = []
    before: Sequence[int] = ()
    size, path = 0, [0]
    for text in sorted(range(len(texts)), key=lambda i: texts[i]):
        ids = texts[text]
        shared = _common(before, ids)
        if not trees or size + len(ids) - shared > width:
            trees.append(Tree())
            size, path, shared = 0, [], 0
        tree, new = trees[-1], len(ids) - shared
        if new:
            tree.branches.append(Branch(text, shared, len(ids), path[shared - 1] if shared else -1))
        path = [*path[:shared], *range(size, size + new)]
        tree.paths[text] = path
        size, before = size + new, ids
    return trees


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    """How many of the first tokens are the same."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
