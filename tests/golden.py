"""Made-up logs, predictions and texts on which the public scripts ran once; test_golden.py holds what they said.

Drawn with `random`, whose stream is the same on every machine and version; six digits, as a log might hold.
"""

from __future__ import annotations

import random
from typing import Any

FILES = {  # set -> (file of the aggregated log, wrong answers a question)
    "retain": ("eval_log.json", 5),
    "real_authors": ("eval_real_author_wo_options.json", 3),
    "world_facts": ("eval_real_world_wo_options.json", 3),
    "forget": ("eval_log_forget.json", 5),
}
VOCABULARY = 7
SAMPLES = [  # (tokens of the prompt, the answer's)
    (3, [2, 5, 1, 4, 6, 3, 0]),
    (2, [1, 1, 4, 2, 0]),
    (1, [6, 5, 3, 2, 2, 4, 1, 0]),
    (2, [3, 4, 2, 6, 0]),
]
WRONG_AT = (3, 3)  # in that sample the last token that the framework looks at is not said
TEXTS = ("alpha", "beta gamma", "a word", "running late", "the the", "Zürich", ".")  # of each token
SAID = [  # (a model's words, the true ones)
    ("she is running", "she is runs"),
    ("The author was born in Kuwait City in 1956.", "Basil Al-Kuwaiti was born in Kuwait City, Kuwait, in 1956."),
    ("one two and then much more", "one two"),
    ("", "something"),
]


def made_log(seed: int, questions: int = 12) -> dict[str, Any]:
    """An eval_log_aggregated.json with so many questions a set; losses in nats per token."""
    draw = random.Random(seed)

    def losses() -> dict[str, float]:
        return {str(i): round(draw.uniform(0.05, 3), 6) for i in range(questions)}

    log: dict[str, Any] = {}
    for name, (file, wrong) in FILES.items():
        correct = losses()
        log[file] = {
            "avg_gt_loss": correct,
            "avg_paraphrased_loss": losses() if name in ("retain", "forget") else dict(correct),
            "average_perturb_loss": {i: [round(draw.uniform(0.5, 4), 6) for _ in range(wrong)] for i in correct},
            "rougeL_recall": {i: round(draw.uniform(0.1, 1), 6) for i in correct},
        }
    return log


def made_logits(sample: int) -> list[list[float]]:
    """[m, VOCABULARY] that predict the sample's m answer tokens; most favour the true one."""
    draw = random.Random(100 + sample)
    rows = []
    for token in SAMPLES[sample][1]:
        row = [round(draw.gauss(0, 1.5), 6) for _ in range(VOCABULARY)]
        if draw.random() < 0.75:
            row[token] += 4
        if (sample, len(rows)) == WRONG_AT:
            row[token] = -5.0
        rows.append(row)
    return rows
