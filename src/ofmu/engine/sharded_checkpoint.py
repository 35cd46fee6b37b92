"""Checkpoints of several processes: each writes its own part, and the whole appears at once or not at all.

    FOLDER/save-3/process-0.json   what process 0 had: numbers, words, how its tensors nest
    FOLDER/save-3/__0_0.distcp     its share of the tensors (torch.distributed.checkpoint)
    FOLDER/save-3/.metadata        which tensor is where, for torch.distributed.checkpoint
    FOLDER/.saving/                a save that goes on, or one that was killed

A save is written to .saving, flushed to the disk and renamed; the highest number counts. Replicated tensors are
written once, sharded ones by their owners. torch pickles .metadata: it is read with an unpickler that knows the
few types it may hold, and the tensors with `weights_only`, so that a checkpoint cannot run code here either.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from enum import EnumMeta
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ofmu.engine.checkpoint import State, pack, unpack
from ofmu.engine.files import full_disk_explained, sync_directory, sync_tree, write_whole
from ofmu.engine.launched import Processes
from ofmu.errors import UserError

_FORMAT = "ofmu-sharded-checkpoint-1"
OWN = "['random']"  # tensors under this key differ between processes: where their random generators stand


def save_sharded(folder: Path, state: State, processes: Processes) -> None:
    """Write `state` as the newest save in `folder`; called by all processes, each with its own part.

    A kill of any process at any moment leaves the previous save or the new one. Tensors are DTensors over
    `processes.mesh`, or replicas (alike on all processes), or each process's own under a key "random".

    Raises: TypeError for a value that is not plain; UserError when a disk is full, or another process failed.
    """
    from torch.distributed.checkpoint import FileSystemWriter, save

    part = folder / ".saving"
    number = processes.of_leader(partial(_begin, folder, part))
    tensors: dict[str, Tensor] = {}
    with processes.together(), full_disk_explained("checkpoint", part, None, _safe(folder)):
        structure = pack(state, "state", partial(_put, tensors, processes))
        said = {"format": _FORMAT, "processes": processes.size, "state": structure}
        write_whole(part / f"process-{processes.rank}.json", [json.dumps(said).encode()])
    with _failures_explained(part, folder):
        writer = FileSystemWriter(part, sync_files=True, thread_count=1)
        save(tensors, storage_writer=writer)
    processes.of_leader(partial(_publish, folder, part, number))


def load_sharded(folder: Path, processes: Processes) -> State:
    """Our part of the newest save in `folder`, bit for bit, on `processes.device`.

    Raises: UserError when there is none, when it cannot be read, and when it was saved by another number of
    processes: sums would round differently, so the run could not go on as it began.
    """
    from torch.distributed.checkpoint import load

    with processes.together():
        place = newest(folder)
        if place is None:
            raise UserError(f"checkpoint: found no save in {folder}; start the run without --resume")
        said = _read_part(place, processes)
    tensors: dict[str, Tensor] = {}
    state = unpack(said["state"], partial(_room, tensors, processes))
    with _unreadable_explained(place):
        load(tensors, storage_reader=_careful_reader(place))
    return state


def newest(folder: Path) -> Path | None:
    """The last whole save in a folder; None where there is none."""
    found = [_number(path) for path in folder.glob("save-*")]
    return folder / f"save-{max(found)}" if found and max(found) >= 0 else None


def _number(path: Path) -> int:
    number = path.name.removeprefix("save-")
    return int(number) if number.isdecimal() else -1


def _safe(folder: Path) -> str:
    return "The previous checkpoint there is whole." if newest(folder) else "No checkpoint was there before."


def _begin(folder: Path, part: Path) -> int:
    """Make room for a new save; its number."""
    folder.mkdir(exist_ok=True)
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    before = newest(folder)
    return 1 if before is None else _number(before) + 1


def _publish(folder: Path, part: Path, number: int) -> None:
    sync_tree(part)
    os.replace(part, folder / f"save-{number}")
    sync_directory(folder)
    for old in folder.glob("save-*"):
        if _number(old) < number:
            shutil.rmtree(old)


def _put(tensors: dict[str, Any], processes: Processes, value: Any, where: str) -> dict[str, Any]:
    """Keep a tensor under a name that all processes agree on, or that is this one's own."""
    name = str(len(tensors))
    if OWN in where:
        name = f"{name}/{processes.rank}"
    value = value if hasattr(value, "device_mesh") else value.resolve_conj().resolve_neg().contiguous()
    tensors[name] = value
    said = {"tensor": name, "dtype": str(value.dtype).removeprefix("torch."), "device": value.device.type}
    if not hasattr(value, "device_mesh"):
        return {**said, "shape": list(value.shape)}
    if value.device_mesh != processes.mesh:
        raise TypeError(f"{where} is sharded over {value.device_mesh}, expected all processes: {processes.mesh}")
    return {
        **said,
        "shape": list(value.shape),
        "local": list(value.to_local().shape),
        "dims": [None if p.is_replicate() else _dim(p, where) for p in value.placements],
    }


def _dim(placement: Any, where: str) -> int:
    if type(placement).__name__ != "Shard":
        raise TypeError(f"{where} is placed as {placement}, expected whole or cut along one dimension")
    return int(placement.dim)


def _room(tensors: dict[str, Tensor], processes: Processes, said: dict[str, Any]) -> Tensor:
    """An empty tensor as the saved one was, to be filled by the load."""
    device = processes.device if said["device"] != "cpu" else torch.device("cpu")
    dtype = getattr(torch, said["dtype"])
    if "local" not in said:
        tensors[said["tensor"]] = torch.empty(said["shape"], dtype=dtype, device=device)
        return tensors[said["tensor"]]
    from torch.distributed.tensor import DTensor, Replicate, Shard

    shape = torch.Size(said["shape"])
    tensors[said["tensor"]] = DTensor.from_local(
        torch.empty(said["local"], dtype=dtype, device=device),
        processes.mesh,
        [Replicate() if dim is None else Shard(dim) for dim in said["dims"]],
        shape=shape,
        stride=torch.empty(shape, device="meta").stride(),
    )
    return tensors[said["tensor"]]


def _read_part(place: Path, processes: Processes) -> dict[str, Any]:
    try:
        first = json.loads((place / "process-0.json").read_text(encoding="utf-8"))
        if first.get("format") == _FORMAT and first["processes"] != processes.size:
            raise UserError(
                f"checkpoint: {place} was saved by {first['processes']} processes, found {processes.size}; go on "
                f"with --nproc_per_node {first['processes']}, or start anew with --overwrite"
            )
        said = json.loads((place / f"process-{processes.rank}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _unreadable(place, error) from error
    if said.get("format") != _FORMAT:
        raise _unreadable(place, f"format {said.get('format')!r}, expected {_FORMAT!r}")
    return dict(said)


def _unreadable(place: Path, why: object) -> UserError:
    return UserError(
        f"checkpoint: {place} cannot be read ({why}), expected a folder that ofmu saved; delete it and start "
        "the run without --resume"
    )


@contextmanager
def _unreadable_explained(place: Path) -> Iterator[None]:
    from torch.distributed.checkpoint.api import CheckpointException

    try:
        yield
    except (CheckpointException, OSError, pickle.UnpicklingError) as error:
        raise _unreadable(place, str(error).splitlines()[0] if str(error) else error) from error


@contextmanager
def _failures_explained(part: Path, folder: Path) -> Iterator[None]:
    """What went wrong on one process of a save reaches all as a CheckpointException: name a full disk."""
    from torch.distributed.checkpoint.api import CheckpointException

    try:
        with full_disk_explained("checkpoint", part, None, _safe(folder)):
            try:
                yield
            except CheckpointException as error:
                for failure, _ in error.failures.values():
                    if isinstance(failure, OSError):
                        raise failure from error
                raise
    except OSError as error:
        raise UserError(f"checkpoint: {part} cannot be written ({error}). {_safe(folder)}") from error


_TYPES = {
    "torch.distributed.checkpoint.metadata": {
        "BytesStorageMetadata",
        "ChunkStorageMetadata",
        "Metadata",
        "MetadataIndex",
        "StorageMeta",
        "TensorProperties",
        "TensorStorageMetadata",
        "_MEM_FORMAT_ENCODING",
    },
    "torch.distributed.checkpoint.filesystem": {"_StorageInfo"},
    "torch.serialization": {"_get_layout"},
    "torch": {"Size"},
    "pathlib": {"PosixPath", "PurePosixPath"},
}


class _Careful(pickle.Unpickler):
    """Knows what the metadata of a checkpoint is made of, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if f"{module}.{name}" == "builtins.getattr":  # so Python 3.11.2 writes a member of an enum
            return _member
        if name in _TYPES.get(module, ()) or (module == "torch" and isinstance(getattr(torch, name), torch.dtype)):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"its metadata holds {module}.{name}, which no checkpoint needs")


def _member(kind: Any, name: str) -> Any:
    """A member of an enum by its name, and nothing else that an attribute may be."""
    if not isinstance(kind, EnumMeta) or name not in kind.__members__:
        raise pickle.UnpicklingError(f"its metadata asks for {name} of {kind}, which no checkpoint needs")
    return kind[name]


def _careful_reader(place: Path) -> Any:
    from torch.distributed.checkpoint import FileSystemReader
    from torch.distributed.checkpoint.metadata import StorageMeta

    class Reader(FileSystemReader):
        def read_metadata(self, *args: Any, **kwargs: Any) -> Any:  # the signature differs between versions
            metadata = _Careful(io.BytesIO((place / ".metadata").read_bytes())).load()
            metadata.storage_meta = metadata.storage_meta or StorageMeta()
            metadata.storage_meta.load_id = self.load_id
            return metadata

    return Reader(place)
