"""Choose the precision of the network: float32, or 16 bits where they are faster.

Operations that need float32 (distances, margins, pooling, losses) always use it; see `fastreid.layers.precision`.
"""

import contextlib
from collections.abc import Iterator

import torch

from fastreid.layers.precision import has_fast_bfloat16
from fastreid.utils.errors import InputError, NumericalError
from fastreid.utils.logger import get_logger

DTYPES = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}


def autocast(device: torch.device, dtype: torch.dtype | None) -> torch.autocast:
    """Return a context in which matrix products and convolutions use `dtype`; None: float32."""
    return torch.autocast(device.type, dtype=dtype or torch.bfloat16, enabled=dtype is not None)


def training_dtype(name: str, device: torch.device) -> torch.dtype | None:
    """Return the dtype of SOLVER.AMP.DTYPE on a device; None: float32.

    float16 needs loss scaling, which only CUDA devices support. On other devices training falls back to float32 and
    logs it, because fast-reid's configs request float16 and are used on CPUs too.

    Args:
        name: key of `DTYPES`.
        device: device of the network.
    """
    if name == "float16" and device.type != "cuda":
        get_logger().info(
            f"SOLVER.AMP.DTYPE float16 needs a CUDA device; training in float32 on {device.type} "
            "(bfloat16 works on all devices)"
        )
        return None
    warn_if_dtype_is_slow(name, device, setting="SOLVER.AMP.DTYPE")
    return DTYPES[name]


def inference_dtype(name: str, device: torch.device) -> torch.dtype | None:
    """Return the dtype of TEST.NETWORK_PRECISION on a device; None: float32. Called in every evaluation; logs nothing.

    Args:
        name: key of `DTYPES`.
        device: device of the network.

    Raises:
        InputError: float16 on a device other than a GPU.
    """
    if name == "float16" and device.type != "cuda":
        raise InputError("TEST.NETWORK_PRECISION float16 needs a GPU; use bfloat16 or float32")
    return DTYPES[name]


@contextlib.contextmanager
def explain_float16_overflow(dtype: torch.dtype | None) -> Iterator[None]:
    """Add a hint to errors about non-finite features if the network used float16.

    Args:
        dtype: dtype of the network in this context.

    Raises:
        NumericalError: the error raised in the context, with the hint.
    """
    try:
        yield
    except NumericalError as error:
        if dtype is torch.float16:
            raise NumericalError(f"{error}; float16 overflows above 65504, so try TEST.NETWORK_PRECISION bfloat16")
        raise


def warn_if_dtype_is_slow(name: str, device: torch.device, *, setting: str) -> None:
    """Log a warning if the device emulates the dtype in software; called once per run.

    Args:
        name: key of `DTYPES`.
        device: device of the network.
        setting: config key of the dtype, for the warning.
    """
    if name == "bfloat16" and not has_fast_bfloat16(device):
        get_logger().warning(
            f"{setting} is bfloat16, which this device does not support in hardware; float32 may be faster"
        )
