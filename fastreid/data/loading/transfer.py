"""Transfer of batches from the workers to the main process: through shared memory, or through pipes if it is too small.

A container of Docker has 64 MB of shared memory unless `--shm-size` is set. Torch's two sharing strategies both need
it: each creates its files with `shm_open`, in /dev/shm. A page has one byte per pixel, so a batch is a few megabytes
and a pipe is fast enough: it costs a copy in each process and changes no bit.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fastreid.data.io.image import Array
from fastreid.data.loading.batches import HostBatch, Sample, collate
from fastreid.utils.errors import FastreidError
from fastreid.utils.logger import get_logger
from fastreid.utils.resources import (
    ENLARGE_SHARED_MEMORY,
    SHARED_MEMORY,
    format_bytes,
    full_shared_memory_error,
    get_free_bytes,
)

PREFETCH_FACTOR = 2  # batches per worker that are requested in advance
_SEMAPHORE_BYTES = 4 * 4096  # of the queue of a worker; without them torch fails and prints two more errors
_RESERVE_BYTES = 4_000_000  # for semaphores and the communication of several processes


@dataclass(frozen=True)
class WorkerBatch:
    """A batch on its way from a worker; only tensors use shared memory, arrays are sent through a pipe.

    Args:
        pages: uint8 (B, C, H, W).
        aug_params, targets, rows, skipped: as in `HostBatch`; small, so always arrays.
        note: why the pages are not in shared memory, or "".
    """

    pages: Tensor | Array
    aug_params: Array
    targets: Array
    rows: Array
    skipped: tuple[tuple[int, str], ...]
    note: str = ""

    def unpack(self) -> HostBatch:
        """Return the batch as tensors."""
        pages = self.pages if isinstance(self.pages, Tensor) else torch.from_numpy(self.pages)
        aug_params, targets, rows = (torch.from_numpy(part) for part in (self.aug_params, self.targets, self.rows))
        return HostBatch(pages, aug_params, targets, rows, self.skipped, self.note)

    def pin_memory(self) -> HostBatch:
        """Return the batch in page-locked memory; called by DataLoader."""
        return self.unpack().pin_memory()


def build_collate(
    num_workers: int, *, batch_bytes: int, num_processes: int
) -> Callable[[Sequence[Sample | FastreidError]], HostBatch | WorkerBatch | FastreidError]:
    """Return the function with which a loader stacks samples; logs one line if its batches do not fit shared memory.

    Args:
        num_workers: worker processes of the loader; with 0 nothing is transferred.
        batch_bytes: size of the pages of a batch; 0: unknown, then each worker measures before each batch.
        num_processes: processes on this machine with such a loader.

    Raises:
        EnvironmentSetupError: shared memory is full.
    """
    if num_workers == 0:
        return collate
    if not _fits(_SEMAPHORE_BYTES * (num_workers + 4), reserve_bytes=0):
        raise full_shared_memory_error()
    needed = num_processes * (PREFETCH_FACTOR * num_workers + 1) * batch_bytes
    is_small = needed > 0 and not _fits(needed)
    if is_small:
        get_logger().info(_describe_shortage(needed))
    num_batches = needed // (batch_bytes or 1)
    return functools.partial(_collate_in_worker, use_shared_memory=not is_small, num_batches=num_batches)


def _collate_in_worker(
    samples: Sequence[Sample | FastreidError], *, use_shared_memory: bool, num_batches: int
) -> WorkerBatch | FastreidError:
    batch = collate(samples)
    if isinstance(batch, FastreidError):
        return batch
    pages, aug_params, targets, rows = (
        part.numpy() for part in (batch.pages, batch.aug_params, batch.targets, batch.rows)
    )
    packed = WorkerBatch(pages, aug_params, targets, rows, batch.skipped)
    if not use_shared_memory:
        return packed
    num_bytes = batch.pages.nbytes
    try:
        if _fits(num_bytes):
            batch.pages.share_memory_()  # type: ignore[no-untyped-call]  # torch has no annotation
            return dataclasses.replace(packed, pages=batch.pages)
    except RuntimeError:  # another program was faster
        pass
    return dataclasses.replace(packed, note=_describe_shortage(num_bytes * max(num_batches, 1)))


def _fits(num_bytes: int, *, reserve_bytes: int = _RESERVE_BYTES) -> bool:
    """Return whether shared memory has room; True on systems that do not keep it in /dev/shm."""
    return not SHARED_MEMORY.is_dir() or get_free_bytes(SHARED_MEMORY) >= num_bytes + reserve_bytes


def _describe_shortage(needed: int) -> str:
    free = get_free_bytes(SHARED_MEMORY)
    return (
        f"shared memory is too small for the batches of the workers: {SHARED_MEMORY} has {format_bytes(free)} free, "
        f"{format_bytes(needed + _RESERVE_BYTES)} are needed; they are sent through pipes instead, with the same "
        f"results; to use shared memory, {ENLARGE_SHARED_MEMORY} or lower DATALOADER.NUM_WORKERS"
    )
