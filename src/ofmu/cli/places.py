"""`--out` of the commands that write at their end: what cannot be written is refused before the work."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ofmu.engine.files import check_writable
from ofmu.errors import UserError


def file_to_write(out: str, overwrite: bool) -> Path:
    """The file that a command is to write; UserError for one that is there, a folder, and what cannot be made."""
    file = Path(out).expanduser()
    if file.is_dir():
        raise UserError(f"--out: {out} is a folder, expected the name of a file; give one in it")
    check_writable(file.parent)
    _check_new([file], overwrite)
    return file


def folder_to_write(out: str, names: Sequence[str], overwrite: bool) -> Path:
    """The folder that a command is to write these files into; what else is in it stays. UserError as above."""
    folder = Path(out).expanduser()
    check_writable(folder)
    _check_new([folder / name for name in names], overwrite)
    return folder


def folder_to_refresh(out: Path) -> Path:
    """A benchmark's folder, written again each time; UserError for what cannot be made, and for a run's folder."""
    folder = out.expanduser()
    check_writable(folder)
    if is_run(folder):
        raise UserError(
            f"--out: {folder} holds a finished run of ofmu unlearn, whose report would be replaced, expected a "
            "folder without one; choose another name"
        )
    return folder


def another(out: str) -> str:
    """The name beside `out` that a printed command writes to: typed again, it would be refused `out` itself."""
    path = Path(out)
    return f"{path.parent / path.stem}-again{path.suffix}"


def is_run(folder: Path) -> bool:
    """Whether a folder is what `ofmu unlearn` wrote."""
    return (folder / "model").is_dir() and (folder / "scores.json").is_file()


def _check_new(files: Sequence[Path], overwrite: bool) -> None:
    found = " and ".join(str(file) for file in files if os.path.lexists(file))
    if found and not overwrite:
        raise UserError(
            f"--out: found {found} there already, expected a new name; choose another, or replace what is there "
            "with --overwrite"
        )
