"""Samples and batches in host memory."""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.utils.data import Dataset

from fastreid.data.io.image import REPLACE_OR_REMOVE, Array, add_source, read_drawing
from fastreid.data.io.reader import ReadPage
from fastreid.data.loading.unreadable import RESTORE_ONE, SKIP_IT, UnreadableDrawingError
from fastreid.structures import Batch, Drawing
from fastreid.utils.errors import FastreidError, InputError
from fastreid.utils.seeding import keyed_torch_rng
from fastreid.utils.text import escape_unprintable

SampleKey = tuple[int, int]  # (sample index within the run, row in the list)

MAX_SIZES_SHOWN = 3


class Transform(Protocol):
    """Page to network input in two parts: per page in a worker, per batch on the device. `Pipeline` implements it."""

    def prepare(self, page: Array, /) -> tuple[Tensor, Tensor]:
        """Turn a page, uint8 (H, W) or (H, W, 3), into uint8 (C, H', W') and sampled parameters, float32 (P,)."""

    def to_images(self, pages: Tensor, aug_params: Tensor, /) -> Tensor:
        """Turn pages, uint8 (B, C, H, W), and parameters, float32 (B, P), into images, float32 (B, 3, H, W)."""


class Sample(NamedTuple):
    """One transformed drawing.

    Args:
        page: uint8 (C, H, W); C is 1 (gray) or 3 (RGB).
        aug_params: float32 (P,), sampled parameters of the batch augmentations.
        target: label.
        row: in the list.
        skipped: (row, fault) of unreadable drawings that this one replaces.
    """

    page: Tensor
    aug_params: Tensor
    target: int
    row: int
    skipped: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True)
class HostBatch:
    """A batch in host memory, before the batch augmentations.

    Args:
        pages: uint8 (B, C, H, W); C is 1 (gray) or 3 (RGB).
        aug_params: float32 (B, P), sampled parameters of the batch augmentations.
        targets: int64 (B,), labels.
        rows: int64 (B,), in the list.
        skipped: (row, fault) of unreadable drawings that others replace.
        note: why a worker did not use shared memory, for the log, or "".
    """

    pages: Tensor
    aug_params: Tensor
    targets: Tensor
    rows: Tensor
    skipped: tuple[tuple[int, str], ...] = ()
    note: str = ""

    def pin_memory(self) -> "HostBatch":
        """Return a copy in page-locked memory, which transfers faster to a GPU; called by DataLoader."""
        pages, aug_params, targets = (part.pin_memory() for part in (self.pages, self.aug_params, self.targets))
        return dataclasses.replace(self, pages=pages, aug_params=aug_params, targets=targets)

    def to_batch(self, transform: Transform, device: torch.device) -> Batch:
        """Return the batch on a device, transformed for the network; `rows` remain in host memory."""
        pages, aug_params, targets = (
            part.to(device, non_blocking=True) for part in (self.pages, self.aug_params, self.targets)
        )
        return Batch(transform.to_images(pages, aug_params), targets, self.rows)


class DrawingDataset(Dataset[Sample | FastreidError]):
    """Maps a (sample index, row) to a sample, or to the error if there is none.

    Errors are returned, not raised, because torch would wrap an error raised in a worker into a traceback.

    Args:
        drawings: the list.
        targets: label of each drawing.
        transform: page to image.
        seed: of the run; the random numbers of the transform depend on it, the sample index and the row.
        read: reads the page of a drawing.
        replace_unreadable: replace an unreadable drawing by another of its patent: the next readable one in the list,
            starting over at the end.
        hint: appended to the fault of an unreadable drawing.
    """

    def __init__(
        self,
        drawings: Sequence[Drawing],
        targets: Sequence[int],
        *,
        transform: Transform,
        seed: int = 0,
        read: ReadPage = read_drawing,
        replace_unreadable: bool = False,
        hint: str = "",
    ):
        self.drawings = drawings
        self.targets = targets
        self.transform = transform
        self.seed = seed
        self.read = read
        self.hint = hint
        self._rows_of_target: dict[int, list[int]] = {}
        for row, target in enumerate(targets if replace_unreadable else ()):
            self._rows_of_target.setdefault(target, []).append(row)

    def __getitem__(self, key: SampleKey) -> Sample | FastreidError:
        index, requested = key
        skipped: list[tuple[int, str]] = []
        for row in self._candidates(requested):
            try:
                page = self.read(self.drawings[row])
            except InputError as error:
                skipped.append((row, str(error)))
            except FastreidError as error:
                return error
            else:
                return self._transform(index, row, page, tuple(skipped))
        return UnreadableDrawingError(self._describe_unreadable(skipped, requested), [row for row, _ in skipped])

    def _describe_unreadable(self, skipped: list[tuple[int, str]], row: int) -> str:
        """Return the fault of a row without a readable replacement.

        A hint of training replaces the advice to replace or remove the file, because no run resumes without it.
        """
        parts = [skipped[0][1], self.hint]
        if self.hint in (SKIP_IT, RESTORE_ONE):
            parts[0] = parts[0].removesuffix(REPLACE_OR_REMOVE)
        if len(skipped) > 1:
            patent = escape_unprintable(self.drawings[row].patent)
            parts[1:1] = [f"none of the {len(skipped)} drawings of its patent {patent} can be read"]
        return "; ".join(part for part in parts if part)

    def _candidates(self, row: int) -> Iterator[int]:
        """Yield a row and its possible replacements, in order."""
        yield row
        others = self._rows_of_target.get(self.targets[row], [])
        yield from (other for other in others if other > row)
        yield from (other for other in others if other < row)

    def _transform(
        self, index: int, row: int, page: Array, skipped: tuple[tuple[int, str], ...]
    ) -> Sample | FastreidError:
        try:
            with keyed_torch_rng(self.seed, "augment", index, row):
                return Sample(*self.transform.prepare(page), self.targets[row], row, skipped)
        except InputError as error:
            drawing = self.drawings[row]
            return InputError(add_source(drawing, f"{escape_unprintable(drawing.path)}: {error}"))


def collate(samples: Sequence[Sample | FastreidError]) -> HostBatch | FastreidError:
    """Stack samples to a batch; return the first error if there is one."""
    valid: list[Sample] = []
    for sample in samples:
        if isinstance(sample, FastreidError):
            return sample
        valid.append(sample)
    sizes = {tuple(sample.page.shape[1:]) for sample in valid}
    if len(sizes) > 1:
        shown = ", ".join(f"{height} x {width}" for height, width in sorted(sizes)[:MAX_SIZES_SHOWN])
        return InputError(
            f"the drawings of a batch have {len(sizes)} sizes ({shown} px); set INPUT.SIZE_TRAIN and SIZE_TEST to a "
            "height and a width, or set INPUT.CROP.ENABLED"
        )
    return HostBatch(
        torch.stack([sample.page for sample in valid]),
        torch.stack([sample.aug_params for sample in valid]),
        torch.tensor([sample.target for sample in valid]),
        torch.tensor([sample.row for sample in valid]),
        tuple(skip for sample in valid for skip in sample.skipped),
    )
