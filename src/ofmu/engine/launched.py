"""The processes of a run: one, or several that `torchrun` or `accelerate launch` started and that act as one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from ofmu.engine.pretrained import need
from ofmu.errors import UserError

Parallel = Literal["none", "ddp", "fsdp2"]
T = TypeVar("T")


@dataclass(frozen=True)
class Processes:
    """One process (rank, from 0) among `size`, and the device that it computes on.

    What is done together must be called by every process, in the same order. With one process all of it is a
    no-op, so that the same code serves both.
    """

    rank: int = 0
    size: int = 1
    device: torch.device = torch.device("cpu")  # noqa: RUF009  immutable

    @property
    def leads(self) -> bool:
        """Whether this process speaks and writes for all."""
        return self.rank == 0

    @cached_property
    def mesh(self) -> Any:
        """All processes in a line, as FSDP2 shards over them."""
        from torch.distributed.device_mesh import init_device_mesh

        return init_device_mesh(self.device.type, (self.size,))

    def add(self, tensor: Tensor) -> Tensor:
        """Sum a tensor over the processes, in place; every process ends with the same bits."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def any(self, flag: bool) -> bool:
        """Whether it holds on some process."""
        return flag if self.size == 1 else float(self.add(torch.tensor(float(flag), device=self.device))) > 0

    def gather(self, value: T) -> list[T]:
        """Every process's value, by rank (pickled: only what the processes of one run tell each other)."""
        if self.size == 1:
            return [value]
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, value)
        return found

    def of_leader(self, make: Callable[[], T]) -> T:
        """What `make` returns on process 0, on all of them; an error there is raised on all."""
        made: list[Any] = [None]
        with self.together():
            if self.leads:
                made[0] = make()
        if self.size > 1:
            dist.broadcast_object_list(made, src=0, device=self.device)
        return made[0]

    def barrier(self) -> None:
        """Wait until every process is here."""
        if self.size > 1:
            self.add(torch.zeros(1, device=self.device)).item()  # unlike dist.barrier, it never guesses a device

    @contextmanager
    def together(self) -> Iterator[None]:
        """Leave the block alike: where one process fails, all raise.

        Only around work without communication (files, parsing): a process that waits for another inside the
        block cannot hear of its error. The failing process raises its own error; the others a UserError that
        names it.
        """
        error: BaseException | None = None
        try:
            yield
        except (Exception, KeyboardInterrupt) as caught:
            error = caught
        if self.size > 1:
            found = self.gather(None if error is None else f"{type(error).__name__}: {error}")
            failed = [(rank, text) for rank, text in enumerate(found) if text is not None]
            if error is None and failed:
                raise UserError(f"process {failed[0][0]} of {self.size} stopped: {failed[0][1]}")
        if error is not None:
            raise error


ALONE = Processes()


def world_size() -> int:
    """How many processes were launched together (WORLD_SIZE), 1 where nothing says so."""
    found = os.environ.get("WORLD_SIZE", "1")
    if not found.isdecimal() or int(found) < 1:
        raise UserError(f"WORLD_SIZE: found {found!r}, expected a number of processes; launch with torchrun")
    return int(found)


def chosen(asked: Parallel | None) -> Parallel:
    """What --parallel means here: by default ddp where several processes were launched.

    Raises UserError for ddp or fsdp2 without a launcher, and for none where there are several processes.
    """
    size, launched = world_size(), "RANK" in os.environ and "WORLD_SIZE" in os.environ
    if asked is None:
        return "ddp" if size > 1 else "none"
    if asked == "none" and size > 1:
        raise UserError(
            f"--parallel: found none with {size} launched processes, each of which would do the whole run and "
            "write OUT; leave --parallel out, or start the command without a launcher"
        )
    if asked != "none" and not launched:
        raise UserError(
            f"--parallel: {asked} needs processes that a launcher started, found none (RANK and WORLD_SIZE are "
            f"not set); run it as: torchrun --nproc_per_node 2 -m ofmu unlearn --parallel {asked} …"
        )
    return asked


@contextmanager
def joined(parallel: Parallel) -> Iterator[Processes]:
    """The group of the launched processes, through Accelerate, which knows the device and its backend.

    On CUDA that is one device a process and NCCL, without it gloo. Left in order, the group is taken down; an
    error leaves it to the end of the process, since others may still be waiting in it.
    """
    if parallel == "none":
        yield ALONE
        return
    need("accelerate", "parallel")
    from accelerate import PartialState

    # asked for a GPU that is not there, Accelerate would silently not be distributed at all
    cpu = not torch.cuda.is_available()
    state = PartialState(cpu=cpu, backend="gloo" if cpu else "cuda:nccl,cpu:gloo")
    if not dist.is_initialized() or dist.get_world_size() != world_size():
        raise UserError(
            f"--parallel: {world_size()} processes were launched, but no group of them was formed "
            f"({state.distributed_type}); launch with torchrun or accelerate launch, and no other plugin"
        )
    found = Processes(dist.get_rank(), dist.get_world_size(), torch.device(state.device))
    yield found
    found.barrier()
    state.destroy_process_group()
    PartialState._reset_state()  # it would go on believing in the group
