"""Checkpoints: a nested plain state in one safetensors file, whole or absent, bit for bit.

The tensors are stored as safetensors stores them (any tool reads them); how they nest, and all numbers and
words between them, is JSON in the file's metadata. Nothing is pickled, so a checkpoint cannot run code.
"""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch
from torch import Tensor

from ofmu.engine.files import Bytes, full_disk_explained, write_whole
from ofmu.errors import UserError

# dict, list, tuple, Tensor, int, float, bool, str, None, nested; dict keys are str, int, float, bool or None
State = Any
_FORMAT = "ofmu-checkpoint-1"
_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}  # every other dtype (complex, float8, wide unsigned) is stored as its bytes


def save_state(path: Path, state: State) -> None:
    """Write `state` to `path`, replacing what is there in one step.

    A kill at any moment leaves the previous checkpoint or the new one, never a torn one. One writer a path.

    Raises: TypeError for a value that is not plain (naming where it is); UserError when the disk is full, in
    which case the temporary file is gone and the previous checkpoint is as it was.
    """
    tensors: dict[str, Tensor] = {}
    structure = json.dumps(pack(state, "state", partial(_put, tensors)))
    header, ordered = _header(structure, tensors)
    need = len(header) + sum(tensor.nbytes for tensor in ordered)
    kept = "The previous checkpoint there is whole." if path.exists() else "No checkpoint was there before."
    with full_disk_explained("checkpoint", path, need, kept):
        write_whole(path, _pieces(header, ordered))


def load_state(path: Path) -> State:
    """The state that `save_state` wrote, bit for bit, with every tensor in host memory.

    Raises: UserError when there is no file, or one that is no checkpoint.
    """
    if not path.is_file():
        raise UserError(f"checkpoint: found no file {path}; start the run without --resume")
    try:
        with safetensors.safe_open(path, framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            # Cloned, since a tensor that still maps the file would keep a replaced checkpoint on the disk.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    except safetensors.SafetensorError as error:
        raise UserError(
            f"checkpoint: {path} cannot be read ({error}), expected a file that ofmu saved; delete it and "
            "start the run without --resume"
        ) from error
    if metadata.get("format") != _FORMAT:
        raise UserError(
            f"checkpoint: {path} has format {metadata.get('format')!r}, expected {_FORMAT!r}; delete it and "
            "start the run without --resume"
        )
    return unpack(json.loads(metadata["structure"]), partial(_take, tensors))


def random_state() -> dict[str, State]:
    """Where the random generators of Python, NumPy and torch (CPU, CUDA devices in use) stand: plain data."""
    name, keys, *rest = np.random.get_state(legacy=True)
    cuda = [torch.cuda.get_rng_state(device) for device in _cuda_devices()]
    return {
        "python": random.getstate(),
        "numpy": (str(name), torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest),
        "torch": torch.get_rng_state(),
        "cuda": cuda,
    }


def set_random_state(state: Mapping[str, State]) -> None:
    """Set the random generators back to where `random_state` found them.

    Raises: UserError when the number of CUDA devices is another one: the run would not go on as it began.
    """
    found = _cuda_devices()
    if len(state["cuda"]) != len(found):
        raise UserError(
            f"random state: saved with {len(state['cuda'])} CUDA devices, found {len(found)}; resume the run on "
            "as many devices, or start it anew"
        )
    random.setstate(state["python"])
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    for device, stands in zip(found, state["cuda"], strict=True):
        torch.cuda.set_rng_state(stands, device)


def _cuda_devices() -> list[int]:
    """All of them; among several processes only this one's own (to look at another's would occupy it)."""
    if not torch.cuda.is_available():
        return []
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return [torch.cuda.current_device()]
    return list(range(torch.cuda.device_count()))


def pack(value: State, where: str, put: Callable[[Tensor, str], dict[str, Any]]) -> Any:
    """The JSON of a plain value; `put(tensor, where)` keeps a tensor aside and returns what to write for it.

    Raises: TypeError for a value that is not plain, naming where it is.
    """
    if value is None or isinstance(value, (bool, str, int)):
        return value
    if isinstance(value, float):  # its bytes: JSON has no infinity, no NaN
        return {"float": struct.pack(">d", value).hex()}
    if isinstance(value, Tensor):
        if value.layout != torch.strided or value.is_quantized or value.is_meta:
            raise TypeError(
                f"{where} is a {value.layout} tensor on {value.device}, expected a dense one with data"
            )
        return put(value.detach(), where)
    if isinstance(value, Mapping):
        return {"dict": [[_pack_key(k, where), pack(v, f"{where}[{k!r}]", put)] for k, v in value.items()]}
    if type(value) in (list, tuple):
        items = [pack(item, f"{where}[{i}]", put) for i, item in enumerate(value)]
        return items if isinstance(value, list) else {"tuple": items}
    raise TypeError(
        f"{where} is {type(value).__qualname__}, expected dict, list, tuple, Tensor, int, float, bool, str or None"
    )


def _pack_key(key: Any, where: str) -> Any:
    if key is None or isinstance(key, (bool, str, int, float)):
        return {"float": struct.pack(">d", key).hex()} if isinstance(key, float) else key
    raise TypeError(f"a key of {where} is {type(key).__qualname__}, expected str, int, float, bool or None")


def unpack(packed: Any, take: Callable[[dict[str, Any]], Tensor]) -> State:
    """The value that `pack` made JSON of; `take` finds a tensor again from what was written for it."""
    if isinstance(packed, list):
        return [unpack(item, take) for item in packed]
    if not isinstance(packed, dict):
        return packed
    if "float" in packed:
        return struct.unpack(">d", bytes.fromhex(packed["float"]))[0]
    if "tuple" in packed:
        return tuple(unpack(item, take) for item in packed["tuple"])
    if "dict" in packed:
        return {unpack(key, take): unpack(value, take) for key, value in packed["dict"]}
    return take(packed)


def _put(tensors: dict[str, Tensor], value: Tensor, where: str) -> dict[str, Any]:
    if hasattr(value, "device_mesh"):
        raise TypeError(f"{where} is sharded over processes, expected a whole tensor: save it with save_sharded")
    name = str(len(tensors))
    plain = value.resolve_conj().resolve_neg().cpu().contiguous()
    if plain.dtype in _NAMES:
        tensors[name] = plain
        return {"tensor": name}
    tensors[name] = plain.reshape(-1).view(torch.uint8)
    return {"tensor": name, "dtype": str(plain.dtype).removeprefix("torch."), "shape": list(plain.shape)}


def _take(tensors: Mapping[str, Tensor], packed: dict[str, Any]) -> Tensor:
    tensor = tensors[packed["tensor"]]
    return tensor.view(getattr(torch, packed["dtype"])).reshape(packed["shape"]) if "dtype" in packed else tensor


def _header(structure: str, tensors: Mapping[str, Tensor]) -> tuple[bytes, list[Tensor]]:
    """The head of a safetensors file (length, then JSON padded to 8 bytes) and the tensors in their order.

    The widest elements come first, so that each tensor starts at a multiple of its element's size.
    """
    names = sorted(tensors, key=lambda name: (-tensors[name].element_size(), int(name)))
    table: dict[str, Any] = {"__metadata__": {"format": _FORMAT, "structure": structure}}
    offset = 0
    for name in names:
        tensor = tensors[name]
        end = offset + tensor.nbytes
        table[name] = {
            "dtype": _NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [offset, end],
        }
        offset = end
    text = json.dumps(table).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text, [tensors[name] for name in names]


def _pieces(header: bytes, tensors: list[Tensor]) -> Iterator[Bytes]:
    """The file piece by piece, without a second copy of the tensors in memory."""
    yield header
    for tensor in tensors:
        if tensor.numel():
            yield tensor.reshape(-1).view(torch.uint8).numpy().data
