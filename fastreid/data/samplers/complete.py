"""Identity sampler that visits every drawing exactly once per round.

The rounds are concatenated and cut into batches, so one batch may contain the last drawings of a round and the first
of the next. Those last drawings (the tail) are chosen first, from the seed and the round index alone. The next round
therefore knows which patents to exclude from the batch it starts in, and any round can be computed without the earlier
ones.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

import numpy as np

from fastreid.data.samplers.group_allocator import Group, GroupAllocator
from fastreid.utils.errors import InputError
from fastreid.utils.seeding import keyed_generator

NO_ROWS = np.zeros(0, dtype=np.int64)

Table = TypeVar("Table")


class CompleteIdentitySampler:
    """Visit every drawing once per round, in groups of at least K drawings of a patent (or all, if it has fewer).

    A patent with n drawings forms n // K groups of K to 2K - 1 drawings, in different batches. Group sizes are as even
    as filling the batches allows. No batch contains a drawing twice. If whole groups of different patents cannot fill a
    batch, it contains several groups of one patent; if that is not enough, one group is cut
    (`coverage.measure_coverage` counts these).

    With hard identities, part of the patents of a batch are sampled as neighbors of others in it, as long as they have
    drawings left; towards the end of a round there are fewer. A round uses the newest neighbor table available at its
    first iteration.

    Args:
        targets: label of each drawing, 0 to num_patents - 1.
        batch_size: global batch size (drawings per iteration over all devices).
        num_instance: K, minimum number of drawings per patent in a batch.
        seed: seed of the run.
        hard_identity_ratio: ratio (0..1) of the patents in a batch that are sampled as neighbors of the others.
        neighbors: integer tables (num_patents, M) with the nearest other patents of each patent, nearest first. The key
            is the number of iterations completed when the table was computed.

    Raises:
        InputError: a batch is smaller than K, the list is shorter than two batches, or a table does not match the
            list.
    """

    def __init__(
        self,
        targets: Sequence[int],
        *,
        batch_size: int,
        num_instance: int,
        seed: int,
        hard_identity_ratio: float = 0.0,
        neighbors: Mapping[int, np.ndarray] | None = None,
    ):
        if num_instance < 1:
            raise InputError(f"DATALOADER.NUM_INSTANCE is {num_instance}; it must be at least 1")
        if batch_size < num_instance:
            raise InputError(
                f"SOLVER.IMS_PER_BATCH is {batch_size}; it must be at least DATALOADER.NUM_INSTANCE ({num_instance})"
            )
        if len(targets) < 2 * batch_size:
            raise InputError(
                f"{len(targets)} training drawings are fewer than two batches of {batch_size}; lower "
                f"SOLVER.IMS_PER_BATCH to {max(num_instance, len(targets) // 2)} or less, or choose another "
                "DATALOADER.SAMPLER_TRAIN"
            )
        if not 0 <= hard_identity_ratio <= 1:
            raise InputError(f"DATALOADER.HARD_IDENTITIES is {hard_identity_ratio}; it must be between 0 and 1")
        self.targets = np.asarray(targets, dtype=np.int64)
        self.counts = np.bincount(self.targets)
        self.starts = np.cumsum(self.counts) - self.counts
        self.batch_size = batch_size
        self.num_instance = num_instance
        self.seed = seed
        self.hard_identity_ratio = hard_identity_ratio
        self.neighbors = dict(neighbors or {})
        for table in self.neighbors.values():
            _check_neighbor_table(table, len(self.counts))

    def batches(self, start_iteration: int = 0) -> Iterator[list[int]]:
        """Yield the rows of the global batch of every iteration from `start_iteration` on, without end."""
        round_index = _round_of_iteration(start_iteration, len(self.targets), self.batch_size)
        num_skipped = start_iteration - self._first_iteration(round_index)
        while True:
            for rows in self._round(round_index):
                if num_skipped == 0:
                    yield rows.tolist()
                num_skipped = max(num_skipped - 1, 0)
            round_index += 1

    def _first_iteration(self, round_index: int) -> int:
        return _first_iteration(round_index, len(self.targets), self.batch_size)

    def _round(self, round_index: int) -> Iterator[np.ndarray]:
        """Yield the rows of the batches that end in a round."""
        previous_tail, tail = self._tail_rows(round_index - 1), self._tail_rows(round_index)
        order = self._row_order(round_index, first=tail, last=previous_tail)
        num_used = np.bincount(self.targets[tail], minlength=len(self.counts))
        allocator = GroupAllocator(
            self.counts - num_used,
            num_instance=self.num_instance,
            generator=keyed_generator(self.seed, "complete round", round_index),
            hard_identity_ratio=self.hard_identity_ratio,
            neighbors=self._neighbor_table(round_index),
        )
        # This round still has to visit these drawings, but not in the batch that already contains them.
        deferred = np.setdiff1d(previous_tail, tail)
        excluded = dict.fromkeys(self.targets[previous_tail].tolist(), 0)
        for patent in self.targets[deferred].tolist():
            excluded[patent] += 1
        parts = [previous_tail] if len(previous_tail) else []
        for _ in range(self._first_iteration(round_index), self._first_iteration(round_index + 1)):
            num_places = self.batch_size - sum(map(len, parts))
            groups = allocator.fill(num_places, used=excluded.keys(), excluded=excluded)
            yield np.concatenate([*parts, self._take_rows(order, groups, num_used)])
            parts, excluded = [], {}

    def _tail_rows(self, round_index: int) -> np.ndarray:
        """Return the last rows of a round, which share a batch with the next; depends on the round index alone."""
        num_places = max(round_index + 1, 0) * len(self.targets) % self.batch_size
        if not num_places:
            return NO_ROWS
        generator = keyed_generator(self.seed, "complete tail", round_index)
        allocator = GroupAllocator(self.counts, num_instance=self.num_instance, generator=generator)
        groups = allocator.fill(num_places, used=(), excluded={})
        return self._take_rows(self._row_order(round_index), groups, np.zeros_like(self.counts))

    def _row_order(self, round_index: int, *, first: np.ndarray = NO_ROWS, last: np.ndarray = NO_ROWS) -> np.ndarray:
        """Return the rows sorted by patent, those of each patent in the random order in which a round uses them."""
        keys = keyed_generator(self.seed, "complete drawings", round_index).random(len(self.targets))
        keys[last] += 1
        keys[first] -= 2
        return np.lexsort((keys, self.targets))

    def _take_rows(self, order: np.ndarray, groups: Sequence[Group], num_used: np.ndarray) -> np.ndarray:
        """Return the rows of groups and add their sizes to `num_used`."""
        rows = []
        for patent, size in groups:
            start = self.starts[patent] + num_used[patent]
            rows.append(order[start : start + size])
            num_used[patent] += size
        return np.concatenate(rows)

    def _neighbor_table(self, round_index: int) -> np.ndarray | None:
        available = [iteration for iteration in self.neighbors if iteration <= self._first_iteration(round_index)]
        return self.neighbors[max(available)] if available and self.hard_identity_ratio else None


def prune_tables(
    tables: Mapping[int, Table], iteration: int, *, num_drawings: int, batch_size: int
) -> dict[int, Table]:
    """Return the neighbor tables that batches from an iteration on can still depend on.

    Args:
        tables: iteration -> table, as in `CompleteIdentitySampler.neighbors`.
        iteration: number of completed iterations.
        num_drawings: length of the training list.
        batch_size: global batch size (drawings per iteration over all devices).
    """
    round_index = _round_of_iteration(iteration, num_drawings, batch_size)
    round_start = _first_iteration(round_index, num_drawings, batch_size)
    oldest = max((created for created in tables if created <= round_start), default=0)
    return {created: table for created, table in tables.items() if created >= oldest}


def _round_of_iteration(iteration: int, num_drawings: int, batch_size: int) -> int:
    """Return the round an iteration belongs to, which is the one its batch ends in."""
    return ((iteration + 1) * batch_size - 1) // num_drawings


def _first_iteration(round_index: int, num_drawings: int, batch_size: int) -> int:
    return round_index * num_drawings // batch_size


def _check_neighbor_table(table: np.ndarray, num_patents: int) -> None:
    """Raise an `InputError` if a neighbor table does not contain patents of this list."""
    has_valid_shape = table.ndim == 2 and len(table) == num_patents and np.issubdtype(table.dtype, np.integer)
    if not has_valid_shape or (table.size and not 0 <= table.min() <= table.max() < num_patents):
        raise InputError(
            f"the hard-identity table is {table.dtype} {table.shape}; it must contain integers (num_patents, M) from 0 "
            f"to num_patents - 1, and the training list has {num_patents} patents; compute it with a classifier of "
            "this list"
        )
