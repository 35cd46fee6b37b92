"""The folder a run writes: it appears whole or not at all.

While a run lasts, everything is in OUT.partial beside OUT:

    OUT.partial/lock                     held as long as the run lives
    OUT.partial/checkpoint.safetensors   what --resume goes on from (several processes: the folder checkpoint)
    OUT.partial/last-good/               the last model of a run that diverged: it is kept, but not gone on from
    OUT.partial/new/                     what becomes OUT, in one rename, when the run succeeds
    OUT.partial/old/                     the previous OUT, for the instant of an --overwrite
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from ofmu.engine.files import check_writable, free_bytes, locked, size_words, sync_directory, sync_tree
from ofmu.engine.launched import Processes
from ofmu.engine.sharded_checkpoint import newest
from ofmu.errors import UserError


class Output:
    """A context manager around a run that writes the folder OUT.

    Inside, write into `folder` and save checkpoints to `checkpoint`; `resuming` says whether one is there to
    go on from. Leaving without an error renames `folder` to OUT. Leaving with one removes everything, except
    when there is a checkpoint: then OUT.partial is kept and the error gets a note that says how to go on.

    need_bytes: the room the run needs on that disk, its checkpoints included; checked before anything is
    written. sharded: the checkpoint is a folder that several processes write (OUT.partial/checkpoint); the first
    of them holds OUT for all.
    """

    def __init__(
        self,
        out: Path,
        *,
        overwrite: bool = False,
        resume: bool = False,
        need_bytes: int = 0,
        sharded: bool = False,
    ) -> None:
        self.out = out.expanduser().absolute()
        self.work = self.out.with_name(self.out.name + ".partial")
        self.folder = self.work / "new"
        self.last_good = self.work / "last-good"
        names = ("checkpoint", "checkpoint.safetensors") if sharded else ("checkpoint.safetensors", "checkpoint")
        self.checkpoint, self._other = (self.work / name for name in names)
        self.resuming = False
        self._old = self.work / "old"
        self._overwrite, self._resume, self._need = overwrite, resume, need_bytes
        self._held = ExitStack()

    def __enter__(self) -> Self:
        """Check all that can go wrong, then make the work folder.

        Raises: UserError when OUT is there already, its parent is missing or read-only, another run is
        writing it, there is an interrupted run that neither flag disposes of or none to resume, or the disk
        is too full.
        """
        self._check_parent()
        if self._resume and not self.work.is_dir():
            raise UserError(
                f"--resume: found no interrupted run {self.work}; leave out --resume to start one, "
                "or check the name after --out"
            )
        with ExitStack() as held:
            self._make_work()
            if not held.enter_context(locked(self.work / "lock", wait=False)):
                raise UserError(
                    f"--out: another run is writing {self.out} now; wait for it or choose another name"
                )
            self._restore_old()
            try:
                self._check_free_to_write()
            except UserError:
                self._discard_unless_resumable()
                raise
            self._prepare()
            self._held = held.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Rename the folder to OUT, or clean up."""
        with self._held:
            if error is not None:
                self._give_up(error)
                return
            try:
                self._publish()
            except BaseException as failure:
                self._give_up(failure)
                raise

    def _give_up(self, error: BaseException) -> None:
        if self._discard_unless_resumable():
            if self.last_good.is_dir():
                error.add_note(
                    "--resume would diverge again: give the same command with --overwrite and a lower --lr."
                )
                return
            error.add_note(f"{self.work} holds a checkpoint: run the same command with --resume to go on.")
        else:
            error.add_note(f"Nothing was written to {self.out}.")

    def _check_parent(self) -> None:
        parent = self.out.parent
        check_writable(parent)
        if not parent.is_dir():
            raise UserError(f"--out: found no folder {parent}; make it first (mkdir -p {parent})")

    def _make_work(self) -> None:
        try:
            self.work.mkdir(exist_ok=True)
        except FileExistsError:
            raise UserError(f"--out: {self.work} is a file, expected a folder or nothing; move it away") from None
        except OSError as error:
            raise UserError(
                f"--out: {self.work} cannot be made ({error.strerror}); choose another name"
            ) from error
        if any(self.work.iterdir()) and not (self.work / "lock").exists():
            raise UserError(f"--out: {self.work} was not made by a run, expected nothing there; move it away")

    def _check_free_to_write(self) -> None:
        found = _holds(self.checkpoint) or _holds(self._other)
        if found and self.last_good.is_dir() and not self._overwrite:
            raise UserError(
                f"--out: {self.work} holds a run that diverged, and would again; start it anew with --overwrite "
                "and a lower --lr"
            )
        if found and not (self._resume or self._overwrite):
            raise UserError(
                f"--out: {self.work} holds an interrupted run; go on with --resume, or discard it with --overwrite"
            )
        if found and self._resume and not _holds(self.checkpoint):
            before, now = ("one", "several") if self._other.suffix else ("several", "one")
            raise UserError(
                f"--resume: {self.work} holds a run of {before} process{'es' * (before != 'one')}, found "
                f"{now}; launch it as before, or discard it with --overwrite"
            )
        if self.out.exists() and not self.out.is_dir():
            raise UserError(
                f"--out: {self.out} is a file, expected a new name or an empty folder; choose another name"
            )
        if self.out.is_dir() and any(self.out.iterdir()):
            self._check_overwrite()
        self.require(self._need)

    def require(self, need_bytes: int) -> None:
        """UserError when the disk of OUT has less room than that: better now than at the end of a run."""
        free = free_bytes(self.out.parent)
        if need_bytes > free:
            raise UserError(
                f"--out: {size_words(need_bytes)} needed on the disk of {self.out.parent}, found "
                f"{size_words(free)} free; free some space or choose a folder on another disk"
            )

    def _check_overwrite(self) -> None:
        if not self._overwrite:
            raise UserError(
                f"--out: {self.out} is there already and is not empty; choose another name, or replace it with "
                "--overwrite"
            )
        real = self.out.resolve()
        for kept in (Path.cwd(), Path.home()):
            if kept.resolve().is_relative_to(real):
                raise UserError(
                    f"--overwrite: {self.out} holds {kept}, expected a run's output; choose another name"
                )

    def _prepare(self) -> None:
        self.resuming = self._resume and _holds(self.checkpoint)
        if not self.resuming:
            for place in (self.checkpoint, self._other, self.last_good):
                shutil.rmtree(place) if place.is_dir() else place.unlink(missing_ok=True)
        # A resumed run writes its outputs anew: what a killed one had half written is not trusted.
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()

    def _publish(self) -> None:
        sync_tree(self.folder)
        if self.out.is_dir() and any(self.out.iterdir()):
            os.replace(self.out, self._old)
        os.replace(self.folder, self.out)
        sync_directory(self.out.parent)
        shutil.rmtree(self.work)

    def _restore_old(self) -> None:
        """Undo an --overwrite that was killed between its two renames; finish one killed after them."""
        if self._old.exists() and not self.out.exists():
            os.replace(self._old, self.out)
        elif self._old.exists():
            shutil.rmtree(self._old)

    def _discard_unless_resumable(self) -> bool:
        """Remove OUT.partial, unless it holds a checkpoint; whether it does."""
        self._restore_old()
        if _holds(self.checkpoint) or _holds(self._other):
            shutil.rmtree(self.folder, ignore_errors=True)
            return True
        shutil.rmtree(self.work)
        return False


def _holds(place: Path) -> bool:
    """Whether there is a whole checkpoint, in one file or sharded."""
    return place.is_file() or newest(place) is not None


@contextmanager
def held_for_all(out: Output, processes: Processes) -> Iterator[Output]:
    """`out`, entered and left by the first process; the others know whether they resume, and where."""
    with ExitStack() as stack:
        out.resuming = processes.of_leader(lambda: stack.enter_context(out).resuming)
        yield out
        processes.of_leader(stack.pop_all().close)
