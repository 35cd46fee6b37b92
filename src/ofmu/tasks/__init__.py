"""What is to be forgotten and what is to be kept, and how a method looks: the types that all layers share.

A method sees nothing else of the world: no device, no data loader, no file. Every sample has a stable id
(see `ofmu.data`), and inside one data set a *row*, its position, by which per-sample values such as targets
are looked up.
"""

from .hard_stream import HardStream
from .method import Log, Method
from .samples import IGNORE, Batch, Samples, TensorSamples, batches
from .stream import Cursor, Stream
from .task import Kind, Need, Settled, Targets, Task

__all__ = [
    "IGNORE",
    "Batch",
    "Cursor",
    "HardStream",
    "Kind",
    "Log",
    "Method",
    "Need",
    "Samples",
    "Settled",
    "Stream",
    "Targets",
    "Task",
    "TensorSamples",
    "batches",
]
