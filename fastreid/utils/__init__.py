"""Utilities without any knowledge of retrieval: errors, files, logging, processes, registries and seeding."""

from fastreid.utils.errors import (
    EnvironmentSetupError,
    FastreidError,
    InputError,
    NumericalError,
    StorageError,
    WeightsError,
)
from fastreid.utils.registry import Registry

__all__ = [
    "EnvironmentSetupError",
    "FastreidError",
    "InputError",
    "NumericalError",
    "Registry",
    "StorageError",
    "WeightsError",
]
