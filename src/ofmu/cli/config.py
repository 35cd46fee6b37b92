"""All that reproduces a run, as plain data: what was asked for, what decided it, and where it ran."""

from __future__ import annotations

import platform
import shlex
from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any

import torch

from ofmu import __version__
from ofmu.cli.job import gradient
from ofmu.cli.options import UnlearnOptions
from ofmu.cli.places import another
from ofmu.cli.result import Result


def config_of(result: Result) -> dict[str, Any]:
    """All that reproduces the run, into another folder."""
    options = asdict(result.options)
    hidden = options["forget_where"] is not None and not options["show_forgotten"]
    if hidden:
        options["forget_where"], options["forget_ids"] = None, str(Path(options["out"]) / "forget_ids.txt")
    targets = result.prepared.task.targets
    return {
        "command": command_of(options | {"out": another(options["out"])}),
        "arguments": options,
        "method": plain(result.job.method),
        "budget_gradients": result.job.budget / gradient(result.job.kind),
        "batches": [result.prepared.task.forget_batch, result.prepared.task.retain_batch],
        "targets": None if targets is None else targets.source,
        "encoder": None if result.request.encoder is None else result.request.encoder.settings(),
        "recipe": None if result.provenance is None else asdict(result.provenance.recipe),
        "fingerprints": {name: value for name, value in result.job.identity.items() if name.startswith("the ")},
        "environment": environment(),
    }


def command_of(options: Mapping[str, Any]) -> str:
    """The command line that these options came from."""
    defaults = {field.name: field.default for field in fields(UnlearnOptions)}
    words = ["ofmu", "unlearn"]
    for name, value in options.items():
        flag = "--" + name.replace("_", "-")
        if value == defaults[name] or name in ("resume", "overwrite"):
            continue
        if isinstance(value, list):
            words += [word for each in value for word in (flag, str(each))]
        elif value is True or value is False:
            words.append(flag if value else flag.replace("--", "--no-", 1))
        else:
            words += [flag, f"{value:g}" if isinstance(value, float) else str(value)]
    return shlex.join(words)


def plain(value: Any) -> Any:
    """Nested dataclasses as JSON that names their types."""
    if is_dataclass(value) and not isinstance(value, type):
        return {"type": type(value).__name__, **{f.name: plain(getattr(value, f.name)) for f in fields(value)}}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def environment() -> dict[str, str]:
    """Versions and machine."""
    return {
        "ofmu": __version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "machine": f"{platform.system()} {platform.machine()}, {torch.get_num_threads()} threads",
    }
