"""Training and test loaders: drawings read, transformed and stacked to batches, in this process or in workers.

Workers are forked on Linux. This is safe although torch has threads by then: torch gives each worker one compute
thread, so no thread pool of the parent is used; a worker uses Pillow, numpy and CPU tensors, never CUDA; and it starts
within a second, without importing modules again. Other systems use their default start method.
"""

import multiprocessing
import signal
import sys
import warnings
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import count
from multiprocessing.process import BaseProcess
from typing import Protocol

import torch
from torch.utils.data import DataLoader

from fastreid.data.datasets.base import encode_labels
from fastreid.data.io.image import read_drawing
from fastreid.data.io.reader import DrawingReader, ReadPage
from fastreid.data.loading.batches import DrawingDataset, HostBatch, SampleKey, Transform
from fastreid.data.loading.transfer import PREFETCH_FACTOR, WorkerBatch, build_collate
from fastreid.data.loading.unreadable import LEFT_OUT, RESTORE_ONE, SKIP_IT, UnreadableDrawings
from fastreid.data.loading.workers import IN_PROCESS, Workers, ignore_signals_in_worker, kill_workers, worker_died_error
from fastreid.data.samplers.instance import InferenceSampler
from fastreid.structures import Batch, Drawing
from fastreid.utils.errors import EnvironmentSetupError, FastreidError, InputError
from fastreid.utils.logger import get_logger
from fastreid.utils.processes import defer_signals
from fastreid.utils.resources import explain_full_shared_memory, explain_process_limit
from fastreid.utils.text import escape_unprintable

MAX_DRAWINGS_SHOWN = 3
CPU = torch.device("cpu")
MAIN_PROCESS_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Sampler(Protocol):
    """Determines the rows of each iteration's global batch, as a pure function of the iteration."""

    def batches(self, start_iteration: int = 0) -> Iterator[list[int]]:
        """Yield the rows of each batch from an iteration on, without end."""


class TrainLoader:
    """Endless iterator over training batches, each a pure function of the seed and the iteration.

    The workers run until `close`.

    Args:
        drawings: the training list.
        transform: page to image, with random augmentations; batch augmentations run on the device.
        sampler: determines the rows of the global batches.
        batch_size: drawings per iteration over all devices.
        seed: of the run.
        start_iteration: iterations that are already done.
        rank: process rank; it gets its slice of each global batch.
        world_size: number of processes that share a batch.
        workers: settings of the worker processes.
        read: reads the page of a drawing.
        device: device of the batches.
        unreadable: records unreadable drawings, which others of their patents replace; None: the first one is an error.

    Attributes:
        patents: patent ids in the order of their labels.
        num_classes: number of patents.
        iters_per_epoch: iterations that count as one epoch: drawings // batch_size.

    Raises:
        InputError: the list is shorter than one batch, or the batch cannot be divided evenly; while iterating, a
            drawing cannot be read.
        EnvironmentSetupError: while iterating, a worker died or is stuck.
    """

    def __init__(
        self,
        drawings: Sequence[Drawing],
        *,
        transform: Transform,
        sampler: Sampler,
        batch_size: int,
        seed: int,
        start_iteration: int = 0,
        rank: int = 0,
        world_size: int = 1,
        workers: Workers = IN_PROCESS,
        read: ReadPage = read_drawing,
        device: torch.device = CPU,
        unreadable: UnreadableDrawings | None = None,
    ):
        self.iters_per_epoch = steps_per_epoch(len(drawings), batch_size)
        if batch_size % world_size:
            raise InputError(f"SOLVER.IMS_PER_BATCH is {batch_size}; allowed are multiples of the {world_size} devices")
        targets, self.patents = encode_labels(drawings)
        self.num_classes = len(self.patents)
        dataset = DrawingDataset(
            drawings,
            targets,
            transform=transform,
            seed=seed,
            read=read,
            replace_unreadable=unreadable is not None,
            hint=SKIP_IT if unreadable is None else RESTORE_ONE,
        )
        self._unreadable = unreadable
        self._transform, self._device = transform, device
        local = slice(rank * batch_size // world_size, (rank + 1) * batch_size // world_size)
        keys = _sample_keys(sampler, start_iteration, batch_size, local)
        self._stream = _BatchStream(dataset, keys, workers, batch_size=batch_size // world_size)

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        batch = next(self._stream)
        if self._unreadable is not None:
            self._unreadable.record(batch.skipped)
        return batch.to_batch(self._transform, self._device)

    def worker_error(self, reason: str) -> EnvironmentSetupError:
        """Return the error for a worker that died, with the drawings it was loading; torch may raise it anywhere.

        Args:
            reason: torch's message.
        """
        return self._stream.worker_error(reason)

    def close(self) -> None:
        """Stop the workers; the iterator ends."""
        self._stream.close()


class TestLoader:
    """Batches of a list in order, the same for any number of workers and processes; may be iterated repeatedly.

    Args:
        drawings: the list; `rows` of a batch are its rows, `targets` are labels of its patents.
        transform: page to image; batch transforms run on the device.
        batch_size: drawings per batch.
        rank: process rank; it gets consecutive whole batches.
        world_size: number of processes that share the list.
        workers: settings of the worker processes.
        read: reads the page of a drawing.
        device: device of the batches.
        done: first rows of batches to omit, because their results exist.
        unreadable: records unreadable drawings. Others of their patents replace them, and `rows` has the rows of
            those; None: an unreadable drawing is an error.
        hint: appended to that error.
    """

    __test__ = False  # pytest would collect it because of its name

    def __init__(
        self,
        drawings: Sequence[Drawing],
        *,
        transform: Transform,
        batch_size: int,
        rank: int = 0,
        world_size: int = 1,
        workers: Workers = IN_PROCESS,
        read: ReadPage = read_drawing,
        device: torch.device = CPU,
        done: Collection[int] = (),
        unreadable: UnreadableDrawings | None = None,
        hint: str = "",
    ):
        targets, self.patents = encode_labels(drawings)
        self.sampler = InferenceSampler(
            len(drawings), batch_size=batch_size, rank=rank, world_size=world_size, completed_starts=done
        )
        self.dataset = DrawingDataset(
            drawings, targets, transform=transform, read=read, replace_unreadable=unreadable is not None, hint=hint
        )
        self.unreadable = unreadable
        self.workers = workers
        self.batch_size = batch_size
        self.device = device

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[Batch]:
        keys = ([(row, row) for row in rows] for rows in self.sampler)
        stream = _BatchStream(self.dataset, keys, self.workers, batch_size=self.batch_size)
        try:
            for batch in stream:
                if self.unreadable is not None:
                    self.unreadable.record(batch.skipped, action=LEFT_OUT)
                yield batch.to_batch(self.dataset.transform, self.device)
        finally:
            stream.close()


def steps_per_epoch(num_drawings: int, batch_size: int) -> int:
    """Return the number of whole batches in a list; build the sampler first, whose limits on a batch are stricter.

    Raises:
        InputError: there is none.
    """
    if num_drawings < batch_size:
        raise InputError(
            f"{num_drawings} training drawings are fewer than one batch; lower SOLVER.IMS_PER_BATCH {batch_size} to "
            f"{num_drawings} or less (a multiple of DATALOADER.NUM_INSTANCE)"
        )
    return num_drawings // batch_size


def _sample_keys(sampler: Sampler, start: int, batch_size: int, local: slice) -> Iterator[list[SampleKey]]:
    """Yield the local part of each global batch."""
    for iteration, rows in zip(count(start), sampler.batches(start)):
        indices = range(iteration * batch_size, (iteration + 1) * batch_size)
        yield list(zip(indices, rows))[local]


class _BatchStream:
    """Iterator from sample keys to batches; starts its workers with the first batch and translates their errors."""

    def __init__(self, dataset: DrawingDataset, keys: Iterable[list[SampleKey]], workers: Workers, *, batch_size: int):
        self.dataset = dataset
        self.batch_size = batch_size
        self.keys = keys
        self.workers = workers
        self.pending: deque[list[SampleKey]] = deque()  # sent to the workers and not yet returned, in order
        self.batches: Iterator[HostBatch | WorkerBatch | FastreidError] | None = None
        self.has_noted = False
        self.processes: list[BaseProcess] = []
        self.is_closed = False

    def __iter__(self) -> Iterator[HostBatch]:
        return self

    def __next__(self) -> HostBatch:
        if self.is_closed:
            raise StopIteration
        if self.batches is None:
            self.batches = self._start()
        try:
            batch = next(self.batches)
        except RuntimeError as error:
            if str(error).startswith("DataLoader "):
                worker_error = self.worker_error(str(error))
                kill_workers(self.processes)
                raise worker_error
            raise
        self.pending.popleft()
        if isinstance(batch, FastreidError):
            raise batch
        if isinstance(batch, WorkerBatch):
            batch = batch.unpack()
        if batch.note and not self.has_noted:
            self.has_noted = True
            get_logger().info(batch.note)
        return batch

    def close(self) -> None:
        self.is_closed = True
        self.batches = None
        if isinstance(self.dataset.read, DrawingReader):
            self.dataset.read.close()

    def _start(self) -> Iterator[HostBatch | WorkerBatch | FastreidError]:
        workers, has_workers = self.workers, self.workers.num > 0
        with warnings.catch_warnings():
            # Python 3.12 and later warn about forks of processes with threads; see the module docstring.
            warnings.filterwarnings("ignore", message=".*fork", category=DeprecationWarning)
            # Torch warns about more workers than cores; workers wait for the disk as much as for a core.
            warnings.filterwarnings("ignore", message="This DataLoader will create", category=UserWarning)
            loader: DataLoader[HostBatch | WorkerBatch | FastreidError] = DataLoader(
                self.dataset,  # type: ignore[arg-type]  # DataLoader's type does not depend on collate_fn
                batch_sampler=_PendingRecorder(self.keys, self.pending),
                collate_fn=build_collate(
                    workers.num,
                    batch_bytes=self.batch_size * workers.page_bytes,
                    num_processes=workers.num_processes,
                ),
                num_workers=workers.num,
                prefetch_factor=PREFETCH_FACTOR if has_workers else None,
                timeout=workers.timeout_s if has_workers else 0,
                pin_memory=workers.pin_memory,
                worker_init_fn=ignore_signals_in_worker,
                multiprocessing_context="fork" if has_workers and sys.platform == "linux" else None,
                generator=torch.Generator(),  # otherwise it advances the generator that initializes the weights
            )
            with (
                explain_process_limit(),
                explain_full_shared_memory(),
                defer_signals(*MAIN_PROCESS_SIGNALS),
            ):  # a worker that is starting is not ready for them
                others = multiprocessing.active_children()
                batches = iter(loader)
                self.processes = [one for one in multiprocessing.active_children() if one not in others]
                return batches

    def worker_error(self, reason: str) -> EnvironmentSetupError:
        rows = [row for _, row in self.pending[0]] if self.pending else []
        names = ", ".join(escape_unprintable(self.dataset.drawings[row].name) for row in rows[:MAX_DRAWINGS_SHOWN])
        pending = f" while loading {len(rows)} drawings, the first {names}" if rows else ""
        if "timed out" in reason:
            message = f"no batch for {self.workers.timeout_s} s{pending}"
            return EnvironmentSetupError(f"{message}; check the disk, or raise DATALOADER.TIMEOUT_S")
        return worker_died_error(reason, pending)


class _PendingRecorder:
    """Batch sampler that records each batch as pending when a worker receives it."""

    def __init__(self, keys: Iterable[list[SampleKey]], pending: deque[list[SampleKey]]):
        self.keys = keys
        self.pending = pending

    def __iter__(self) -> Iterator[list[SampleKey]]:
        for batch in self.keys:
            self.pending.append(batch)
            yield batch
