"""The evidence section of a page: what was asked of attackers, what was tested, and what was not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Tested:
    """One attack as a line of a table; all of it text that is shown as it is."""

    attack: str
    question: str
    verdict: str
    model: str
    retrain: str
    original: str
    p: str
    rates: str
    words: str
    caught: bool = False


@dataclass(frozen=True)
class State:
    """A state on the way of a run as a line of a table: what the gates said of it."""

    step: str
    missed: str
    excess: str
    retain_loss: str
    words: str
    kept: bool


@dataclass(frozen=True)
class EvidenceSection:
    """What attacks found. summary: two or three sentences; gates: one sentence each, with whether it held;
    before: what the numbers of rows can show at all; left_out: attack → why it was not run, or gave no answer;
    notes: assumptions. rule, history: by what, and from which states, the model was chosen; empty where it is a
    run's last. retrained: whether models that never saw the rows were asked too.
    """

    summary: Sequence[str]
    before: Sequence[str]
    tests: Sequence[Tested]
    left_out: Mapping[str, str]
    notes: Sequence[str] = ()
    gates: Sequence[tuple[bool, str]] = ()
    rule: str = ""
    history: Sequence[State] = ()
    retrained: bool = False
