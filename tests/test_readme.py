"""What the README promises: its Python example runs as printed, its files and commands exist."""

from __future__ import annotations

import re
from pathlib import Path

from ofmu.cli.app import app
from ofmu.data.digits import digits
from ofmu.engine.networks import build
from ofmu.engine.training import Recipe, trained
from ofmu.losses import class_nll

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_python_example_forgets(capsys):
    (example,) = re.findall(r"```python\n(.*?)```", README, re.S)
    split = digits(0, forget="class")
    model = build("digits-cnn", {}, seed=0)
    trained(model, split.train, class_nll, Recipe(epochs=8, seed=0))
    names = {"model": model, "forget": split.forget, "retain": split.retain, "heldout": split.heldout}
    exec(compile(example, "README.md", "exec"), names)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].endswith("no forgotten label is predicted any more")
    assert (model(split.forget.pixels).argmax(1) == split.forget.labels).float().mean() < 0.05


def test_linked_files_exist():
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_command_of_the_readme_exists():
    named = set(re.findall(r"`?ofmu (train|unlearn|evaluate|compare|demo|bench)\b", README))
    assert named >= {"train", "unlearn", "evaluate", "compare", "bench"}
    for name in named:
        assert app[name] is not None


def test_every_make_target_of_the_readme_exists():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"^make ([a-z-]+)", README, re.M)):
        assert re.search(rf"^{target}:", makefile, re.M), target
