"""Numbers that must not be rounded to 16 bits: distances, margins, pools with powers, losses."""

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

NARROW = (torch.float16, torch.bfloat16)
# Written down: torch.compile before 2.14 cannot look into torch.amp.is_autocast_available, and would cut the network there.
WITH_AUTOCAST = ("cpu", "cuda")


def widened(value: Any) -> Any:
    """A 16-bit tensor as float32; anything else as it is."""
    return value.float() if isinstance(value, Tensor) and value.dtype in NARROW else value


def in_full_precision(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Let a function work in float32 at least, whatever autocast says around it.

    In float16 the distance of two near features of width 2048 comes out anywhere between .14 and 1.8 where 1.26 is
    right, and a cosine of 1.0001 makes the arc cosine NaN.
    """

    @functools.wraps(function)
    def run(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        device = next((value.device.type for value in args if isinstance(value, Tensor)), "cpu")
        with torch.autocast(device if device in WITH_AUTOCAST else "cpu", enabled=False):
            return function(
                *(widened(value) for value in args),
                **{name: widened(value) for name, value in kwargs.items()},
            )

    return run


def has_bfloat16_units(device: torch.device) -> bool:
    """Whether a device multiplies bfloat16 faster than float32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
