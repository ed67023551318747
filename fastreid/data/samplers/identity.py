"""Samplers that put several drawings of each of a few patents into every batch, as metric losses need.

Both give the batch of an iteration as a function of the seed and the iteration alone, so a resumed run goes on with
the very batches it would have had, on any number of processes. A group is K drawings of one patent; a batch is whole
groups of different patents. No drawing stands twice in a group while its patent has K others to give.
"""

import abc
from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np

from fastreid.utils.errors import InputError
from fastreid.utils.seeding import keyed_generator

UNKNOWN_CAMERA = -1


class IdentitySampler(abc.ABC):
    """What both samplers share: the patents' drawings and the checks.

    Args:
        targets: class number of each drawing.
        batch_size: drawings of a step over all devices.
        num_instance: K, drawings of one patent in a batch.
        seed: the run's seed.

    Raises:
        InputError: a batch is not whole groups, or there are fewer patents than it needs.
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
            raise InputError(f"DATALOADER.NUM_INSTANCE is {num_instance}; allowed are 1 and more")
        if batch_size < num_instance or batch_size % num_instance:
            raise InputError(
                f"SOLVER.IMS_PER_BATCH is {batch_size}; allowed are multiples of {num_instance} (DATALOADER.NUM_INSTANCE)"
            )
        # Rows sorted by patent: those of patent p are rows_by_patent[starts[p] : starts[p] + counts[p]].
        self.rows_by_patent = np.argsort(np.asarray(targets, dtype=np.int64), kind="stable")
        _, self.starts, self.counts = np.unique(
            np.asarray(targets, dtype=np.int64)[self.rows_by_patent], return_index=True, return_counts=True
        )
        self.patents_per_batch = batch_size // num_instance
        if len(self.counts) < self.patents_per_batch:
            raise InputError(
                f"a batch of {batch_size} with {num_instance} drawings a patent needs {self.patents_per_batch} patents, "
                f"the training list has {len(self.counts)}; lower SOLVER.IMS_PER_BATCH or raise DATALOADER.NUM_INSTANCE"
            )
        self.num_instance = num_instance
        self.seed = seed
        self.num_short_ids = int((self.counts < num_instance).sum())

    @property
    @abc.abstractmethod
    def batches_per_round(self) -> int:
        """Batches until every patent has had its turn; each round is drawn anew."""

    def batches(self, start_iteration: int = 0) -> Iterator[list[int]]:
        """Rows of the global batch of each iteration from the given one on, for ever."""
        round_number, first = divmod(start_iteration, self.batches_per_round)
        while True:
            yield from self._round(round_number, first)
            round_number, first = round_number + 1, 0

    @abc.abstractmethod
    def _round(self, number: int, first: int) -> Iterator[list[int]]:
        """Rows of the batches of one round, from its batch `first` on."""

    def _rows(self, patent: int) -> np.ndarray:
        start = self.starts[patent]
        return self.rows_by_patent[start : start + self.counts[patent]]


class BalancedIdentitySampler(IdentitySampler):
    """Every patent once a round, however many drawings it has.

    A round is a random order of the patents; those that do not fill a last batch sit it out. A group is a random
    drawing and K - 1 further ones, from other cameras first where cameras are known.

    Args:
        targets: as for `IdentitySampler`, like all that is not told here.
        cameras: viewpoint number of each drawing, -1 where not known; None: not known at all.
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

    def _round(self, number: int, first: int) -> Iterator[list[int]]:
        order = keyed_generator(self.seed, "balanced round", number).permutation(len(self.counts))
        for turn in range(first, self.batches_per_round):
            generator = keyed_generator(self.seed, "balanced batch", number, turn)
            patents = order[turn * self.patents_per_batch : (turn + 1) * self.patents_per_batch]
            yield np.concatenate([self._group(patent, generator) for patent in patents]).tolist()

    def _group(self, patent: int, generator: np.random.Generator) -> np.ndarray:
        rows = generator.permutation(self._rows(patent))
        if self.cameras is not None:
            anchor = self.cameras[rows[0]]
            near = (self.cameras[rows] == anchor) & (anchor != UNKNOWN_CAMERA)
            near[0] = False
            rows = np.concatenate([rows[~near], rows[near]])
        return np.resize(rows, self.num_instance)  # repeats them in turn where there are fewer


class NaiveIdentitySampler(IdentitySampler):
    """Every drawing about once a round, so that a patent comes as often as it has groups to give.

    A round shuffles each patent's drawings and cuts them into groups of K; a patent with fewer than K gives one group,
    with as few repeats as fill it. The groups are dealt over as many batches as can be filled with different patents
    (fast-reid picks at random until no batch can be filled, which takes a number of batches that only a full listing
    tells); what is left over sits this round out.
    """

    @property
    def batches_per_round(self) -> int:
        return self._num_batches

    @cached_property
    def _num_groups(self) -> np.ndarray:
        return np.maximum(self.counts // self.num_instance, 1)

    @cached_property
    def _num_batches(self) -> int:
        """The most batches m with sum(min(groups, m)) >= m * patents per batch, since a batch has a patent once."""
        low, high = 1, int(self._num_groups.sum()) // self.patents_per_batch
        while low < high:
            middle = (low + high + 1) // 2
            enough = np.minimum(self._num_groups, middle).sum() >= middle * self.patents_per_batch
            low, high = (middle, high) if enough else (low, middle - 1)
        return low

    def _round(self, number: int, first: int) -> Iterator[list[int]]:
        generator = keyed_generator(self.seed, "naive round", number)
        # A random choice of the groups that come, kept together by patent, with the patents in random order ...
        capped = np.minimum(self._num_groups, self._num_batches)
        owners = np.repeat(np.arange(len(capped)), capped)
        owners = generator.permutation(owners)[: self._num_batches * self.patents_per_batch]
        place = generator.permutation(len(capped))
        owners = owners[np.argsort(place[owners], kind="stable")]
        nth = np.arange(len(owners)) - np.searchsorted(place[owners], place[owners])
        # ... is dealt out like cards: a patent's groups are neighbours and no more than the batches.
        hands = np.arange(len(owners)).reshape(self.patents_per_batch, self._num_batches)
        for turn in generator.permutation(self._num_batches)[first:]:
            cards = hands[:, turn]
            yield np.concatenate(
                [self._group(number, patent, nth[card]) for card, patent in zip(cards, owners[cards])]
            ).tolist()

    def _group(self, number: int, patent: int, nth: int) -> np.ndarray:
        rows = keyed_generator(self.seed, "naive patent", number, int(patent)).permutation(self._rows(patent))
        group = rows[nth * self.num_instance : (nth + 1) * self.num_instance]
        return np.resize(group, self.num_instance)  # repeats them in turn where there are fewer
