"""Loaders: drawings read, changed and stacked to batches, in this process or in others.

A loader's processes are forked on Linux. That is safe here although torch has threads by then: torch gives each worker
one thread of computation, so no thread pool of the parent is used; a worker touches Pillow, numpy and CPU tensors,
never CUDA; and it starts in a second without importing anything again. Elsewhere the platform's own way is taken.
"""

import multiprocessing
import signal
import sys
import warnings
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from multiprocessing.process import BaseProcess
from typing import Protocol

import torch
from torch.utils.data import DataLoader

from fastreid.data.datasets.base import class_numbers
from fastreid.data.io.image import read_drawing
from fastreid.data.io.messages import one_line
from fastreid.data.loading.batches import DrawingDataset, Item, Levels, Read, Transform, collate
from fastreid.data.loading.unreadable import LEFT_OUT, BadDrawings
from fastreid.data.loading.workers import death_of_worker, end_at_once, leave_signals_to_main
from fastreid.data.samplers.instance import InferenceSampler
from fastreid.structures import Batch, Drawing
from fastreid.utils.errors import EnvironmentSetupError, FastreidError, InputError
from fastreid.utils.processes import held_back

NUM_DRAWINGS_TOLD = 3
CPU = torch.device("cpu")
MAIN_ANSWERS = (signal.SIGTERM, signal.SIGINT)


class Sampler(Protocol):
    """Gives the rows of each iteration's global batch, as a function of the iteration alone."""

    def batches(self, start_iteration: int = 0) -> Iterator[list[int]]:
        """Batches from that iteration on, for ever."""


@dataclass(frozen=True)
class Workers:
    """The processes that load drawings.

    Args:
        num: how many; 0 loads in the main process.
        timeout_s: how long to wait for one batch before a worker counts as stuck; 0: for ever.
        pin_memory: put batches where a GPU fetches them faster.
    """

    num: int = 0
    timeout_s: float = 0
    pin_memory: bool = False

    def __post_init__(self) -> None:
        if self.num < 0 or self.timeout_s < 0:
            raise InputError(
                f"DATALOADER.NUM_WORKERS is {self.num} and TIMEOUT_S {self.timeout_s}; allowed are 0 and more"
            )


class TrainLoader:
    """Batches for ever, each a function of the seed and the iteration; an iterator whose workers last the whole run.

    Args:
        drawings: the training list.
        transform: page to image, with its random changes; what is left for whole batches is done on the device.
        sampler: gives the rows of the global batches.
        batch_size: drawings of a step over all devices.
        seed: the run's seed.
        start_iteration: iterations that are already done.
        rank: this device's number; it gets its slice of each global batch.
        world_size: how many devices share a batch.
        workers: the processes that load.
        read: gives a drawing's page.
        device: where the batches go.
        bad: takes note of drawings that cannot be read, for which others of their patents stand in; None: the first of
            them is refused.

    Attributes:
        words: the patents' words in order of their class numbers.
        num_classes: how many patents there are.
        iters_per_epoch: steps that count as one epoch: drawings // batch_size.

    Raises:
        InputError: the list is shorter than one batch, or the batch cannot be shared evenly; while iterating, a drawing
            cannot be read.
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
        workers: Workers = Workers(),
        read: Read = read_drawing,
        device: torch.device = CPU,
        bad: BadDrawings | None = None,
    ):
        self.iters_per_epoch = steps_an_epoch(len(drawings), batch_size)
        if batch_size % world_size:
            raise InputError(f"SOLVER.IMS_PER_BATCH is {batch_size}; allowed are multiples of the {world_size} devices")
        targets, self.words = class_numbers(drawings)
        self.num_classes = len(self.words)
        stand_ins = bad is not None
        dataset = DrawingDataset(drawings, targets, transform=transform, seed=seed, read=read, stand_ins=stand_ins)
        self._bad = bad
        self._transform, self._device = transform, device
        share = slice(rank * batch_size // world_size, (rank + 1) * batch_size // world_size)
        self._feed = _Feed(dataset, _train_items(sampler, start_iteration, batch_size, share), workers)

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        levels = next(self._feed)
        if self._bad is not None:
            self._bad.note(levels.passed_over)
        return levels.finished(self._transform, self._device)

    def fault(self, reason: str) -> EnvironmentSetupError:
        """What to tell of a worker that died, with the drawings that were awaited; torch may raise that anywhere.

        Args:
            reason: what torch says of it.
        """
        return self._feed.fault(reason)

    def close(self) -> None:
        """Stop the workers; there are no further batches after it."""
        self._feed.close()


class TestLoader:
    """A list in its order, in batches that are the same for any number of workers and processes; iterate as often as
    you like.

    Args:
        drawings: the list; `rows` of a batch are places in it, `targets` number its patents.
        transform: page to image; what is left for whole batches is done on the device.
        batch_size: drawings a batch.
        rank: this process's number; it gets a run of whole batches.
        world_size: how many processes share the list.
        workers: the processes that load.
        read: gives a drawing's page.
        device: where the batches go.
        done: first rows of batches that are left out, as they need not be made.
        bad: takes note of drawings that cannot be read. Their places in the batches are taken by others of their
            patents, and `rows` names those; None: they are refused.
        hint: follows the refusal.
    """

    __test__ = False  # not a test, whatever its name makes pytest think

    def __init__(
        self,
        drawings: Sequence[Drawing],
        *,
        transform: Transform,
        batch_size: int,
        rank: int = 0,
        world_size: int = 1,
        workers: Workers = Workers(),
        read: Read = read_drawing,
        device: torch.device = CPU,
        done: Collection[int] = (),
        bad: BadDrawings | None = None,
        hint: str = "",
    ):
        targets, self.words = class_numbers(drawings)
        self.sampler = InferenceSampler(
            len(drawings), batch_size=batch_size, rank=rank, world_size=world_size, done=done
        )
        self.dataset = DrawingDataset(
            drawings, targets, transform=transform, read=read, stand_ins=bad is not None, hint=hint
        )
        self.bad = bad
        self.workers = workers
        self.device = device

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[Batch]:
        feed = _Feed(self.dataset, ([(row, row) for row in rows] for rows in self.sampler), self.workers)
        try:
            for levels in feed:
                if self.bad is not None:
                    self.bad.note(levels.passed_over, instead=LEFT_OUT)
                yield levels.finished(self.dataset.transform, self.device)
        finally:
            feed.close()


def steps_an_epoch(num_drawings: int, batch_size: int) -> int:
    """How many whole batches a list fills.

    Raises:
        InputError: none.
    """
    if num_drawings < batch_size:
        raise InputError(
            f"{num_drawings} training drawings do not fill one batch; lower SOLVER.IMS_PER_BATCH {batch_size}"
        )
    return num_drawings // batch_size


def _train_items(sampler: Sampler, start: int, batch_size: int, share: slice) -> Iterator[list[Item]]:
    for iteration, rows in zip(count(start), sampler.batches(start)):
        draws = range(iteration * batch_size, (iteration + 1) * batch_size)
        yield list(zip(draws, rows))[share]


class _Feed:
    """Batches of items in, batches of drawings out; starts its workers at the first one and turns faults into ours."""

    def __init__(self, dataset: DrawingDataset, items: Iterable[list[Item]], workers: Workers):
        self.dataset = dataset
        self.items = items
        self.workers = workers
        self.awaited: deque[list[Item]] = deque()  # given to the workers and not yet back, in order
        self.batches: Iterator[Levels | FastreidError] | None = None
        self.processes: list[BaseProcess] = []
        self.closed = False

    def __iter__(self) -> Iterator[Levels]:
        return self

    def __next__(self) -> Levels:
        if self.closed:
            raise StopIteration
        if self.batches is None:
            self.batches = self._start()
        try:
            levels = next(self.batches)
        except RuntimeError as error:
            if str(error).startswith("DataLoader "):
                fault = self.fault(str(error))
                end_at_once(self.processes)
                raise fault
            raise
        self.awaited.popleft()
        if isinstance(levels, FastreidError):
            raise levels
        return levels

    def close(self) -> None:
        self.closed = True
        self.batches = None

    def _start(self) -> Iterator[Levels | FastreidError]:
        several = self.workers.num > 0
        with warnings.catch_warnings():
            # Python 3.12 and later warn of any fork beside threads; the head of this file says why this one is safe.
            warnings.filterwarnings("ignore", message=".*fork", category=DeprecationWarning)
            # torch warns of more workers than cores; they wait for the disk as much as for a core.
            warnings.filterwarnings("ignore", message="This DataLoader will create", category=UserWarning)
            loader = DataLoader(
                self.dataset,
                batch_sampler=_Remembered(self.items, self.awaited),
                collate_fn=collate,
                num_workers=self.workers.num,
                timeout=self.workers.timeout_s if several else 0,
                pin_memory=self.workers.pin_memory,
                worker_init_fn=leave_signals_to_main,
                multiprocessing_context="fork" if several and sys.platform == "linux" else None,
                generator=torch.Generator(),  # else it takes a number from the generator that the run's weights come from
            )
            with held_back(*MAIN_ANSWERS):  # one that comes while a worker starts finds it ready
                others = multiprocessing.active_children()
                batches = iter(loader)
                self.processes = [one for one in multiprocessing.active_children() if one not in others]
                return batches

    def fault(self, reason: str) -> EnvironmentSetupError:
        rows = [row for _, row in self.awaited[0]] if self.awaited else []
        names = ", ".join(one_line(self.dataset.drawings[row].name) for row in rows[:NUM_DRAWINGS_TOLD])
        awaited = f"; awaited were {len(rows)} drawings, the first {names}" if rows else ""
        if "timed out" in reason:
            what = f"no batch came for {self.workers.timeout_s} s"
            return EnvironmentSetupError(f"{what}{awaited}; look at the disk, or raise DATALOADER.TIMEOUT_S")
        return death_of_worker(reason, awaited)


class _Remembered:
    """Passes batches of items on and notes them as awaited."""

    def __init__(self, items: Iterable[list[Item]], awaited: deque[list[Item]]):
        self.items = items
        self.awaited = awaited

    def __iter__(self) -> Iterator[list[Item]]:
        for batch in self.items:
            self.awaited.append(batch)
            yield batch
