"""A sampler that shows every drawing once before any twice, in whole groups of its patent.

All rounds after one another are cut into batches, so a batch may hold the last drawings of a round and the first of the
next. Those last ones are chosen first, from an order of their own that needs
nothing but the seed and the round's number; so the next round knows which patents to keep out of the batch that it
begins in, and any round is made without those before it.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

import numpy as np

from fastreid.data.samplers.group_allocator import Dealer, Group
from fastreid.utils.errors import InputError
from fastreid.utils.seeding import keyed_generator

NO_ROWS = np.zeros(0, dtype=np.int64)

Table = TypeVar("Table")


class CompleteIdentitySampler:
    """Every drawing once a round, in groups of K or more drawings of its patent, or of all it has if those are fewer.

    n drawings of a patent are n // K groups of K to 2K - 1, as even as fills the batches, in different batches. No
    batch has a drawing twice. Where whole groups cannot fill a batch, several of one patent stand in it, and where that
    does not help either, one is cut (`coverage.measure` counts those).

    With look-alikes, part of a batch's patents come as neighbours of others in it, while they have drawings to give;
    near a round's end fewer do. A round takes the last table that was made by the iteration it begins in.

    Args:
        targets: class number of each drawing, 0 to the number of patents - 1.
        batch_size: drawings of a step over all devices.
        num_instance: K, the least drawings of one patent in a batch.
        seed: the run's seed.
        look_alikes: share 0..1 of a batch's patents that are chosen as neighbours of the others.
        neighbours: integer tables (num_patents, M) of each patent's nearest other patents, the nearest first, by the
            number of iterations that were done when the table was made.

    Raises:
        InputError: a batch has fewer than K drawings, the list is shorter than two batches, or a table
            does not fit the list.
    """

    def __init__(
        self,
        targets: Sequence[int],
        *,
        batch_size: int,
        num_instance: int,
        seed: int,
        look_alikes: float = 0.0,
        neighbours: Mapping[int, np.ndarray] | None = None,
    ):
        if num_instance < 1:
            raise InputError(f"DATALOADER.NUM_INSTANCE is {num_instance}; allowed are 1 and more")
        if batch_size < num_instance:
            raise InputError(
                f"SOLVER.IMS_PER_BATCH is {batch_size}; allowed are {num_instance} (DATALOADER.NUM_INSTANCE) and more"
            )
        if len(targets) < 2 * batch_size:
            raise InputError(
                f"{len(targets)} training drawings are fewer than two batches; lower SOLVER.IMS_PER_BATCH {batch_size}, "
                "or take another DATALOADER.SAMPLER_TRAIN"
            )
        if not 0 <= look_alikes <= 1:
            raise InputError(f"DATALOADER.HARD_IDENTITIES is {look_alikes}; allowed are 0 to 1")
        self.targets = np.asarray(targets, dtype=np.int64)
        self.counts = np.bincount(self.targets)
        self.starts = np.cumsum(self.counts) - self.counts
        self.batch_size = batch_size
        self.num_instance = num_instance
        self.seed = seed
        self.look_alikes = look_alikes
        self.neighbours = dict(neighbours or {})
        for table in self.neighbours.values():
            _check(table, len(self.counts))

    def batches(self, start_iteration: int = 0) -> Iterator[list[int]]:
        """Rows of the global batch of each iteration from the given one on, for ever."""
        number = _round_of(start_iteration, len(self.targets), self.batch_size)
        skipped = start_iteration - self._first_batch(number)
        while True:
            for rows in self._round(number):
                if skipped == 0:
                    yield rows.tolist()
                skipped = max(skipped - 1, 0)
            number += 1

    def _first_batch(self, number: int) -> int:
        return _first_batch(number, len(self.targets), self.batch_size)

    def _round(self, number: int) -> Iterator[np.ndarray]:
        """Rows of the batches that end in a round."""
        before, tail = self._tail(number - 1), self._tail(number)
        order = self._order(number, first=tail, last=before)
        placed = np.bincount(self.targets[tail], minlength=len(self.counts))
        dealer = Dealer(
            self.counts - placed,
            num_instance=self.num_instance,
            generator=keyed_generator(self.seed, "complete round", number),
            look_alikes=self.look_alikes,
            neighbours=self._table(number),
        )
        kept = np.setdiff1d(before, tail)  # what the round has yet to show, but not beside itself
        barred = dict.fromkeys(self.targets[before].tolist(), 0)
        for patent in self.targets[kept].tolist():
            barred[patent] += 1
        begun = [before] if len(before) else []
        for _ in range(self._first_batch(number), self._first_batch(number + 1)):
            groups = dealer.fill(self.batch_size - sum(map(len, begun)), used=barred.keys(), barred=barred)
            yield np.concatenate([*begun, self._rows(order, groups, placed)])
            begun, barred = [], {}

    def _tail(self, number: int) -> np.ndarray:
        """Rows of a round in the batch that the next round ends; known from the round's number alone."""
        room = max(number + 1, 0) * len(self.targets) % self.batch_size
        if not room:
            return NO_ROWS
        generator = keyed_generator(self.seed, "complete tail", number)
        dealer = Dealer(self.counts, num_instance=self.num_instance, generator=generator)
        return self._rows(self._order(number), dealer.fill(room, used=(), barred={}), np.zeros_like(self.counts))

    def _order(self, number: int, *, first: np.ndarray = NO_ROWS, last: np.ndarray = NO_ROWS) -> np.ndarray:
        """Rows sorted by patent, those of a patent in the random order in which a round gives them out."""
        keys = keyed_generator(self.seed, "complete drawings", number).random(len(self.targets))
        keys[last] += 1
        keys[first] -= 2
        return np.lexsort((keys, self.targets))

    def _rows(self, order: np.ndarray, groups: Sequence[Group], placed: np.ndarray) -> np.ndarray:
        """Rows of groups, and their number added to those that are placed."""
        rows = []
        for patent, size in groups:
            start = self.starts[patent] + placed[patent]
            rows.append(order[start : start + size])
            placed[patent] += size
        return np.concatenate(rows)

    def _table(self, number: int) -> np.ndarray | None:
        known = [iteration for iteration in self.neighbours if iteration <= self._first_batch(number)]
        return self.neighbours[max(known)] if known and self.look_alikes else None


def still_used(tables: Mapping[int, Table], iteration: int, *, num_drawings: int, batch_size: int) -> dict[int, Table]:
    """Of tables by the iteration they were made at, those that batches from an iteration on depend on.

    Args:
        tables: what `CompleteIdentitySampler` takes as neighbours.
        iteration: iterations that are done.
        num_drawings: length of the training list.
        batch_size: drawings of a step over all devices.
    """
    begun = _first_batch(_round_of(iteration, num_drawings, batch_size), num_drawings, batch_size)
    oldest = max((made for made in tables if made <= begun), default=0)
    return {made: table for made, table in tables.items() if made >= oldest}


def _round_of(iteration: int, num_drawings: int, batch_size: int) -> int:
    """The round in which the batch of an iteration ends, to which it belongs."""
    return ((iteration + 1) * batch_size - 1) // num_drawings


def _first_batch(number: int, num_drawings: int, batch_size: int) -> int:
    return number * num_drawings // batch_size


def _check(table: np.ndarray, num_patents: int) -> None:
    """Refuse a table of look-alikes that does not name patents of this list."""
    fits = table.ndim == 2 and len(table) == num_patents and np.issubdtype(table.dtype, np.integer)
    if not fits or (table.size and not 0 <= table.min() <= table.max() < num_patents):
        raise InputError(
            f"a table of look-alikes is {table.dtype} {table.shape}; it has integers (num_patents, M) from 0 to "
            f"num_patents - 1, and the training list has {num_patents} patents; make it from a classifier of this list"
        )
