"""Helpers for operations that need at least float32: distances, margins, pooling with powers, losses."""

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

HALF_DTYPES = (torch.float16, torch.bfloat16)
# A constant, since torch.amp.is_autocast_available causes a graph break in torch.compile before 2.14.
AUTOCAST_DEVICES = ("cpu", "cuda")


def upcast_half(value: Any) -> Any:
    """Convert a 16-bit float tensor to float32; return any other value unchanged."""
    return value.float() if isinstance(value, Tensor) and value.dtype in HALF_DTYPES else value


def in_full_precision(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Decorate a function to compute in at least float32, regardless of autocast.

    In float16, the distance between two similar features of width 2048 may be 0.14 or 1.8 instead of 1.26, and a cosine
    of 1.0001 makes the arc cosine NaN.
    """

    @functools.wraps(function)
    def run(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        device = next((value.device.type for value in args if isinstance(value, Tensor)), "cpu")
        with torch.autocast(device if device in AUTOCAST_DEVICES else "cpu", enabled=False):
            return function(
                *(upcast_half(value) for value in args),
                **{name: upcast_half(value) for name, value in kwargs.items()},
            )

    return run


def has_fast_bfloat16(device: torch.device) -> bool:
    """Return True if a device multiplies bfloat16 faster than float32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
