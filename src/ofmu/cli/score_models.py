"""`ofmu score` of a model: wmdp, mmlu, probes, muse. Heavy modules are imported when a command runs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from ofmu.cli.options import DATA, MODEL, OUTPUT, Machine, RetrainModel
from ofmu.errors import UserError

if TYPE_CHECKING:
    from ofmu.data.choices import ChoiceSet

Measured = Annotated[
    str,
    Parameter(
        group=MODEL, help="Model to measure: a directory (also the OUT of unlearn), package:NAME or a hub id."
    ),
]
Original = Annotated[
    str | None,
    Parameter(group=MODEL, help="The model before unlearning, to compare with question by question."),
]
Folder = Annotated[
    str | None, Parameter(group=DATA, help="Directory or hub id of the data. Default: $OFMU_DATA_DIR.")
]
Limit = Annotated[int | None, Parameter(group=DATA, help="Ask so many questions at most, evenly spread.")]


def _here(load: Callable[[], ChoiceSet], data: str | None) -> ChoiceSet:
    """A set of questions; the error for data that are not here also says how to name another place."""
    try:
        return load()
    except UserError as error:
        if data is not None:
            raise UserError(f"--data: {error}") from None
        raise UserError(f"{error}; or give --data, a directory or a hub id") from None


def wmdp(
    *,
    model: Measured,
    original: Original = None,
    part: Annotated[Literal["bio", "cyber", "both"], Parameter(group=DATA, help="Which questions.")] = "both",
    data: Folder = None,
    limit: Limit = None,
    json: Machine = False,
) -> int:
    """Accuracy on WMDP, knowledge that helps to do harm: lower is better, .25 is chance. Needs ofmu[lmeval].

    A choice's score is the log-likelihood of its letter after the standard prompt, as lm-eval computes it.
    """
    from ofmu.cli.knowledge import score_choices
    from ofmu.data.choices import WMDP_TOPICS, load_wmdp

    parts = list(WMDP_TOPICS) if part == "both" else [part]
    return score_choices(
        [_here(partial(load_wmdp, name, data), data) for name in parts], model, original, 0, limit, json
    )


def mmlu(
    *,
    model: Measured,
    original: Original = None,
    shots: Annotated[int, Parameter(group=DATA, help="Answered examples before each question, 0 to 5.")] = 0,
    data: Folder = None,
    limit: Limit = None,
    json: Machine = False,
) -> int:
    """Accuracy on MMLU, general knowledge: higher is better, .25 is chance. Needs ofmu[lmeval].

    With --original also the damage: points of accuracy lost, paired by question, with its interval.
    """
    from ofmu.cli.knowledge import score_choices
    from ofmu.data.choices import load_mmlu

    return score_choices([_here(partial(load_mmlu, data), data)], model, original, shots, limit, json)


def probes(
    *,
    model: Measured,
    original: Original = None,
    retrain: RetrainModel = None,
    people: Annotated[
        int | None,
        Parameter(group=DATA, help="Seed of the fictitious people that the model learned (ofmu.data.people)."),
    ] = None,
    forget: Annotated[int, Parameter(group=DATA, help="With --people: so many of them were forgotten.")] = 2,
    retain: Annotated[int, Parameter(group=DATA, help="With --people: so many were kept.")] = 6,
    questions: Annotated[int, Parameter(group=DATA, help="With --people: questions about each.")] = 20,
    tofu: Annotated[
        str | None, Parameter(group=DATA, help="Instead of --people: a forget set of TOFU, such as forget01.")
    ] = None,
    data: Folder = None,
    limit: Limit = None,
    rouge: Annotated[
        bool, Parameter(group=OUTPUT, help="Also let the model answer, and compare the words.", negative="")
    ] = False,
    json: Machine = False,
) -> int:
    """Ask for forgotten facts in other ways: paraphrased, multi-hop, in other languages, in reverse.

    Per kind: probability of the answers, truth ratio; with --retrain forget quality and its variance over kinds;
    with --original the loss of utility on kept facts. TOFU has paraphrased questions only. Give the counts
    with which people(SEED, forget=…, retain=…, questions=…) of ofmu.data.people made them.
    """
    from ofmu.cli.probing import People, score_probes

    chosen = None if people is None else People(people, forget, retain, questions)
    return score_probes(model, original, retrain, chosen, tofu, data, limit, rouge, json)


def muse(
    *,
    model: Measured,
    data: Annotated[
        str, Parameter(group=DATA, help="Directory in MUSE's hub layout, or muse-bench/MUSE-News or MUSE-Books.")
    ],
    retrain: RetrainModel = None,
    scal: Annotated[
        list[str] | None,
        Parameter(group=MODEL, help="Models after growing requests, in order (give it once for each)."),
    ] = None,
    sust: Annotated[
        list[str] | None,
        Parameter(group=MODEL, help="Models after one request after another, in order (give it once for each)."),
    ] = None,
    max_length: Annotated[int, Parameter(group=DATA, help="Tokens of a text that the attack sees.")] = 2048,
    limit: Limit = None,
    json: Machine = False,
) -> int:
    """MUSE: verbatim and knowledge memorisation, utility; with --retrain privacy leakage.

    With --scal or --sust also the utility after each request, and what it lost from the first to the last.
    """
    from ofmu.cli.muse import score_muse

    return score_muse(model, data, retrain, {"scal": scal or [], "sust": sust or []}, max_length, limit, json)
