"""Errors that say something about the machine, not about the data: open files, processes, threads and memory."""

import contextlib
import errno
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from fastreid.utils.errors import EnvironmentSetupError

SHARED_MEMORY = Path("/dev/shm")
ENLARGE_SHARED_MEMORY = "enlarge it (docker run --shm-size=2g)"
FULL_DISK_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_FEWER_PROCESSES = "lower DATALOADER.NUM_WORKERS, or raise the limit with `ulimit -u` or in the container's settings"
_MIN_OPEN_FILES = 4096  # a limit below this is worth raising to it
_LESS_MEMORY = "lower SOLVER.IMS_PER_BATCH, TEST.IMS_PER_BATCH or DATALOADER.NUM_WORKERS, or free memory"


def find_resource_error(error: BaseException) -> EnvironmentSetupError | None:
    """Return the error for a resource of the machine that is exhausted; None if `error` has another cause."""
    message = _describe_resource_error(error)
    return None if message is None else EnvironmentSetupError(message)


def _describe_resource_error(error: BaseException) -> str | None:
    text = str(error)
    number = error.errno if isinstance(error, OSError) else None
    if number == errno.ENFILE:
        return "too many open files on this machine; end other programs, or raise the limit fs.file-max"
    if number == errno.EMFILE or "Too many open files" in text or "items of ancdata" in text:
        return _describe_open_files_limit()
    if isinstance(error, RuntimeError) and "can't start new thread" in text:
        return f"the system cannot start another thread; {_FEWER_PROCESSES}"
    if _is_gpu_memory_error(error, text):
        return (
            f"the GPU has too little memory{_format_request(text)}; lower SOLVER.IMS_PER_BATCH (`fastreid batch-size` "
            "finds the largest that fits) or TEST.IMS_PER_BATCH; to continue a run with --resume, set "
            "MODEL.BACKBONE.GRADIENT_CHECKPOINTING True"
        )
    if isinstance(error, MemoryError) or number == errno.ENOMEM or _is_torch_memory_error(error, text):
        return f"not enough memory{_format_request(text)}; {_LESS_MEMORY}"
    library = re.match(r"(.+): failed to map segment from shared object(?!.*not permitted)", text)
    if isinstance(error, (ImportError, OSError)) and library:
        return f"not enough memory to load {library[1]}; raise the limit (`ulimit -v`), or free memory"
    return None


@contextlib.contextmanager
def explain_process_limit() -> Iterator[None]:
    """Raise an EnvironmentSetupError if the system does not allow another process in this context.

    Elsewhere EAGAIN has other causes, such as an output that does not block.

    Raises:
        EnvironmentSetupError: a limit on the number of processes or threads is reached.
    """
    try:
        yield
    except BlockingIOError as error:  # EAGAIN
        reason = error.strerror or str(error)
        raise EnvironmentSetupError(f"the system cannot start another process ({reason}); {_FEWER_PROCESSES}")


@contextlib.contextmanager
def explain_full_shared_memory() -> Iterator[None]:
    """Raise an EnvironmentSetupError if semaphores, which processes share, cannot be created in this context.

    Raises:
        EnvironmentSetupError: shared memory is full, or another resource is exhausted.
    """
    try:
        yield
    except OSError as error:
        resource_error = find_resource_error(error)
        if resource_error is None and error.errno == errno.ENOSPC:
            resource_error = full_shared_memory_error()
        if resource_error is None:
            raise
        raise resource_error


def full_shared_memory_error() -> EnvironmentSetupError:
    """Return the error for shared memory in which not even a semaphore fits."""
    free = format_bytes(get_free_bytes(SHARED_MEMORY))
    return EnvironmentSetupError(
        f"shared memory is full ({SHARED_MEMORY} has {free} free), so no worker can start; {ENLARGE_SHARED_MEMORY}, or "
        "set DATALOADER.NUM_WORKERS 0"
    )


def get_free_bytes(folder: Path) -> int:
    """Return the number of bytes that can still be written to the file system of a folder; 0 if it is unknown."""
    return find_free_bytes(folder) or 0


def find_free_bytes(folder: Path) -> int | None:
    """Return the number of bytes that can still be written to the file system of a folder; None if it is unknown.

    Some file systems do not report their size.
    """
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    try:
        usage = shutil.disk_usage(folder)
    except OSError:
        return None
    return usage.free if usage.total else None


def format_bytes(num_bytes: float) -> str:
    """Return a size such as "512 bytes" or "1,397.1 MB" (1 MB is 1,000,000 bytes)."""
    return f"{num_bytes / 1e6:,.1f} MB" if num_bytes >= 1e6 else f"{num_bytes:,.0f} bytes"


def _is_gpu_memory_error(error: BaseException, text: str) -> bool:
    """Return whether torch's allocator, CUDA or one of its libraries has no memory; torch is not imported for it."""
    if type(error).__name__ == "OutOfMemoryError":
        return True
    return (
        isinstance(error, RuntimeError)
        and re.search(r"error: out of memory|_ALLOC_FAILED|MPS .*out of memory|'out of memory'", text) is not None
    )


def _is_torch_memory_error(error: BaseException, text: str) -> bool:
    return isinstance(error, RuntimeError) and ("can't allocate memory" in text or "not enough memory" in text)


def _format_request(text: str) -> str:
    """Return how much memory was requested, if a message of torch or NumPy contains it."""
    match = re.search(r"allocate (\d+) bytes|allocate ([\d.]+ [KMGTPE]?i?B)", text)
    if match is None:
        return ""
    return f" for {format_bytes(int(match[1])) if match[1] else match[2]} more"


def _describe_open_files_limit() -> str:
    try:
        import resource
    except ImportError:  # Windows
        return "too many open files: this process may open no more; lower DATALOADER.NUM_WORKERS"
    limit, hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    suggested = max(2 * limit, _MIN_OPEN_FILES)
    raised = f"raise the limit with `ulimit -n {suggested}`"
    if hard_limit != resource.RLIM_INFINITY and hard_limit < suggested:
        raised = f"raise the limit as an administrator (the hard limit is {hard_limit} too)"
        if limit < hard_limit:
            raised = f"raise the limit with `ulimit -n {hard_limit}`, the hard limit"
    return f"too many open files: this process may open {limit}; {raised}, or lower DATALOADER.NUM_WORKERS"
