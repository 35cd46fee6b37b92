"""What a user's "model" argument points at, decided by names and JSON alone; nothing is executed."""

from __future__ import annotations

import difflib
import importlib.util
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ofmu.errors import UserError

Form = Literal["network", "transformers", "adapter", "gguf", "hub"]
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")
PACKAGE = "package:"
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
EXPECTED = (
    "config.json with model.safetensors (an ofmu network or a transformers model), adapter_config.json with "
    "adapter_model.safetensors (an adapter), or one .gguf file"
)


@dataclass(frozen=True)
class Location:
    """Where a model lies and in which form; path is a directory, a .gguf file, or a hub id."""

    form: Form
    path: str


def locate(source: str) -> Location:
    """The form of the model that `source` names: a directory, a .gguf file, "package:NAME", or a hub id.

    package:NAME is the only .gguf file inside the installed Python package NAME, which is not imported.
    Raises UserError for a path that does not exist, a directory that holds no model, and pickles.
    """
    if source.startswith(PACKAGE):
        return Location("gguf", str(_packaged(source)))
    path = Path(source).expanduser()
    if path.is_dir():
        return _directory(path)
    if path.suffix.lower() in PICKLES:
        raise _pickle(path, [path.name])
    if path.is_file():
        return _file(path)
    # an id that looks like a path below an existing directory is a mistyped path, not a question for the hub
    below = "/" in source and path.parent.is_dir()
    if path.suffix == ".gguf" or below or not HUB_ID.fullmatch(source):
        raise UserError(f"model: {source} does not exist{hint(path)}; expected a directory with {EXPECTED}")
    return Location("hub", source)


def hint(path: Path) -> str:
    """' (did you mean …?)' with the most similar name beside a missing path; empty if there is none."""
    beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
    close = difflib.get_close_matches(path.name, beside, n=1)
    return f" (did you mean {path.parent / close[0]}?)" if close else ""


def read_json(path: Path) -> dict[str, object]:
    """A JSON object from a file; raises UserError if it is not one."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"model: {path} is not valid JSON ({error})") from error
    if not isinstance(value, dict):
        raise UserError(f"model: {path} holds a {type(value).__name__}, expected a JSON object")
    return value


def _directory(path: Path) -> Location:
    found = sorted(p.name for p in path.iterdir())
    if "adapter_config.json" in found:
        _weights(path, found, "adapter_model.safetensors", found.count("adapter_model.safetensors"))
        return Location("adapter", str(path))
    if "config.json" in found:
        _weights(path, found, "model.safetensors", sum(name.endswith(".safetensors") for name in found))
        ours = "ofmu_network" in read_json(path / "config.json")
        return Location("network" if ours else "transformers", str(path))
    ggufs = [name for name in found if name.endswith(".gguf")]
    if len(ggufs) == 1:
        return Location("gguf", str(path / ggufs[0]))
    if ggufs:
        raise UserError(f"model: {path} holds {len(ggufs)} .gguf files; name one: {', '.join(ggufs)}")
    if any(name.endswith(PICKLES) for name in found):
        raise _pickle(path, found)
    raise UserError(f"model: {path} is not a model directory: found {_listed(found)}; expected {EXPECTED}")


def _weights(path: Path, found: list[str], expected: str, count: int) -> None:
    if count:
        return
    if any(name.endswith(PICKLES) for name in found):
        raise _pickle(path, found)
    raise UserError(f"model: {path} has no weights: found {_listed(found)}; expected {expected}")


def _file(path: Path) -> Location:
    if path.suffix == ".gguf":
        return Location("gguf", str(path))
    raise UserError(f"model: {path} is a file; give its directory, which should hold {EXPECTED}")


def _pickle(path: Path, found: list[str]) -> UserError:
    names = ", ".join(name for name in found if name.endswith(PICKLES))
    return UserError(
        f"model: {path} holds pickled weights ({names}), and reading a pickle executes any code in it. "
        "Expected .safetensors: in a place that you trust, load the model and save it with "
        "save_pretrained or safetensors.torch.save_file, then give the new directory"
    )


def _packaged(source: str) -> Path:
    name = source.removeprefix(PACKAGE)
    spec = importlib.util.find_spec(name) if name.isidentifier() else None
    if spec is None:
        raise UserError(f"model: {source}: no Python package {name!r} is installed; install it, or give a path")
    roots = [Path(root) for root in spec.submodule_search_locations or ()]
    files = sorted(file for root in roots for file in root.rglob("*.gguf"))
    if len(files) != 1:
        raise UserError(f"model: {source}: found {len(files)} .gguf files in the package, expected exactly one")
    return files[0]


def _listed(names: list[str], most: int = 8) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more if names else "nothing"
