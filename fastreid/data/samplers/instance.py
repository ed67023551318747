"""Samplers of single drawings: shuffled, weighted by patent, and sequential (for inference)."""

from collections.abc import Collection, Iterator, Sequence

import numpy as np

from fastreid.utils.errors import InputError
from fastreid.utils.seeding import keyed_generator


class TrainingSampler:
    """Concatenate random permutations of the drawings and cut them into batches; a batch may span two of them.

    Args:
        num_drawings: length of the training list.
        batch_size: global batch size (drawings per iteration over all devices).
        seed: seed of the run.

    Raises:
        InputError: `num_drawings` or `batch_size` is less than 1.
    """

    def __init__(self, num_drawings: int, *, batch_size: int, seed: int):
        if num_drawings < 1 or batch_size < 1:
            raise InputError(
                f"cannot build batches of {batch_size} from {num_drawings} drawings; both numbers must be at least 1"
            )
        self.num_drawings = num_drawings
        self.batch_size = batch_size
        self.seed = seed

    def batches(self, start_iteration: int = 0) -> Iterator[list[int]]:
        """Yield the rows of the global batch of every iteration from `start_iteration` on, without end."""
        round_index, num_skipped = divmod(start_iteration * self.batch_size, self.num_drawings)
        pending = self._permutation(round_index)[num_skipped:]
        while True:
            while len(pending) < self.batch_size:
                round_index += 1
                pending = np.concatenate([pending, self._permutation(round_index)])
            yield pending[: self.batch_size].tolist()
            pending = pending[self.batch_size :]

    def _permutation(self, round_index: int) -> np.ndarray:
        return keyed_generator(self.seed, "order", round_index).permutation(self.num_drawings)


class ImbalancedDatasetSampler:
    """Sample drawings with replacement, weighted so that all patents are equally likely.

    The weight of a drawing is 1 / (number of drawings of its patent).

    Args:
        targets: label of each drawing.
        batch_size: global batch size (drawings per iteration over all devices).
        seed: seed of the run.

    Raises:
        InputError: `targets` is empty or `batch_size` is less than 1.
    """

    def __init__(self, targets: Sequence[int], *, batch_size: int, seed: int):
        if not targets or batch_size < 1:
            raise InputError(
                f"cannot build batches of {batch_size} from {len(targets)} drawings; both numbers must be at least 1"
            )
        _, classes, counts = np.unique(np.asarray(targets), return_inverse=True, return_counts=True)
        self.cumulative_weights = np.cumsum(1.0 / counts[classes])
        self.batch_size = batch_size
        self.seed = seed

    def batches(self, start_iteration: int = 0) -> Iterator[list[int]]:
        """Yield the rows of the global batch of every iteration from `start_iteration` on, without end."""
        iteration = start_iteration
        while True:
            uniform = keyed_generator(self.seed, "imbalanced", iteration).random(self.batch_size)
            rows = np.searchsorted(self.cumulative_weights, uniform * self.cumulative_weights[-1], side="right")
            yield np.minimum(rows, len(self.cumulative_weights) - 1).tolist()
            iteration += 1


class InferenceSampler:
    """Split a list, in order, into batches that are the same for any number of processes.

    Batch k contains the rows k * batch_size to (k + 1) * batch_size - 1. Each process gets a contiguous range of whole
    batches; the last processes may get fewer, or none.

    Args:
        num_drawings: length of the list.
        batch_size: drawings per batch.
        rank: index of this process.
        world_size: number of processes that share the list.
        completed_starts: first rows of batches to skip because they were computed before.

    Raises:
        InputError: `batch_size` is less than 1.
    """

    def __init__(
        self,
        num_drawings: int,
        *,
        batch_size: int,
        rank: int = 0,
        world_size: int = 1,
        completed_starts: Collection[int] = (),
    ):
        if batch_size < 1:
            raise InputError(f"TEST.IMS_PER_BATCH is {batch_size}; it must be at least 1")
        starts = [start for start in range(0, num_drawings, batch_size) if start not in completed_starts]
        batches_per_process = -(-len(starts) // world_size)
        self.num_drawings = num_drawings
        self.batch_size = batch_size
        self.starts = starts[rank * batches_per_process : (rank + 1) * batches_per_process]

    def __len__(self) -> int:
        return len(self.starts)

    def __iter__(self) -> Iterator[list[int]]:
        for start in self.starts:
            yield list(range(start, min(start + self.batch_size, self.num_drawings)))
