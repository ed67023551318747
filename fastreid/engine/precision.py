"""In which kind of number the network works: float32, or 16 bits where they are faster and cost little.

What must not be rounded to 16 bits (distances, margins, pools, losses) is float32 whatever is chosen here; see
`fastreid.layers.precision`.
"""

import contextlib
from collections.abc import Iterator

import torch

from fastreid.layers.precision import has_fast_bfloat16
from fastreid.utils.errors import InputError, NumericalError
from fastreid.utils.logger import get_logger

DTYPES = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}


def autocast(device: torch.device, dtype: torch.dtype | None) -> torch.autocast:
    """Inside, matrix products and convolutions work in `dtype`; in float32 when None."""
    return torch.autocast(device.type, dtype=dtype or torch.bfloat16, enabled=dtype is not None)


def training_dtype(name: str, device: torch.device) -> torch.dtype | None:
    """What SOLVER.AMP.DTYPE means on a device; None: float32.

    float16 is for GPUs, as its loss scaling is: elsewhere the run is in float32, and says so, since fast-reid's configs
    ask for it and are used on CPUs too.
    """
    if name == "float16" and device.type != "cuda":
        get_logger().info(
            "SOLVER.AMP in float16 is for CUDA devices; on this one the run is in float32 (SOLVER.AMP.DTYPE bfloat16 is "
            "for any)"
        )
        return None
    warn_if_dtype_is_slow(name, device, setting="SOLVER.AMP.DTYPE")
    return DTYPES[name]


def inference_dtype(name: str, device: torch.device) -> torch.dtype | None:
    """What TEST.NETWORK_PRECISION means on a device; None: float32. It is asked at every evaluation and tells nothing.

    Raises:
        InputError: float16 on a device other than a GPU.
    """
    if name == "float16" and device.type != "cuda":
        raise InputError("TEST.NETWORK_PRECISION is float16, which is for GPUs; take bfloat16 or float32")
    return DTYPES[name]


@contextlib.contextmanager
def explain_float16_overflow(dtype: torch.dtype | None) -> Iterator[None]:
    """Inside, features that are no numbers are told with what float16 may have to do with it.

    Raises:
        NumericalError: as what is inside, with a way out where the products were made in float16.
    """
    try:
        yield
    except NumericalError as error:
        if dtype is torch.float16:
            raise NumericalError(f"{error}; float16 ends at 65504, so try TEST.NETWORK_PRECISION bfloat16")
        raise


def warn_if_dtype_is_slow(name: str, device: torch.device, *, setting: str) -> None:
    """Tell, once a run, of a kind of number that the device works with in software."""
    if name == "bfloat16" and not has_fast_bfloat16(device):
        get_logger().warning(f"{setting} is bfloat16, for which this device has no units: float32 may be faster")
