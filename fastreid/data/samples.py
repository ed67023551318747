"""One drawing made ready, and several of them stacked."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from fastreid.data.image import read_drawing
from fastreid.data.messages import one_line
from fastreid.structures import Batch, Drawing
from fastreid.utils.errors import FastreidError, InputError
from fastreid.utils.seeding import keyed_torch

Read = Callable[[Drawing], np.ndarray]  # a drawing to its page, uint8 (H, W)
Transform = Callable[[np.ndarray], Tensor]
Item = tuple[int, int]  # (draw, row): the how-manieth drawing of the run, and its place in the list
Sample = tuple[Tensor, int, int]  # image, target, row

NUM_SIZES_TOLD = 3


class DrawingDataset(Dataset):
    """Gives the sample of a (draw, row), or the error that tells why there is none.

    An error is returned, not raised, because torch would wrap one raised in a worker into a traceback.

    Args:
        drawings: the list.
        targets: class number of each drawing.
        transform: page to image.
        seed: the run's seed: what is random in the transform follows from it, the draw and the row.
        read: gives a drawing's page.
    """

    def __init__(
        self,
        drawings: Sequence[Drawing],
        targets: Sequence[int],
        *,
        transform: Transform,
        seed: int = 0,
        read: Read = read_drawing,
    ):
        self.drawings = drawings
        self.targets = targets
        self.transform = transform
        self.seed = seed
        self.read = read

    def __getitem__(self, item: Item) -> Sample | FastreidError:
        draw, row = item
        drawing = self.drawings[row]
        try:
            page = self.read(drawing)
        except FastreidError as error:
            return error
        try:
            with keyed_torch(self.seed, "augment", draw, row):
                return self.transform(page), self.targets[row], row
        except InputError as error:
            return InputError(f"{drawing.source}: {one_line(drawing.path)}: {error}")


def collate(samples: Sequence[Sample | FastreidError]) -> Batch | FastreidError:
    """Stack samples to a batch; if some are errors, the first of them."""
    good: list[Sample] = []
    for sample in samples:
        if isinstance(sample, FastreidError):
            return sample
        good.append(sample)
    images, targets, rows = zip(*good)
    sizes = {tuple(image.shape[1:]) for image in images}
    if len(sizes) > 1:
        told = ", ".join(f"{height} x {width}" for height, width in sorted(sizes)[:NUM_SIZES_TOLD])
        return InputError(
            f"the drawings of a batch have {len(sizes)} sizes ({told} px); give INPUT.SIZE_TRAIN and SIZE_TEST a height "
            "and a width, or set INPUT.CROP.ENABLED"
        )
    return Batch(torch.stack(images), torch.tensor(targets), torch.tensor(rows))
