"""Samplers whose batches contain K drawings of each of several patents (P x K), as metric losses need.

The batch of an iteration depends only on the seed and the iteration, so a resumed run gets the same batches as an
uninterrupted one, on any number of processes. A group is K drawings of one patent; a batch consists of groups of
different patents. A group repeats a drawing only if its patent has fewer than K drawings.
"""

import abc
from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np

from fastreid.utils.errors import InputError
from fastreid.utils.seeding import keyed_generator
from fastreid.utils.text import format_count

UNKNOWN_CAMERA = -1


class IdentitySampler(abc.ABC):
    """Base class: indexes the drawings by patent and checks the arguments.

    Args:
        targets: label of each drawing.
        batch_size: global batch size (drawings per iteration over all devices).
        num_instance: K, drawings per patent in a batch.
        seed: seed of the run.

    Raises:
        InputError: `batch_size` is not a multiple of K, or there are fewer patents than a batch needs.
    """

    def __init__(
        self,
        targets: Sequence[int],
        *,
        batch_size: int,
        num_instance: int,
        seed: int,
    ):
        if num_instance < 1:
            raise InputError(f"DATALOADER.NUM_INSTANCE is {num_instance}; it must be at least 1")
        if batch_size < num_instance or batch_size % num_instance:
            raise InputError(
                f"SOLVER.IMS_PER_BATCH is {batch_size}; it must be a multiple of DATALOADER.NUM_INSTANCE "
                f"({num_instance})"
            )
        # Rows sorted by patent: those of patent p are rows_by_patent[starts[p] : starts[p] + counts[p]].
        self.rows_by_patent = np.argsort(np.asarray(targets, dtype=np.int64), kind="stable")
        _, self.starts, self.counts = np.unique(
            np.asarray(targets, dtype=np.int64)[self.rows_by_patent], return_index=True, return_counts=True
        )
        self.patents_per_batch = batch_size // num_instance
        if len(self.counts) < self.patents_per_batch:
            # no larger than the training list, which has at least one batch per epoch
            largest = min(len(self.counts), len(targets) // num_instance) * num_instance
            fix = f"set SOLVER.IMS_PER_BATCH to {largest}, or raise DATALOADER.NUM_INSTANCE"
            raise InputError(
                f"a batch of {batch_size} with {format_count(num_instance, 'drawing')} per patent needs "
                f"{self.patents_per_batch} patents, but the training list has {len(self.counts)}; "
                f"{fix if largest else 'add drawings'}"
            )
        self.num_instance = num_instance
        self.seed = seed
        self.num_short_ids = int((self.counts < num_instance).sum())

    @property
    @abc.abstractmethod
    def batches_per_round(self) -> int:
        """Number of batches in a round, which visits every patent once; each round has a new random order."""

    def batches(self, start_iteration: int = 0) -> Iterator[list[int]]:
        """Yield the rows of the global batch of every iteration from `start_iteration` on, without end."""
        round_index, first = divmod(start_iteration, self.batches_per_round)
        while True:
            yield from self._round(round_index, first)
            round_index, first = round_index + 1, 0

    @abc.abstractmethod
    def _round(self, round_index: int, first: int) -> Iterator[list[int]]:
        """Yield the rows of the batches of a round, from batch `first` on."""

    def _rows(self, patent: int) -> np.ndarray:
        start = self.starts[patent]
        return self.rows_by_patent[start : start + self.counts[patent]]


class BalancedIdentitySampler(IdentitySampler):
    """Visit every patent once per round, regardless of its number of drawings.

    A round is a random order of the patents; the last ones are skipped if they do not fill a batch. A group is a random
    drawing and K - 1 others, preferably from other cameras if cameras are known.

    Args:
        targets: label of each drawing.
        batch_size: global batch size (drawings per iteration over all devices).
        num_instance: K, drawings per patent in a batch.
        seed: seed of the run.
        cameras: camera (viewpoint) ID of each drawing, -1 if unknown; None if no camera is known.
    """

    def __init__(
        self,
        targets: Sequence[int],
        *,
        batch_size: int,
        num_instance: int,
        seed: int,
        cameras: Sequence[int] | None = None,
    ):
        super().__init__(targets, batch_size=batch_size, num_instance=num_instance, seed=seed)
        self.cameras = None if cameras is None else np.asarray(cameras, dtype=np.int64)

    @property
    def batches_per_round(self) -> int:
        return len(self.counts) // self.patents_per_batch

    def _round(self, round_index: int, first: int) -> Iterator[list[int]]:
        order = keyed_generator(self.seed, "balanced round", round_index).permutation(len(self.counts))
        for batch_index in range(first, self.batches_per_round):
            generator = keyed_generator(self.seed, "balanced batch", round_index, batch_index)
            patents = order[batch_index * self.patents_per_batch : (batch_index + 1) * self.patents_per_batch]
            yield np.concatenate([self._group(patent, generator) for patent in patents]).tolist()

    def _group(self, patent: int, generator: np.random.Generator) -> np.ndarray:
        rows = generator.permutation(self._rows(patent))
        if self.cameras is not None:
            anchor = self.cameras[rows[0]]
            is_same_camera = (self.cameras[rows] == anchor) & (anchor != UNKNOWN_CAMERA)
            is_same_camera[0] = False
            rows = np.concatenate([rows[~is_same_camera], rows[is_same_camera]])
        return np.resize(rows, self.num_instance)  # repeats the rows cyclically if there are fewer than K


class NaiveIdentitySampler(IdentitySampler):
    """Visit every drawing about once per round, so that a patent occurs in proportion to its number of groups.

    A round shuffles the drawings of each patent and cuts them into groups of K. A patent with fewer than K drawings
    forms one group, with as few repeats as possible. The groups are distributed over the largest number of batches that
    can be filled with different patents; leftover groups are skipped in this round. (fast-reid picks groups at random
    until no batch can be filled, so the number of batches is known only after generating all of them.)
    """

    @property
    def batches_per_round(self) -> int:
        return self._num_batches

    @cached_property
    def _num_groups(self) -> np.ndarray:
        return np.maximum(self.counts // self.num_instance, 1)

    @cached_property
    def _num_batches(self) -> int:
        """Largest m with sum(min(num_groups, m)) >= m * patents_per_batch, as a batch contains a patent only once."""
        low, high = 1, int(self._num_groups.sum()) // self.patents_per_batch
        while low < high:
            middle = (low + high + 1) // 2
            is_enough = np.minimum(self._num_groups, middle).sum() >= middle * self.patents_per_batch
            low, high = (middle, high) if is_enough else (low, middle - 1)
        return low

    def _round(self, round_index: int, first: int) -> Iterator[list[int]]:
        generator = keyed_generator(self.seed, "naive round", round_index)
        # Select the groups of this round at random and sort them by patent, with the patents in random order ...
        capped = np.minimum(self._num_groups, self._num_batches)
        owners = np.repeat(np.arange(len(capped)), capped)
        owners = generator.permutation(owners)[: self._num_batches * self.patents_per_batch]
        position = generator.permutation(len(capped))
        owners = owners[np.argsort(position[owners], kind="stable")]
        nth = np.arange(len(owners)) - np.searchsorted(position[owners], position[owners])
        # ... then distribute them round-robin. A patent's groups are adjacent and at most as many as there are batches,
        # so no batch gets two of them.
        slots = np.arange(len(owners)).reshape(self.patents_per_batch, self._num_batches)
        for column in generator.permutation(self._num_batches)[first:]:
            groups = slots[:, column]
            yield np.concatenate(
                [self._group(round_index, patent, nth[group]) for group, patent in zip(groups, owners[groups])]
            ).tolist()

    def _group(self, round_index: int, patent: int, nth: int) -> np.ndarray:
        rows = keyed_generator(self.seed, "naive patent", round_index, int(patent)).permutation(self._rows(patent))
        group = rows[nth * self.num_instance : (nth + 1) * self.num_instance]
        return np.resize(group, self.num_instance)  # repeats the rows cyclically if there are fewer than K
