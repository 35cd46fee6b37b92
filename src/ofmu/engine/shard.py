"""Cut a model's parameters over the processes (FSDP2), and put them together again to save it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import Module

from ofmu.engine.launched import Processes
from ofmu.engine.parallel import check_sharded
from ofmu.errors import UserError


def shard(model: Module, processes: Processes) -> Module:
    """The same module, in place, with every parameter cut along its first dimension over the processes.

    torch's `fully_shard` on each block of the outermost list of blocks, then on the whole: a block's parameters
    are gathered when it runs and let go after. All processes must hold the same values. Frozen parameters are cut
    as well. Raises UserError where torch cannot shard the model.
    """
    from torch.distributed.fsdp import fully_shard

    _check_dtypes(model)
    for block in _blocks(model):
        fully_shard(block, mesh=processes.mesh, reshard_after_forward=True)
    fully_shard(model, mesh=processes.mesh, reshard_after_forward=True)
    check_sharded(model)
    return model


def _check_dtypes(model: Module) -> None:
    found = {p.dtype for p in model.parameters() if p.requires_grad}
    if len(found) > 1:
        raise UserError(f"fsdp2: trainable parameters are {found}, expected one dtype: model.float() first")


def _blocks(model: Module) -> Iterator[Module]:
    """The children of the outermost ModuleList that has parameters; none for a model without one."""
    for parent in model.modules():
        if isinstance(parent, nn.ModuleList) and any(True for _ in parent.parameters()):
            yield from parent
            return


@torch.no_grad()
def whole_state(model: Module, processes: Processes) -> dict[str, Tensor] | None:
    """The full state_dict in host memory on process 0, None on the others; called by all.

    One tensor at a time is put together, so that no process but the first ever holds more than one.
    """
    whole: dict[str, Tensor] = {}
    for name, value in model.state_dict().items():
        full = value.full_tensor() if hasattr(value, "full_tensor") else value
        if processes.leads:
            whole[name] = full.detach().cpu().clone()
    return whole if processes.leads else None


def export_safetensors(model: Module, path: Path, processes: Processes) -> None:
    """Write the full model, sharded or not, as one safetensors file, from process 0; called by all."""
    from safetensors.torch import save_file

    whole = whole_state(model, processes)

    def write() -> None:
        assert whole is not None  # this is process 0
        save_file(whole, path, metadata={"format": "pt"})

    processes.of_leader(write)
