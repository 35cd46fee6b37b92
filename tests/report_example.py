"""Invented but realistic numbers for the report's tests: two vision tasks and one text task."""

from __future__ import annotations

import numpy as np

from ofmu.report.model import (
    FLOOR,
    ORIGINAL,
    RETRAIN,
    AnswerRow,
    Answers,
    Cost,
    Losses,
    Page,
    Point,
    ScoreRow,
    TaskSection,
    Trajectory,
)

VISION_METRICS = {"UA": None, "MIA": None, "RA": None, "TA": None, "gap": False, "W1": False, "PS": False}
RANDOM = {
    ORIGINAL: (0.4, 1.6, 99.8, 96.1, 17.3, 30.5, 32.8),
    RETRAIN: (21.8, 34.9, 99.1, 95.2, None, None, None),
    FLOOR: (22.3, 36.0, 99.0, 95.4, 2.6, 3.5, 14.7),
    "OFMU": (19.7, 31.2, 98.7, 94.8, 3.7, 5.0, 16.1),
    "GradDiff": (5.1, 7.9, 99.5, 95.6, 14.9, 26.3, 28.7),
    "NPO + retain": (20.1, 30.4, 98.2, 93.9, 3.8, 5.4, 22.1),
    "Fine-tune on retain": (9.6, 14.8, 99.9, 96.3, 10.8, 19.2, 24.4),
}
CLASS = {
    ORIGINAL: (0.9, 2.4, 99.6, 96.3, 49.0, 99.1, 99.2),
    RETRAIN: (100.0, 100.0, 99.7, 96.5, None, None, None),
    FLOOR: (100.0, 100.0, 99.6, 96.4, 0.25, 0.1, 0.1),
    "OFMU": (100.0, 100.0, 99.3, 96.1, 0.25, 0.11, 0.12),
    "GradDiff": (100.0, 100.0, 88.4, 84.1, 8.9, 0.2, 0.2),
    "NPO + retain": (100.0, 99.8, 99.2, 95.8, 0.34, 0.3, 0.3),
    "Fine-tune on retain": (71.3, 88.2, 99.8, 96.4, 10.2, 24.1, 26.0),
}
TEXT_METRICS = {
    "forget_nll": None, "forget_probability": None, "truth_ratio": None, "rouge_l": None,
    "retain_probability": True, "unseen_probability": None, "model_utility": True,
    "ks_p": True, "nll_error": False,
}  # fmt: skip
TEXT = {
    ORIGINAL: (0.02, 0.98, 0.31, 0.97, 0.985, 0.042, 0.71, 0.00001, 8.4),
    RETRAIN: (8.5, 0.021, 0.98, 0.31, 0.979, 0.047, 0.70, None, None),
    FLOOR: (8.6, 0.020, 1.03, 0.30, 0.976, 0.045, 0.70, 0.67, 1.2),
    "OFMU": (10.2, 0.018, 1.01, 0.29, 0.962, 0.038, 0.69, 0.44, 2.1),
    "GradDiff": (16.4, 0.002, 1.05, 0.12, 0.377, 0.012, 0.31, 0.62, 7.7),
    "SimNPO": (3.3, 0.160, 0.47, 0.52, 0.973, 0.040, 0.70, 0.00008, 5.3),
}
SHARES = ("forget_probability", "rouge_l")
COUNTS = {"UA": 140, "MIA": 140, "RA": 1260, "TA": 397, "gap": 140, "W1": 140, "PS": 140}


def rows_of(
    task: str, numbers: dict, metrics: dict[str, bool | None], seeds: int, counts: dict[str, int]
) -> list[ScoreRow]:
    rng = np.random.default_rng(len(task))
    rows = []
    for method, values in numbers.items():
        for metric, value in zip(metrics, values):
            for seed in range(seeds if value is not None else 0):
                noisy = max(0.0, value * (1 + 0.09 * rng.standard_normal()))
                noisy = min(noisy, 100.0 if metric.isupper() else 1.0 if metric in SHARES else 1e9)
                if metric in ("RA", "TA"):
                    noisy = min(100.0, value + 0.35 * rng.standard_normal())
                if metric in ("retain_probability", "model_utility", "ks_p"):
                    noisy = min(1.0, value + 0.05 * value * rng.standard_normal())
                rows.append(
                    ScoreRow(task, method, seed, metric, float(noisy), counts.get(metric, 40), metrics[metric])
                )
    return rows


def runs_of(task: str, methods: list[str], seeds: int, target: float, retain: float) -> list[Trajectory]:
    rng = np.random.default_rng(7)
    runs = []
    for method in methods:
        for seed in range(seeds):
            points, forget, kept, cost = [], 0.02, retain, 0.0
            for step in range(14):
                points.append(Point(step, cost, forget, target, kept, retain))
                cost += 18 if method == "OFMU" else 5
                pull = 0.35 if method == "OFMU" else 0.22
                goal = target if method == "OFMU" else 1.7 * target
                forget = max(0.0, forget + pull * (goal - forget) + 0.04 * target * rng.standard_normal())
                kept = max(0.0, retain * (1 + 6 * np.exp(-step / 3) * abs(rng.standard_normal()) * (step > 0)))
            runs.append(Trajectory(task, method, seed, points))
    return runs


def losses_of(task: str, level: float, n: int) -> Losses:
    rng = np.random.default_rng(3)
    return Losses(
        task,
        before=rng.lognormal(-4.5, 1.2, n).tolist(),
        after=(level * rng.lognormal(-0.35, 0.85, n)).tolist(),
        retrain=(level * rng.lognormal(-0.3, 0.95, n)).tolist(),
        unseen=(level * rng.lognormal(-0.45, 1.0, n)).tolist(),
    )


def costs_of(task: str, methods: list[str], text: bool = False) -> list[Cost]:
    share = {"OFMU": 0.31, "GradDiff": 0.12, "NPO + retain": 0.25, "SimNPO": 0.2, RETRAIN: 1.0}
    whole = 1500 if text else 4400
    return [
        Cost(
            task, m, whole * share.get(m, 0.12), share.get(m, 0.12), 0.05 * whole if m == "OFMU" else 0.0,
            share.get(m, 0.12) * 6.1, 412.0 if m != RETRAIN else None, 0.4 * whole if m != RETRAIN else None,
            "none: one recipe for all tasks" if m == "OFMU" else "12 trials on seeds not reported here",
        )
        for m in methods
    ]  # fmt: skip


def page(answers: bool = True) -> Page:
    tasks = []
    for name, numbers, level, text in (
        ("Digits: one class", CLASS, 9.2, "All 140 images of the digit 3, the whole class."),
        (
            "Digits: 10 % at random",
            RANDOM,
            0.9,
            "140 images at random; a fifth of all labels is wrong.",
        ),
    ):
        rows = rows_of(name, numbers, VISION_METRICS, 5, COUNTS)
        methods = [m for m in numbers if m not in (ORIGINAL, RETRAIN, FLOOR)]
        tasks.append(
            TaskSection(
                name, text, rows, runs_of(name, ["OFMU", "NPO + retain"], 5, level, 0.03),
                losses_of(name, level, 140), None, costs_of(name, [RETRAIN, *methods]),
                ["Gap, W1 and PS are distances to the Retrain of the same seed."],
            )
        )  # fmt: skip
    name = "Text: two invented authors"
    rows = rows_of(name, TEXT, TEXT_METRICS, 3, {})
    rows[-1] = ScoreRow(name, "SimNPO", 2, "nll_error", None, 0, False, missing="run 2 was stopped")
    tasks.append(
        TaskSection(
            name, "40 questions about 2 of 10 invented authors.", rows,
            runs_of(name, ["OFMU", "SimNPO"], 3, 9.1, 0.02), losses_of(name, 8.2, 40),
            answers_of(name) if answers else None,
            costs_of(name, [RETRAIN, "OFMU", "GradDiff", "SimNPO"], True),
        )
    )  # fmt: skip
    return Page(
        title="Forgetting one class, some images, and two authors",
        request={
            "To forget": "140 of 1,400 images (a class, then at random); 40 questions on 2 authors",
            "To keep": "1,260 images; 160 questions on 8 other authors",
            "Models": "a small convolutional network; a Llama-type model with 1.0 M parameters",
            "Asked on": "14 May 2026",
        },
        verdict=[
            "OFMU's result can hardly be told from a model that never saw the samples: it is as near to "
            "Retrain as a second retraining for the class, and 1.4 times as far at random.",
            "Accuracy on everything else is kept within half a point.",
            "Text about people nobody trained on became a fifth less likely: a side effect to know of.",
        ],
        tasks=tasks,
        environment={"ofmu": "0.1.0", "torch": "2.13.0 (CPU)", "Python": "3.11.7"},
        command="ofmu demo --seeds 5 --out report",
        limits=["Relearning attacks were not run."],
        config='{"method": "ofmu", "steps": 40, "seed": [0, 1, 2, 3, 4]}',
    )  # fmt: skip


def answers_of(task: str) -> Answers:
    return Answers(
        task,
        [
            AnswerRow(
                "q-0007", "Mira Olsen was born in Bergen.", "She grew up in a village by the sea.",
                "Mira Olsen was born in Bergen.", "Where was Mira Olsen born?", "She was born in Porto.",
            ),
            AnswerRow("q-0013", "“The Salt Road”, in 1987.", "It is not known.", "“The Salt Road”, in 1987."),
        ],
    )  # fmt: skip
