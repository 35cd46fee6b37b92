"""Files that are whole or absent: replaced in one step, flushed to the disk, guarded by a lock."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile

from ofmu.errors import UserError

_FULL = (errno.ENOSPC, errno.EDQUOT)
Bytes = bytes | memoryview


def size_words(size: float) -> str:
    """A number of bytes as people read it: 1536 is "1.5 KiB"."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def free_bytes(path: Path) -> int:
    """What this user may still write on the disk of `path`, or of its nearest parent that exists."""
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


def check_writable(folder: Path) -> None:
    """UserError unless files can be written into `folder`, or into the nearest parent that is there.

    A file is made and taken away again: permissions alone do not tell on every disk.
    """
    found = folder.absolute()
    while not os.path.lexists(found):
        found = found.parent
    if not found.is_dir():
        raise UserError(f"--out: {found} is a file, expected a folder; choose another name")
    try:
        TemporaryFile(dir=found).close()
    except OSError as error:
        raise UserError(
            f"--out: {found} cannot be written to ({error.strerror}), expected a folder that can; choose another"
        ) from error


@contextmanager
def full_disk_explained(what: str, path: Path, need: int | None, safe: str) -> Iterator[None]:
    """Turn "no space left" into a message that names the file, the room needed and free, and what is safe.

    Raises: UserError in place of OSError ENOSPC or EDQUOT; every other error passes.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        needed = "" if need is None else f"{size_words(need)} needed, "
        free = size_words(free_bytes(path.absolute().parent))
        raise UserError(
            f"{what}: no space left for {path} ({needed}{free} free). {safe} Free some space, then try again."
        ) from error


def write_whole(path: Path, pieces: Iterable[Bytes]) -> None:
    """Write a file so that a kill at any moment, or a power cut, leaves the previous file or the new one.

    One writer a path: the temporary file `.NAME.tmp` beside it has a fixed name, so that the leftover of a
    killed process is taken over by the next write instead of piling up.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            for piece in pieces:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with suppress(FileNotFoundError):
            temporary.unlink()
        raise
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Flush the names in a directory: without it a rename may be lost in a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_tree(root: Path) -> None:
    """Flush every file and directory under `root` to the disk, before it is renamed into place."""
    for folder, _, names in os.walk(root):
        for name in names:
            file = Path(folder, name)
            if file.is_file():
                with file.open("rb") as opened:
                    os.fsync(opened.fileno())
        sync_directory(Path(folder))


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[bool]:
    """Hold the lock file `path` against other processes and threads; yields whether it was got.

    The system lets go of it when the process ends, however it ends: a killed run blocks nobody.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(handle)
