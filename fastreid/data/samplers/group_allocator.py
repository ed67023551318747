"""Allocates the drawings of a round, in groups by patent, to batches, so that every batch is exactly full."""

import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

import numpy as np

# A batch counts as impossible to fill with whole groups after this many upcoming turns were tried ...
NUM_LOOKAHEAD_TURNS = 48
NUM_LOOKAHEAD_BATCHES = 3  # ... that together contain enough drawings for this many batches

Group = tuple[int, int]  # (patent, number of its drawings)
Candidate = tuple[int, Sequence[int]]  # (patent, allowed sizes of its next group, best first)


class GroupAllocator:
    """Allocate the remaining drawings of a round to batches, in turns of their patents in random order.

    A patent with n drawings has n // K turns (one if it has fewer than K), spread evenly over the round. The size of
    each group is chosen so that the groups of the remaining turns come out even. A batch takes turns in order; which of
    them it postpones to the next batch is chosen so that the rest fill it exactly.

    Args:
        num_remaining: int (num_patents,), drawings each patent has left to allocate.
        num_instance: K.
        generator: source of the random order.
        hard_identity_ratio: ratio (0..1) of the patents in a batch that are taken out of turn as neighbors of others.
        neighbors: int (num_patents, M), nearest other patents of each patent, nearest first; None if unknown.
    """

    def __init__(
        self,
        num_remaining: np.ndarray,
        *,
        num_instance: int,
        generator: np.random.Generator,
        hard_identity_ratio: float = 0.0,
        neighbors: np.ndarray | None = None,
    ):
        self.num_remaining: list[int] = num_remaining.tolist()
        self.num_instance = num_instance
        self.hard_identity_ratio = hard_identity_ratio
        self.neighbors = neighbors
        num_turns = np.maximum(num_remaining // num_instance, num_remaining > 0)
        patents = np.repeat(np.arange(len(num_remaining)), num_turns)
        turns_left = np.repeat(np.cumsum(num_turns), num_turns) - np.arange(len(patents))
        # The turns of a patent are 1 / num_turns of the round apart, so they share a batch only if unavoidable.
        offsets = generator.random(len(num_remaining))[patents]
        position = (num_turns[patents] - turns_left + offsets) / num_turns[patents]
        order = np.argsort(position, kind="stable")
        # A turn is identified by the number of turns its patent has left from there on. It has expired once the
        # remaining drawings are only enough for fewer turns.
        self._upcoming = iter(zip(patents[order].tolist(), turns_left[order].tolist()))
        self._postponed: list[tuple[int, int]] = []

    def fill(self, num_places: int, *, used: Collection[int], excluded: Mapping[int, int]) -> list[Group]:
        """Return groups with `num_places` drawings in total and remove them from the remaining drawings.

        The first of these strategies that succeeds is used: whole groups of unused patents; the same with sizes shifted
        between the groups of a patent; several groups of a patent; one group cut; drawings of excluded patents.

        Args:
            num_places: free places in the batch, at least 1.
            used: patents already in the batch, including the excluded ones.
            excluded: patents that the previous round left in the batch -> number of their drawings that must not be
                used now.
        """
        groups = self._fill_exactly(self._one_group_per_patent(self._turns(num_places), used), num_places)
        if not groups:
            turns = list(self._turns(num_places))
            single = list(self._one_group_per_patent(turns, used))
            multiple = list(self._groups_of_all_turns(turns, excluded))
            groups = (
                self._fill_exactly(self._one_group_per_patent(turns, used, shifted=True), num_places)
                or self._fill_exactly(multiple, num_places)
                or self._fill_with_cut(single, num_places)
                or self._fill_with_cut(multiple, num_places)
                or self._fill_with_cut(self._any_remaining(excluded), num_places)
            )
        for patent, size in groups:
            self.num_remaining[patent] -= size
        self._postponed = [
            (patent, turns_left) for patent, turns_left in self._postponed if turns_left <= self._num_turns(patent)
        ]
        return groups

    def _num_turns(self, patent: int) -> int:
        num_remaining = self.num_remaining[patent]
        return num_remaining // self.num_instance or int(num_remaining > 0)

    def _turns(self, num_places: float) -> Iterator[int]:
        """Yield the patents of the next turns, postponed ones first, up to the lookahead for `num_places` places."""
        index = num_turns = num_drawings = 0
        while num_turns < NUM_LOOKAHEAD_TURNS or num_drawings < NUM_LOOKAHEAD_BATCHES * num_places:
            if index == len(self._postponed):
                turn = next(self._upcoming, None)
                if turn is None:
                    return
                self._postponed.append(turn)
            patent, turns_left = self._postponed[index]
            index += 1
            if turns_left <= self._num_turns(patent):
                num_turns += 1
                num_drawings += self.num_remaining[patent] // self._num_turns(patent)
                yield patent

    def _one_group_per_patent(
        self, turns: Iterable[int], used: Collection[int], *, shifted: bool = False
    ) -> Iterator[Candidate]:
        """Yield each unused patent once, followed by its neighbors as far as the hard-identity ratio allows."""
        visited = set(used)
        num = num_neighbors = 0
        for patent in turns:
            if patent in visited:
                continue
            visited.add(patent)
            num += 1
            yield patent, self._allowed_sizes(patent, shifted)
            for neighbor in [] if self.neighbors is None else self.neighbors[patent].tolist():
                if num_neighbors + 1 > self.hard_identity_ratio * (num + 1):
                    break
                if neighbor not in visited and self.num_remaining[neighbor]:
                    visited.add(neighbor)
                    num, num_neighbors = num + 1, num_neighbors + 1
                    yield neighbor, self._allowed_sizes(neighbor, shifted)

    def _allowed_sizes(self, patent: int, shifted: bool) -> Sequence[int]:
        num_remaining, num_turns = self.num_remaining[patent], self._num_turns(patent)
        if shifted and num_turns > 1:  # all sizes that leave whole groups for the remaining turns, most even first
            return range(self.num_instance + num_remaining % self.num_instance, self.num_instance - 1, -1)
        return (num_remaining // num_turns,)

    def _groups_of_all_turns(self, turns: Iterable[int], excluded: Collection[int]) -> Iterator[Candidate]:
        """Yield a group for every turn, except those of excluded patents."""
        num_seen: Counter[int] = Counter()
        for patent in turns:
            if patent not in excluded:
                yield patent, (self._nth_size(patent, num_seen[patent]),)
                num_seen[patent] += 1

    def _any_remaining(self, excluded: Mapping[int, int]) -> Iterator[Candidate]:
        """Yield a group for every turn, as far as a patent has drawings other than the excluded ones."""
        num_seen, num_allocated = Counter[int](), Counter[int]()
        for patent in self._turns(math.inf):
            num_free = self.num_remaining[patent] - excluded.get(patent, 0) - num_allocated[patent]
            size = min(num_free, self._nth_size(patent, num_seen[patent]))
            num_seen[patent] += 1
            num_allocated[patent] += size
            if size:
                yield patent, (size,)

    def _nth_size(self, patent: int, nth: int) -> int:
        """Return the size of the n-th turn from now on if all remaining drawings are split evenly (within 1)."""
        return (self.num_remaining[patent] + nth) // self._num_turns(patent)

    @staticmethod
    def _fill_exactly(candidates: Iterable[Candidate], num_places: int) -> list[Group]:
        """Return groups with exactly `num_places` drawings, or [] if there are none (subset sum).

        Uses the shortest prefix of the candidates that contains a solution, and drops late candidates before early
        ones.
        """
        mask = (2 << num_places) - 1
        reachable = [1]  # bit n: some of the candidates so far have n drawings in total
        considered: list[Candidate] = []
        for candidate in candidates:
            sums = reachable[-1]
            for size in candidate[1]:
                sums |= reachable[-1] << size
            considered.append(candidate)
            reachable.append(sums & mask)
            if sums >> num_places & 1:
                break
        else:
            return []
        groups: list[Group] = []
        for (patent, sizes), before in zip(reversed(considered), reversed(reachable[:-1])):
            if not before >> num_places & 1:
                size = next(size for size in sizes if size <= num_places and before >> (num_places - size) & 1)
                groups.append((patent, size))
                num_places -= size
        return groups[::-1]

    def _fill_with_cut(self, candidates: Iterable[Candidate], num_places: int) -> list[Group]:
        """Return all groups that fit and a part of another one, or [] if there is none to cut."""
        groups: list[Group] = []
        too_large: list[int] = []
        num_in_batch = Counter[int]()
        for patent, (size,) in candidates:
            if size > num_places:
                too_large.append(patent)
            elif num_places:
                groups.append((patent, size))
                num_in_batch[patent] += size
                num_places -= size
        if not num_places:
            return groups
        if not too_large:
            return []
        cut = min(too_large, key=lambda patent: self._num_in_short_groups(patent, num_places, num_in_batch[patent]))
        return [*groups, (cut, num_places)]

    def _num_in_short_groups(self, patent: int, size: int, num_in_batch: int) -> int:
        """Count the drawings in groups below K if `size` drawings are cut off, in a batch that has `num_in_batch`."""
        rest = self.num_remaining[patent] - num_in_batch - size
        parts = ((size, size + num_in_batch), (rest, rest))
        return sum(num for num, group_size in parts if group_size < self.num_instance)
