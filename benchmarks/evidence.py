"""What attacks find of the benchmarks' models (methods × attacks, evidence.md), and controls of the attacks.

python benchmarks/evidence.py --on fashion [--methods ofmu …] [--trials 10 --tuning DIR] [--gold 5] [--shadows 64]
python benchmarks/evidence.py --on tofu [--split authors:198-199] [--trials 0 | --settings tofu.json] [--methods …]
python benchmarks/evidence.py --controls [images] [texts] [--seeds 20]

Models, shadows and rows are kept in --store ($OFMU_STORE): what was stopped goes on from there.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import torch

from ofmu.benchmarks.attacked import pictures, texts
from ofmu.benchmarks.attacked.controls import kept
from ofmu.benchmarks.attacked.pages import Controls, controls_page, section, write_sections
from ofmu.benchmarks.attacked.rows import Row
from ofmu.benchmarks.attacked.tofu import GROUPS, tofu_rows
from ofmu.benchmarks.attacked.vision import GROUPS as IMAGE_GROUPS
from ofmu.benchmarks.attacked.vision import Asked, vision_rows
from ofmu.benchmarks.image_choices import parse_choices
from ofmu.benchmarks.study import environment
from ofmu.benchmarks.tofu import method_names
from ofmu.benchmarks.tofu_choice import Choice, smoke_setting, tofu_setting
from ofmu.benchmarks.tofu_setting import Setting
from ofmu.benchmarks.tofu_space import Chosen
from ofmu.benchmarks.tofu_tuning import chosen, recorded
from ofmu.benchmarks.vision.bench import task_name, workshop
from ofmu.benchmarks.vision.setting import setting_of, smallest
from ofmu.benchmarks.vision.tuned import tuned_choices
from ofmu.data.forget_request import parse_forget
from ofmu.engine.store import Store, default_root
from ofmu.errors import UserError
from ofmu.evidence.finding import Finding
from ofmu.evidence.outcome import power_words
from ofmu.evidence.plan import ATTACKS
from ofmu.report.scores import write_text
from ofmu.tasks import Kind

RESULTS = Path(__file__).parent / "results"
METHODS = {
    "vision": ("ofmu", "npo", "graddiff", "finetune", "reinit"),
    "tofu": ("ofmu", "npo", "simnpo", "graddiff"),
}


def say(text: str) -> None:
    """One line about what is going on."""
    print(text, file=sys.stderr, flush=True)


def vision(options: argparse.Namespace, store: Store) -> tuple[str, list[str], dict[str, list[Row]]]:
    """An image benchmark: title, what it is, rows by model."""
    setting = setting_of(options.on, "cpu", methods=options.methods or METHODS["vision"])
    setting = setting if options.budget is None else replace(setting, share=options.budget)
    asked = Asked(options.gold, options.shadows, options.jobs, tuple(options.attacks) or IMAGE_GROUPS)
    if options.smoke:
        setting, asked = smallest(setting), Asked(2, 8, 1, _all_of("image"))
    request = parse_forget(options.forget)
    shop, task = workshop(setting, request, store, say), task_name(setting, request)
    trials, folder = 0 if options.smoke else options.trials, options.tuning or store.root / "tuning"
    tuned = tuned_choices(shop, request, task, parse_choices(setting.methods), trials, folder, range(REPORTED))
    found = vision_rows(shop, request, task, options.seed, [one.choice for one in tuned], asked)
    settings = f"the best of {trials} settings on a development forget set" if trials > 1 else "its preset"
    shadows = f"U-LiRA with {asked.shadows} shadows a method" if asked.shadows else "without U-LiRA"
    about = (
        f"{setting.data}, {setting.train} images, {setting.model}; {request} is forgotten. Every method may spend "
        f"{setting.share:.0%} of one retraining and has {settings}; {asked.gold} retrained models; "
        f"{shadows}. Unseen rows: the test set, which nothing was made from. One seed."
        f"{_unasked('image', asked.groups)}"
    )
    return task, [about], found


def tofu(options: argparse.Namespace, store: Store) -> tuple[str, list[str], dict[str, list[Row]]]:
    """The TOFU benchmark: title, what it is, rows by model."""
    methods = method_names(",".join(options.methods or METHODS["tofu"]))
    if options.smoke:
        setting, elsewhere = smoke_setting()
        gold, groups, trials = 2, _all_of("text"), 0
    else:
        setting, elsewhere = tofu_setting(Choice(options.split, options.model), store)
        gold, groups, trials = options.gold, tuple(options.attacks) or GROUPS, options.trials
    development = setting.on(elsewhere)
    found = tofu_rows(
        setting,
        development,
        {name: _chosen(options.settings, trials, setting, development, name, store) for name in methods},
        options.seed,
        gold,
        groups,
        store,
        say,
    )
    unseen = power_words(len(setting.groups.forget), len(setting.groups.unseen))
    about = (
        f"{setting.about} {gold} retrained models. Unseen rows: people that nothing was made from. Questions "
        "about one person are not independent, and whole people differ: ± is too small for that. One seed."
        f"{_relearnt(setting) if 'relearn' in groups else ''}{_unasked('text', groups)}"
    )
    return setting.task, [about, "\n".join(f"- {line}" for line in unseen)], found


def _relearnt(setting: Setting) -> str:
    """What relearning trains, where that is not all."""
    if not setting.through_top or setting.halves.cut is None:
        return ""
    return f" Relearning trains what the benchmark trains ({setting.spec}) and the output matrix."


def _chosen(file: Path | None, trials: int, setting: Setting, moved: Setting, name: str, store: Store) -> Chosen:
    """A method's settings: as the benchmark's results say, or from trials on the development setting `moved`."""
    preset = setting.method(name)
    if file is not None:
        return recorded(file, name, preset)
    return chosen(moved, name, preset, trials, store.root / "tuning", store)


REPORTED = 5  # seeds of the benchmark's tables: their classes are not tuned on
CONTROLS = {"images": "evidence-controls.md", "texts": "evidence-controls-texts.md"}
POSITIVE = ("memorised", "too well", "hidden", "halved")


def _all_of(kind: Kind) -> tuple[str, ...]:
    """Every group of attacks that serves this kind of model."""
    return tuple(name for name, attack in ATTACKS.items() if kind in attack.kinds)


def _unasked(kind: Kind, asked: Sequence[str]) -> str:
    """The groups of attacks that serve this kind of model and were not asked for."""
    left = [name for name in _all_of(kind) if name not in asked]
    return f" Not asked for: {', '.join(left)}." if left else ""


def controls(options: argparse.Namespace, store: Store, command: str, made: str) -> None:
    """Positive controls of every attack on images and on texts, and false alarms over seeds; a page for each."""
    names, seeds = (("hidden",), 2) if options.smoke else (POSITIVE, options.seeds)
    root = store.root
    for kind in options.controls or CONTROLS:
        positive, negative = {}, []
        for name in names:
            say(f"{kind}: {name}")
            positive[name] = kept(root, f"{kind}: {name}", 0, partial(_positive, kind, name, root))
        for seed in range(seeds):
            say(f"{kind}: retrained models, seed {seed}")
            negative.append(kept(root, f"{kind}: retrained", seed, partial(_negative, kind, seed, root)))
        page = controls_page(command, made, pictures.GOLD, {kind: Controls(positive, negative)})
        write_text(options.out / CONTROLS[kind], page)


def _positive(kind: str, name: str, store: Path) -> list[Finding]:
    return pictures.positive(store, name) if kind == "images" else texts.positive(store, name)


def _negative(kind: str, seed: int, store: Path) -> list[Finding]:
    return pictures.retrained(seed, store) if kind == "images" else texts.retrained(seed, store)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--on", default="fashion", choices=("digits", "fashion", "cifar10", "cifar100", "tofu"))
    parser.add_argument(
        "--controls", nargs="*", choices=tuple(CONTROLS), help="controls of the attacks instead; default: of both"
    )
    parser.add_argument("--seeds", type=int, default=20, help="of the negative control")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--forget", default="random:0.1", help="images: what is forgotten")
    parser.add_argument("--methods", nargs="+", default=[])
    parser.add_argument("--budget", type=float, help="images: share of a retraining; default: the benchmark's")
    parser.add_argument("--attacks", nargs="+", choices=tuple(ATTACKS), default=[], help="groups; default: all")
    parser.add_argument("--gold", type=int, default=5, help="retrained models to compare with")
    parser.add_argument(
        "--shadows", type=int, default=64, help="images: shadows of U-LiRA a method; 0: without it"
    )
    parser.add_argument("--jobs", type=int, default=1, help="processes that train shadows")
    parser.add_argument("--split", default=None)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--trials", type=int, default=0, help="those of the benchmark's run; 0: presets")
    parser.add_argument("--tuning", type=Path, help="images: the folder of that run's trials, OUT/<name>/tuning")
    parser.add_argument("--settings", type=Path, help="tofu: the results of that run instead, whose choices hold")
    parser.add_argument("--store", type=Path, default=None)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--smoke", action="store_true", help="the smallest form: no number in it means anything")
    options = parser.parse_args()
    if options.smoke and options.out == RESULTS:
        parser.error("--smoke needs --out: it would overwrite the results that are kept with the code")
    if options.settings is not None and options.on != "tofu":
        parser.error(f"--settings: found with --on {options.on}; it reads results of `ofmu bench tofu` alone")
    if options.budget is not None and not 0 < options.budget <= 1:
        parser.error(f"--budget: found {options.budget:g}, expected a share of a retraining, over 0 and up to 1")
    if options.budget is not None and options.on == "tofu":
        parser.error("--budget: images alone; texts have that of their benchmark")
    torch.set_num_threads(1)
    store = Store(options.store or default_root(os.environ))
    command = " ".join(["python benchmarks/evidence.py", *_shown(sys.argv[1:])])
    versions = "; ".join(f"{key} {value}" for key, value in environment("one thread").items())
    made = f"{datetime.now(UTC).date().isoformat()}; {versions}."
    if options.controls is not None:
        controls(options, store, command, made)
        return
    try:
        title, about, found = (tofu if options.on == "tofu" else vision)(options, store)
    except UserError as error:
        parser.error(str(error))
    if options.attacks:  # a section of its own beside that of other groups
        title = f"{title}: {', '.join(options.attacks)}"
    name = " ".join([options.on, *options.attacks])
    say(f"wrote {write_sections(options.out, name, section(title, command, made, about, found))}")


def _shown(words: list[str]) -> list[str]:
    """The command without this machine's folders."""
    hidden = {
        at + step for at, word in enumerate(words) for step in (0, 1) if word in ("--store", "--out", "--tuning")
    }
    return [word for at, word in enumerate(words) if at not in hidden]


if __name__ == "__main__":
    main()
