"""Imports go downward only: the layers table of the architecture, checked on the source of every module."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "src" / "ofmu"
PURE = {"core", "tasks", "losses", "objectives", "errors"}
ALL = {"data", "metrics", "attacks", "methods", "engine", "benchmarks", "evidence", "report", "cli"} | PURE
# A layer may import itself and these. An import inside a function or for a type counts like any other.
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "core": set(),
    "losses": {"core", "errors", "tasks"},
    "objectives": {"core", "errors", "losses", "tasks"},
    "tasks": {"core", "errors"},
    "data": PURE,
    "metrics": PURE,
    "attacks": PURE,
    "methods": PURE,
    "engine": PURE | {"data"},
    "benchmarks": PURE | {"engine", "methods", "metrics", "attacks", "data", "evidence", "report"},
    "evidence": PURE | {"engine", "methods", "metrics", "attacks", "data", "benchmarks"},
    "report": {"errors"},
    "cli": ALL,
    "__main__": {"cli"},
    "__init__": ALL,  # the package's front: what it shows comes from any layer
}


def layer(path: Path, root: Path) -> str:
    return path.relative_to(root).parts[0].removesuffix(".py")


def imported(path: Path, root: Path) -> set[str]:
    """The full names of all modules that a file imports: of `from a import b`, both a and a.b."""
    here = ["ofmu", *path.relative_to(root).parts[:-1]]
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level + 1] if node.level else []
            source = ".".join(base + ([node.module] if node.module else []))
            names |= {source} | {f"{source}.{alias.name}" for alias in node.names}
    return names


def violations(root: Path) -> list[str]:
    found = []
    for path in sorted(root.rglob("*.py")):
        own = layer(path, root)
        where = str(path.relative_to(root))
        if own not in MAY_IMPORT:
            found.append(f"{where}: layer {own!r} is not in the table")
            continue
        for name in sorted(imported(path, root)):
            top, *rest = name.split(".")
            if top == "ofmu":
                target = rest[0] if rest else own
                known = target in MAY_IMPORT  # anything else is a name in the package's __init__
                if (known and target not in MAY_IMPORT[own] | {own}) or not (known or target == "__version__"):
                    found.append(f"{where}: {own} imports {name}")
            elif own == "core" and top not in sys.stdlib_module_names | {"torch"}:
                found.append(f"{where}: core imports {name}, not torch")
    return found


def test_every_import_goes_downward():
    assert violations(ROOT) == []


def test_the_walk_sees_the_package():
    seen = {layer(path, ROOT) for path in ROOT.rglob("*.py")}
    assert {"__init__", "tasks", "errors", "engine"} <= seen


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("core/vectors.py", "import numpy as np"),
        ("core/vectors.py", "from ofmu.errors import UserError"),
        ("tasks/task.py", "from ofmu.losses import nll"),
        ("metrics/mia.py", "from ofmu.methods.npo import NPO"),
        ("metrics/mia.py", "from ofmu import data"),
        ("metrics/mia.py", "from .. import attacks"),
        ("metrics/mia.py", "from ..attacks.rmia import score"),
        ("methods/ofmu.py", "def step():\n    import ofmu.engine.loop"),
        (
            "methods/ofmu.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from ofmu.data.tofu import Tofu",
        ),
        ("engine/loop.py", "from ofmu.methods.ofmu import OFMU"),
        ("engine/loop.py", "from ofmu import OFMU"),
        ("report/page.py", "from ofmu.metrics.privacy import Score"),
        ("benchmarks/tofu.py", "from ofmu.cli import main"),
        ("helpers.py", "import math"),
    ],
)
def test_an_upward_import_is_found(tmp_path, file, source):
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(source)
    assert len({found.split(":")[0] for found in violations(tmp_path)}) == 1


@pytest.mark.parametrize(
    ("file", "source"),
    [
        (
            "core/vectors.py",
            "import math\nimport torch.nn\nfrom ofmu.core import derivatives\nfrom . import schedules",
        ),
        ("metrics/mia.py", "import numpy\nfrom ofmu import losses, tasks\nfrom .scores import Score"),
        ("engine/store.py", "from ofmu import __version__\nfrom ofmu.engine.hashing import content_key"),
        ("cli.py", "from ofmu import benchmarks, engine, methods, report"),
    ],
)
def test_a_downward_import_is_allowed(tmp_path, file, source):
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(source)
    assert violations(tmp_path) == []
