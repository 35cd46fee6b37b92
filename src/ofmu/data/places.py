"""Where the benchmark data sets lie."""

from __future__ import annotations

import os
from pathlib import Path

from ofmu.errors import UserError


def data_dir(name: str) -> Path:
    """The directory `$OFMU_DATA_DIR/<name>`. Raises UserError if the variable or the directory is missing."""
    root = os.environ.get("OFMU_DATA_DIR")
    if not root:
        raise UserError(f"the data set '{name}' is not here: set OFMU_DATA_DIR to the directory that holds it")
    path = Path(root).expanduser() / name
    if not path.is_dir():
        raise UserError(f"OFMU_DATA_DIR = {root} has no directory '{name}'; put the data set there")
    return path
