"""Keep freed memory in the process, so that large tensors on the CPU do not cost page faults again and again."""

import ctypes
import os
import sys

KEPT_BYTES = 1 << 30  # freed memory that the process keeps at most; blocks up to this size are reused
USER_VARIABLES = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES")  # settings of the user

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of mallopt in glibc's malloc.h


def keep_freed_memory() -> bool:
    """Let malloc reuse large blocks instead of returning each to the system when it is freed.

    By default, glibc maps blocks above 32 MB from the system, so every large tensor begins with a page fault for each 4
    KB. Measured in docs/decisions/0012. Nothing is changed on other systems than Linux with glibc, or if a variable of
    USER_VARIABLES is set.

    Returns:
        Whether the setting is active.
    """
    if not sys.platform.startswith("linux") or any(name in os.environ for name in USER_VARIABLES):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # another C library, such as musl
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, KEPT_BYTES)) and bool(mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES))
