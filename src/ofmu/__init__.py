"""ofmu: make a trained model forget chosen data, keep everything else, and prove it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ofmu.core.oracle import TorchOracle as TorchOracle
    from ofmu.engine.loop import unlearn as unlearn
    from ofmu.engine.models import load_model as load_model
    from ofmu.engine.models import save_model as save_model
    from ofmu.engine.prepare import Parts as Parts
    from ofmu.engine.prepare import Sources as Sources
    from ofmu.engine.prepare import prepare as prepare
    from ofmu.methods import OFMU as OFMU
    from ofmu.methods import build_method as build_method
    from ofmu.tasks import Stream as Stream
    from ofmu.tasks import Targets as Targets
    from ofmu.tasks import Task as Task
    from ofmu.tasks import TensorSamples as TensorSamples

__version__ = "0.1.0"

# What `from ofmu import …` offers, by module: imported when first asked for, so that `ofmu --help` loads no torch.
_PUBLIC = {
    "OFMU": "ofmu.methods",
    "Parts": "ofmu.engine.prepare",
    "Sources": "ofmu.engine.prepare",
    "Stream": "ofmu.tasks",
    "Targets": "ofmu.tasks",
    "Task": "ofmu.tasks",
    "TensorSamples": "ofmu.tasks",
    "TorchOracle": "ofmu.core.oracle",
    "build_method": "ofmu.methods",
    "load_model": "ofmu.engine.models",
    "prepare": "ofmu.engine.prepare",
    "save_model": "ofmu.engine.models",
    "unlearn": "ofmu.engine.loop",
}
__all__ = [*sorted(_PUBLIC), "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'ofmu' has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)
