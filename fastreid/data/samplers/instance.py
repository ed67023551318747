"""Samplers that do not look at patents in groups: the training stream, the balanced draw, the shards of a test."""

from collections.abc import Collection, Iterator, Sequence

import numpy as np

from fastreid.utils.errors import InputError
from fastreid.utils.seeding import keyed_generator


class TrainingSampler:
    """One random order of all drawings after the other, cut into batches; a batch may span two orders.

    Args:
        num_drawings: length of the training list.
        batch_size: drawings of a step over all devices.
        seed: the run's seed.
    """

    def __init__(self, num_drawings: int, *, batch_size: int, seed: int):
        if num_drawings < 1 or batch_size < 1:
            raise InputError(
                f"batches of {batch_size} from {num_drawings} drawings cannot be made; both must be 1 or more"
            )
        self.num_drawings = num_drawings
        self.batch_size = batch_size
        self.seed = seed

    def batches(self, start_iteration: int = 0) -> Iterator[list[int]]:
        """Rows of the global batch of each iteration from the given one on, for ever."""
        turn, skipped = divmod(start_iteration * self.batch_size, self.num_drawings)
        waiting = self._order(turn)[skipped:]
        while True:
            while len(waiting) < self.batch_size:
                turn += 1
                waiting = np.concatenate([waiting, self._order(turn)])
            yield waiting[: self.batch_size].tolist()
            waiting = waiting[self.batch_size :]

    def _order(self, turn: int) -> np.ndarray:
        return keyed_generator(self.seed, "order", turn).permutation(self.num_drawings)


class ImbalancedDatasetSampler:
    """Drawings drawn with replacement, each with weight one over the drawings of its patent: all patents come as often.

    Args:
        targets: class number of each drawing.
        batch_size: drawings of a step over all devices.
        seed: the run's seed.
    """

    def __init__(self, targets: Sequence[int], *, batch_size: int, seed: int):
        if not targets or batch_size < 1:
            raise InputError(
                f"batches of {batch_size} from {len(targets)} drawings cannot be made; both must be 1 or more"
            )
        _, classes, counts = np.unique(np.asarray(targets), return_inverse=True, return_counts=True)
        self.shares = np.cumsum(1.0 / counts[classes])
        self.batch_size = batch_size
        self.seed = seed

    def batches(self, start_iteration: int = 0) -> Iterator[list[int]]:
        """Rows of the global batch of each iteration from the given one on, for ever."""
        iteration = start_iteration
        while True:
            drawn = keyed_generator(self.seed, "imbalanced", iteration).random(self.batch_size) * self.shares[-1]
            rows = np.searchsorted(self.shares, drawn, side="right")
            yield np.minimum(rows, len(self.shares) - 1).tolist()
            iteration += 1


class InferenceSampler:
    """A list in its order, in batches that are the same for any number of processes: batch k is rows kB to kB+B-1.

    Each process takes a run of whole batches; the last ones may get fewer, or none.

    Args:
        num_drawings: length of the list.
        batch_size: drawings a batch.
        rank: this process's number.
        world_size: how many processes share the list.
        done: first rows of batches that need not be made.
    """

    def __init__(
        self,
        num_drawings: int,
        *,
        batch_size: int,
        rank: int = 0,
        world_size: int = 1,
        done: Collection[int] = (),
    ):
        if batch_size < 1:
            raise InputError(f"TEST.IMS_PER_BATCH is {batch_size}; allowed are 1 and more")
        starts = [start for start in range(0, num_drawings, batch_size) if start not in done]
        share = -(-len(starts) // world_size)
        self.num_drawings = num_drawings
        self.batch_size = batch_size
        self.starts = starts[rank * share : (rank + 1) * share]

    def __len__(self) -> int:
        return len(self.starts)

    def __iter__(self) -> Iterator[list[int]]:
        for start in self.starts:
            yield list(range(start, min(start + self.batch_size, self.num_drawings)))
