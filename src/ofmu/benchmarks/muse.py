"""MUSE: verbatim and knowledge memorisation, privacy leakage, utility, and how the utility bears more requests.

Source: Shi et al. 2024, arXiv 2407.06460, section 3, and its scripts: greedy continuations of at most 128 tokens
for verbatim memorisation, answers of at most 32 after answered examples for knowledge, Min-40% for the
leakage. Texts that fit into the encoder's length are attacked with their end token, which the scripts leave out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch.nn import Module

from ..data.encode import Encoder, TextSamples
from ..data.muse import Muse, Pairs
from ..metrics import Score, knowledge_rouge, mean_score, verbatim_rouge
from ..metrics._checks import Floats
from ..report.model import ScoreRow
from .answering import continued
from .auc import privleak_score
from .rows import score_row
from .token_pass import token_scores

CONTINUED, ANSWERED = 128, 32  # tokens
MIN_K = 0.4
STOPS = ("\n\n", "\nQuestion", "Question:")  # where an answer ends: the model goes on with a question of its own
NO_RETRAIN = "needs --retrain: the model trained without the forgotten texts"


@dataclass(frozen=True)
class MuseView:
    """One number a sample: ROUGE-L F1 of continuations and answers, [n] in [0, 1]; and what the attack sees.

    attacked: [n], unseen: [m]: Min-40% of D_f and of held-out text, in nats per token; high for members.
    """

    verbmem: Floats
    forget_knowledge: Floats
    retain_knowledge: Floats
    attacked: Floats
    unseen: Floats


def view_muse(
    model: Module, encoder: Encoder, muse: Muse, batch: int = 8, say: Callable[[str], None] = lambda _: None
) -> MuseView:
    """Continue, answer, and attack; prompts are plain text, as the benchmark's models are no chat models."""
    say("verbatim memorisation")
    verbmem = _verbatim(model, encoder, muse.verbmem, batch)
    say("knowledge memorisation")
    forget = _knowledge(model, encoder, muse.forget_qa, muse.forget_examples, batch)
    retain = _knowledge(model, encoder, muse.retain_qa, muse.retain_examples, batch)
    say("privacy leakage")
    found = [token_scores(model, TextSamples(part, encoder), MIN_K, 1) for part in (muse.forget, muse.holdout)]
    return MuseView(verbmem, forget, retain, found[0].min_k, found[1].min_k)


def muse_rows(task: str, method: str, seed: int, view: MuseView, retrain: MuseView | None) -> list[ScoreRow]:
    """VerbMem and KnowMem of D_f and KnowMem of D_r (the utility), all × 100, and PrivLeak in %."""
    scores = {
        "verbmem_forget": mean_score(100 * view.verbmem, "points", None),
        "knowmem_forget": mean_score(100 * view.forget_knowledge, "points", None),
        "knowmem_retain": mean_score(100 * view.retain_knowledge, "points", True),
        "privleak": _privacy(view, retrain),
    }
    return [score_row(task, method, seed, name, score) for name, score in scores.items()]


def request_rows(task: str, method: str, seed: int, views: Sequence[MuseView]) -> list[ScoreRow]:
    """Scalability or sustainability: the utility after each request, first to last, and what the last one took.

    utility_drop: 100 · mean (KnowMem of D_r after the first − after the last request), paired by question, in
    points; 0 is best. Raises ValueError for fewer than two models.
    """
    if len(views) < 2:
        raise ValueError(f"views: found {len(views)} models, expected one after each of at least two requests")
    rows = []
    for number, view in enumerate(views, 1):
        score = mean_score(100 * view.retain_knowledge, "points", True)
        rows.append(score_row(f"{task}, request {number}", method, seed, "knowmem_retain", score))
    drop = mean_score(100 * (views[0].retain_knowledge - views[-1].retain_knowledge), "points", False)
    return [*rows, score_row(task, method, seed, "utility_drop", drop)]


def _privacy(view: MuseView, retrain: MuseView | None) -> Score:
    if retrain is None:
        return Score(None, 0, missing=NO_RETRAIN, unit="%")
    try:
        return privleak_score((view.attacked, view.unseen), (retrain.attacked, retrain.unseen))
    except ValueError as error:
        return Score(None, 0, missing=str(error), unit="%")


def _verbatim(model: Module, encoder: Encoder, pairs: Pairs, batch: int) -> Floats:
    tokenizer = encoder.tokenizer
    said = _continued(model, tokenizer, [prompt for prompt, _ in pairs], CONTINUED, batch)
    true = [tokenizer(text)["input_ids"][:CONTINUED] for _, text in pairs]
    return verbatim_rouge(said, [tokenizer.decode(ids, skip_special_tokens=True) for ids in true])


def _knowledge(model: Module, encoder: Encoder, pairs: Pairs, examples: Pairs, batch: int) -> Floats:
    shown = "".join(f"Question: {question}\nAnswer: {answer}\n\n" for question, answer in examples)
    prompts = [f"{shown}Question: {question}\nAnswer: " for question, _ in pairs]
    said = _continued(model, encoder.tokenizer, prompts, ANSWERED, batch)
    return knowledge_rouge([answer_of(text) for text in said], [answer for _, answer in pairs])


def answer_of(text: str) -> str:
    """What comes before a model goes on with another question."""
    for stop in STOPS:
        text = text.split(stop)[0]
    return text


def _continued(model: Module, tokenizer: Any, prompts: Sequence[str], longest: int, batch: int) -> list[str]:
    """Greedy continuations; a prompt that leaves no room in the model's window loses its beginning."""
    config: Any = getattr(model, "config", None)
    window = getattr(config, "max_position_embeddings", None) or 1_000_000
    ids = [list(tokenizer(prompt)["input_ids"])[-max(1, window - longest) :] for prompt in prompts]
    return continued(model, tokenizer, ids, longest, batch)
