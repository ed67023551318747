"""Deals the drawings of a round, in groups by patent, to batches that they fill to the last place."""

import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

import numpy as np

TURNS_AHEAD = 48  # turns that are looked at before a batch counts as one that whole groups cannot fill
BATCHES_AHEAD = 3  # and as many as would fill so many batches

Group = tuple[int, int]  # a patent and a number of its drawings
Candidate = tuple[int, Sequence[int]]  # a patent and the sizes its next group may have, the best first


class Dealer:
    """The drawings of a round that have no place yet, as turns of their patents in a random order.

    n drawings are n // K turns (one where they are fewer than K), evenly spread over the round; a turn gives as many of
    the drawings that are left as makes the turns to come even. A batch takes the turns as they come; which of them it
    leaves for the next is chosen so that those it takes fill it.

    Args:
        left: drawings that each patent has to place.
        num_instance: K.
        generator: gives the order.
        look_alikes: share of the patents in a batch that are taken out of turn as neighbours of the others.
        neighbours: look-alikes of each patent, the nearest first, (num_patents, M); None: not known.
    """

    def __init__(
        self,
        left: np.ndarray,
        *,
        num_instance: int,
        generator: np.random.Generator,
        look_alikes: float = 0.0,
        neighbours: np.ndarray | None = None,
    ):
        self.left: list[int] = left.tolist()
        self.num_instance = num_instance
        self.look_alikes = look_alikes
        self.neighbours = neighbours
        turns = np.maximum(left // num_instance, left > 0)
        patents = np.repeat(np.arange(len(left)), turns)
        to_come = np.repeat(np.cumsum(turns), turns) - np.arange(len(patents))
        # A patent's turns are 1 / turns of the round apart, so they meet in a batch only where there is no other way.
        when = (turns[patents] - to_come + generator.random(len(left))[patents]) / turns[patents]
        order = np.argsort(when, kind="stable")
        # A turn is known by how many its patent has from there on: it is over when the drawings left are for fewer.
        self._coming = iter(zip(patents[order].tolist(), to_come[order].tolist()))
        self._waiting: list[tuple[int, int]] = []

    def fill(self, room: int, *, used: Collection[int], barred: Mapping[int, int]) -> list[Group]:
        """Groups that are `room` drawings together, by the first of these ways that there is: whole groups of patents
        that are not used; with sizes shifted between the groups of a patent; with several groups of a patent; with one
        group cut; and only then with drawings of barred patents.

        Args:
            room: places, at least 1.
            used: patents that stand in the batch already, those barred among them.
            barred: patents that the round before left in the batch, and how many of their drawings must not come now.
        """
        groups = self._exact(self._apart(self._turns(room), used), room)
        if not groups:
            turns = list(self._turns(room))
            apart, several = list(self._apart(turns, used)), list(self._several(turns, barred))
            groups = (
                self._exact(self._apart(turns, used, shifted=True), room)
                or self._exact(several, room)
                or self._cut(apart, room)
                or self._cut(several, room)
                or self._cut(self._all(barred), room)
            )
        for patent, size in groups:
            self.left[patent] -= size
        self._waiting = [(patent, to_come) for patent, to_come in self._waiting if to_come <= self._num_turns(patent)]
        return groups

    def _num_turns(self, patent: int) -> int:
        left = self.left[patent]
        return left // self.num_instance or int(left > 0)

    def _turns(self, room: float) -> Iterator[int]:
        """The patents whose turns come next, those left before first; as many as are looked at for so many places."""
        place = num_turns = num_drawings = 0
        while num_turns < TURNS_AHEAD or num_drawings < BATCHES_AHEAD * room:
            if place == len(self._waiting):
                turn = next(self._coming, None)
                if turn is None:
                    return
                self._waiting.append(turn)
            patent, to_come = self._waiting[place]
            place += 1
            if to_come <= self._num_turns(patent):
                num_turns += 1
                num_drawings += self.left[patent] // self._num_turns(patent)
                yield patent

    def _apart(self, turns: Iterable[int], used: Collection[int], *, shifted: bool = False) -> Iterator[Candidate]:
        """Patents that are not used, each once; behind one in turn its look-alikes, as far as their share allows."""
        met = set(used)
        num = num_near = 0
        for patent in turns:
            if patent in met:
                continue
            met.add(patent)
            num += 1
            yield patent, self._sizes(patent, shifted)
            for near in [] if self.neighbours is None else self.neighbours[patent].tolist():
                if num_near + 1 > self.look_alikes * (num + 1):
                    break
                if near not in met and self.left[near]:
                    met.add(near)
                    num, num_near = num + 1, num_near + 1
                    yield near, self._sizes(near, shifted)

    def _sizes(self, patent: int, shifted: bool) -> Sequence[int]:
        left, num_turns = self.left[patent], self._num_turns(patent)
        if shifted and num_turns > 1:  # all that leave whole groups to the turns to come, the most even first
            return range(self.num_instance + left % self.num_instance, self.num_instance - 1, -1)
        return (left // num_turns,)

    def _several(self, turns: Iterable[int], barred: Collection[int]) -> Iterator[Candidate]:
        """All turns but those of barred patents."""
        met: Counter[int] = Counter()
        for patent in turns:
            if patent not in barred:
                yield patent, (self._nth_size(patent, met[patent]),)
                met[patent] += 1

    def _all(self, barred: Mapping[int, int]) -> Iterator[Candidate]:
        """All turns, as far as drawings remain beside those that must not come now."""
        met, given = Counter[int](), Counter[int]()
        for patent in self._turns(math.inf):
            free = self.left[patent] - barred.get(patent, 0) - given[patent]
            size = min(free, self._nth_size(patent, met[patent]))
            met[patent] += 1
            given[patent] += size
            if size:
                yield patent, (size,)

    def _nth_size(self, patent: int, nth: int) -> int:
        """The size of the n-th turn from now on where all that is left is shared evenly: sizes differ by 1 at most."""
        return (self.left[patent] + nth) // self._num_turns(patent)

    @staticmethod
    def _exact(candidates: Iterable[Candidate], room: int) -> list[Group]:
        """Groups of the fewest first candidates that can fill the room, late ones left out for early ones; else []."""
        mask = (2 << room) - 1
        reached = [1]  # bit n: some groups of the candidates so far have n drawings together
        seen: list[Candidate] = []
        for candidate in candidates:
            sums = reached[-1]
            for size in candidate[1]:
                sums |= reached[-1] << size
            seen.append(candidate)
            reached.append(sums & mask)
            if sums >> room & 1:
                break
        else:
            return []
        groups: list[Group] = []
        for (patent, sizes), before in zip(reversed(seen), reversed(reached[:-1])):
            if not before >> room & 1:
                size = next(size for size in sizes if size <= room and before >> (room - size) & 1)
                groups.append((patent, size))
                room -= size
        return groups[::-1]

    def _cut(self, candidates: Iterable[Candidate], room: int) -> list[Group]:
        """All groups that fit, and the piece of another that hurts least; [] where there is none to cut."""
        groups: list[Group] = []
        others: list[int] = []
        beside = Counter[int]()
        for patent, (size,) in candidates:
            if size > room:
                others.append(patent)
            elif room:
                groups.append((patent, size))
                beside[patent] += size
                room -= size
        if room and not others:
            return []
        piece = [(min(others, key=lambda patent: self._hurt(patent, room, beside[patent])), room)] if room else []
        return groups + piece

    def _hurt(self, patent: int, size: int, beside: int) -> int:
        """Drawings left in groups below K when `size` of a patent are cut off, `beside` others of it."""
        rest = self.left[patent] - beside - size
        return sum(num for num, whole in ((size, size + beside), (rest, rest)) if whole < self.num_instance)
