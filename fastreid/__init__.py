"""Retrieval of patent drawings: find all drawings of the same object from any of its views."""

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastreid.engine.model.directory import ModelCard
    from fastreid.engine.model.zoo import create_model
    from fastreid.engine.predictor import Predictor

__version__ = "0.2.0"
__all__ = ["ModelCard", "Predictor", "__version__", "create_model"]

_LAZY = {  # imported when they are first used, because torch takes seconds
    "ModelCard": "fastreid.engine.model.directory",
    "Predictor": "fastreid.engine.predictor",
    "create_model": "fastreid.engine.model.zoo",
}

# Threads of torch spin while they wait, which slows steps down many times if other processes use the machine
# (measured in docs/decisions/0004-passive-openmp-threads.md). OpenMP reads the variable when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)
