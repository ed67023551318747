"""One drawing made ready, and several of them stacked."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from fastreid.data.io.image import read_drawing
from fastreid.data.io.messages import one_line
from fastreid.structures import Batch, Drawing
from fastreid.utils.errors import FastreidError, InputError
from fastreid.utils.seeding import keyed_torch

Read = Callable[[Drawing], np.ndarray]  # a drawing to its page, uint8 (H, W)
Item = tuple[int, int]  # (draw, row): the how-manieth drawing of the run, and its place in the list

NUM_SIZES_TOLD = 3


class Transform(Protocol):
    """A page made ready, in two parts; `Pipeline` is one."""

    def prepare(self, page: np.ndarray) -> tuple[Tensor, Tensor]: ...

    def finish(self, levels: Tensor, numbers: Tensor) -> Tensor: ...


class Sample(NamedTuple):
    """One drawing made ready.

    Args:
        levels: uint8 (1, H, W), grey.
        numbers: float32 (P,), what was drawn for the changes of whole batches.
        target: class number.
        row: place in the list.
        passed_over: (row, fault) of drawings that it stands in for because they cannot be read.
    """

    levels: Tensor
    numbers: Tensor
    target: int
    row: int
    passed_over: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True)
class Levels:
    """Drawings on their way from where they were read to where the network is.

    Args:
        levels: uint8 (B, 1, H, W), grey.
        numbers: float32 (B, P), what was drawn for the changes of whole batches.
        targets: int64 (B,).
        rows: int64 (B,).
        passed_over: (row, fault) of drawings that others stand in for.
    """

    levels: Tensor
    numbers: Tensor
    targets: Tensor
    rows: Tensor
    passed_over: tuple[tuple[int, str], ...] = ()

    def pin_memory(self) -> "Levels":
        """The same in memory a GPU fetches faster; DataLoader calls it."""
        levels, numbers, targets = (part.pin_memory() for part in (self.levels, self.numbers, self.targets))
        return dataclasses.replace(self, levels=levels, numbers=numbers, targets=targets)

    def finished(self, transform: Transform, device: torch.device) -> Batch:
        """The batch on a device, ready for the network; the rows stay where they are."""
        levels, numbers, targets = (
            part.to(device, non_blocking=True) for part in (self.levels, self.numbers, self.targets)
        )
        return Batch(transform.finish(levels, numbers), targets, self.rows)


class DrawingDataset(Dataset):
    """Gives the sample of a (draw, row), or the error that tells why there is none.

    An error is returned, not raised, because torch would wrap one raised in a worker into a traceback.

    Args:
        drawings: the list.
        targets: class number of each drawing.
        transform: page to image.
        seed: the run's seed: what is random in the transform follows from it, the draw and the row.
        read: gives a drawing's page.
        stand_ins: give another drawing of the patent for one that cannot be read: the next in the list that can, from
            the first again after the last.
        hint: follows the fault of a drawing that cannot be read.
    """

    def __init__(
        self,
        drawings: Sequence[Drawing],
        targets: Sequence[int],
        *,
        transform: Transform,
        seed: int = 0,
        read: Read = read_drawing,
        stand_ins: bool = False,
        hint: str = "",
    ):
        self.drawings = drawings
        self.targets = targets
        self.transform = transform
        self.seed = seed
        self.read = read
        self.hint = hint
        self._rows_of: dict[int, list[int]] = {}
        for row, target in enumerate(targets if stand_ins else ()):
            self._rows_of.setdefault(target, []).append(row)

    def __getitem__(self, item: Item) -> Sample | FastreidError:
        draw, asked = item
        passed_over: list[tuple[int, str]] = []
        for row in self._candidates(asked):
            try:
                page = self.read(self.drawings[row])
            except InputError as error:
                passed_over.append((row, str(error)))
            except FastreidError as error:
                return error
            else:
                return self._sample(draw, row, page, tuple(passed_over))
        words = [passed_over[0][1], self.hint]
        if len(passed_over) > 1:
            patent = one_line(self.drawings[asked].patent)
            words[1:1] = [f"nor can any of the {len(passed_over)} drawings of its patent {patent} be read"]
        return InputError("; ".join(word for word in words if word))

    def _candidates(self, row: int) -> Iterator[int]:
        """A row, and those that may stand in for it, in order."""
        yield row
        others = self._rows_of.get(self.targets[row], [])
        yield from (other for other in others if other > row)
        yield from (other for other in others if other < row)

    def _sample(
        self, draw: int, row: int, page: np.ndarray, passed_over: tuple[tuple[int, str], ...]
    ) -> Sample | FastreidError:
        try:
            with keyed_torch(self.seed, "augment", draw, row):
                return Sample(*self.transform.prepare(page), self.targets[row], row, passed_over)
        except InputError as error:
            drawing = self.drawings[row]
            return InputError(f"{drawing.source}: {one_line(drawing.path)}: {error}")


def collate(samples: Sequence[Sample | FastreidError]) -> Levels | FastreidError:
    """Stack samples; if some are errors, the first of them."""
    good: list[Sample] = []
    for sample in samples:
        if isinstance(sample, FastreidError):
            return sample
        good.append(sample)
    levels, numbers, targets, rows, passed_over = zip(*good)
    sizes = {tuple(one.shape[1:]) for one in levels}
    if len(sizes) > 1:
        told = ", ".join(f"{height} x {width}" for height, width in sorted(sizes)[:NUM_SIZES_TOLD])
        return InputError(
            f"the drawings of a batch have {len(sizes)} sizes ({told} px); give INPUT.SIZE_TRAIN and SIZE_TEST a height "
            "and a width, or set INPUT.CROP.ENABLED"
        )
    return Levels(
        torch.stack(levels), torch.stack(numbers), torch.tensor(targets), torch.tensor(rows), sum(passed_over, ())
    )
