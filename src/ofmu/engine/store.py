"""What is made once and used often: originals, Retrains, references, shadows, trials, each a folder named by
its content.

ROOT/KEY/            what `make` wrote, and entry.json
ROOT/.making-KEY/    being made; renamed to ROOT/KEY when whole
ROOT/.locks/KEY      held while KEY is made or removed
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ofmu.engine.files import full_disk_explained, locked, sync_directory, sync_tree
from ofmu.engine.hashing import JSON, content_key
from ofmu.errors import UserError

_ENTRY = "entry.json"
_MAKING, _REMOVING = ".making-", ".removing-"
_KEY = re.compile("[0-9a-f]{64}")  # nothing of another name is ever removed: ROOT may hold other things
log = logging.getLogger(__name__)


def default_root(environ: Mapping[str, str]) -> Path:
    """Where the store lives: $OFMU_STORE, or ~/.cache/ofmu. Only the command line calls this."""
    return Path(environ["OFMU_STORE"] if environ.get("OFMU_STORE") else "~/.cache/ofmu").expanduser()


@dataclass(frozen=True)
class Entry:
    """What is known of one folder: what it was made from, when (UTC), its bytes, the seconds it took."""

    key: str
    parts: Mapping[str, JSON]
    created: str
    bytes: int
    seconds: float
    note: str
    files: Mapping[str, int] = field(repr=False)  # bytes by path, to notice a truncated file


class Store:
    """A folder of entries, shared by any number of processes.

    Raises: UserError when `root` cannot be made.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        try:
            (self.root / ".locks").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"store: {self.root} cannot be made ({error.strerror}); set OFMU_STORE to a folder you "
                "may write to"
            ) from error

    def get_or_make(self, key_parts: Mapping[str, JSON], make: Callable[[Path], None], *, note: str = "") -> Path:
        """The folder of these parts; `make(folder)` fills an empty one when there is none yet.

        key_parts must hold everything that the content depends on (see `hashing`). An entry is whole or
        absent: what a failed or killed make leaves is never seen. Of processes that ask for one entry at the
        same time, one makes it while the others wait. An entry with a missing or truncated file is made anew.

        Raises: whatever `make` raises; UserError when the disk is full.
        """
        key = content_key(key_parts)
        folder = self.root / key
        if self._use(key):
            return folder
        with locked(self.root / ".locks" / key, wait=False) as first:
            if first:
                self._make(key, key_parts, make, note)
                return folder
        log.warning("store: waiting for another process that makes %s (%s)", key[:12], note)
        with locked(self.root / ".locks" / key):
            self._make(key, key_parts, make, note)
        return folder

    def entries(self) -> list[Entry]:
        """All whole entries, the least recently used first."""
        found = [(self._used(path.name), _read(path)) for path in self.root.iterdir() if _KEY.fullmatch(path.name)]
        return [entry for _, entry in sorted(found, key=lambda pair: pair[0]) if entry is not None]

    def remove(self, key: str) -> None:
        """Remove an entry, whole or broken.

        Raises: UserError when there is no entry of that key, or it is being made.
        """
        if not _KEY.fullmatch(key) or not (self.root / key).is_dir():
            raise UserError(f"store: found no entry {key!r} in {self.root}; list the store for the keys there are")
        with locked(self.root / ".locks" / key, wait=False) as got:
            if not got:
                raise UserError(f"store: entry {key!r} is being made now; stop that run first, or wait for it")
            self._drop(key)

    def prune(self, max_bytes: int) -> list[Entry]:
        """Remove the least recently used entries until `max_bytes` are left, and what killed processes left.

        Returns what was removed. Nothing tells whether another process is reading an entry: prune while no
        run is under way.
        """
        if max_bytes < 0:
            raise UserError(f"max_bytes: found {max_bytes}, expected a number of bytes >= 0")
        self._sweep()
        kept = self.entries()
        total = sum(entry.bytes for entry in kept)
        removed = []
        for entry in kept:
            if total <= max_bytes:
                break
            with suppress(UserError):  # being made anew by another process: in use
                self.remove(entry.key)
                removed.append(entry)
                total -= entry.bytes
        return removed

    def _make(self, key: str, parts: Mapping[str, JSON], make: Callable[[Path], None], note: str) -> None:
        """Make an entry; the caller holds its lock."""
        if self._use(key):
            return
        making = self.root / (_MAKING + key)
        self._drop(key)
        making.mkdir()
        started = time.monotonic()
        try:
            with full_disk_explained("store", self.root / key, None, "The store's other entries are whole."):
                make(making)
                _describe(making, key, parts, time.monotonic() - started, note)
                sync_tree(making)
                os.rename(making, self.root / key)
        except BaseException:
            shutil.rmtree(making, ignore_errors=True)
            raise
        sync_directory(self.root)

    def _use(self, key: str) -> bool:
        """Whether the entry is there and whole; then note that it was used now."""
        if _read(self.root / key) is None:
            return False
        with suppress(OSError):  # a read-only store serves as well
            os.utime(self.root / key / _ENTRY)
        return True

    def _used(self, key: str) -> float:
        path = self.root / key / _ENTRY
        return path.stat().st_mtime if path.is_file() else 0.0

    def _drop(self, key: str) -> None:
        """Remove all of a key; renamed first, so that a kill halfway leaves no entry that looks whole."""
        removing = self.root / (_REMOVING + key)
        shutil.rmtree(removing, ignore_errors=True)
        with suppress(FileNotFoundError):
            os.rename(self.root / key, removing)
        shutil.rmtree(removing, ignore_errors=True)
        shutil.rmtree(self.root / (_MAKING + key), ignore_errors=True)

    def _sweep(self) -> None:
        """Remove what killed processes left: broken entries, and folders whose lock nobody holds."""
        for path in list(self.root.iterdir()):
            key = path.name.removeprefix(_MAKING).removeprefix(_REMOVING)
            if not _KEY.fullmatch(key) or (key == path.name and _read(path) is not None):
                continue
            with locked(self.root / ".locks" / key, wait=False) as got:
                if got and _read(self.root / key) is None:
                    self._drop(key)
                elif got:
                    shutil.rmtree(path, ignore_errors=True)


def _describe(folder: Path, key: str, parts: Mapping[str, JSON], seconds: float, note: str) -> None:
    """Write entry.json, last of all: an entry without it is not whole."""
    if (folder / _ENTRY).exists():
        raise ValueError(f"make wrote {_ENTRY}, which is the store's own; choose another name")
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    files = {str(path.relative_to(folder)): path.stat().st_size for path in paths}
    created = datetime.now(UTC).isoformat(timespec="seconds")
    entry = Entry(key, dict(parts), created, sum(files.values()), round(seconds, 3), note, files)
    (folder / _ENTRY).write_text(json.dumps(asdict(entry), indent=1) + "\n", encoding="utf-8")


def _read(folder: Path) -> Entry | None:
    """The entry of a folder, or None when it is missing or broken."""
    try:
        data: dict[str, Any] = json.loads((folder / _ENTRY).read_text(encoding="utf-8"))
        entry = Entry(**data)
        whole = all((folder / name).stat().st_size == size for name, size in entry.files.items())
    except (OSError, ValueError, TypeError, AttributeError):
        return None
    return entry if whole and entry.key == folder.name else None
