"""What a sheet is made of: its ink, its figure label, and the side it stands on."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from scipy import ndimage

from fastreid.data.transforms.pipeline import chance

WHITE = 255
INK_BELOW = 128  # a level below it is ink, whatever a scanner did to the paper

Box = tuple[slice, slice]  # rows and columns


class QuarterTurn:
    """With a probability, turn the page by one, two or three quarters, each as often.

    Args:
        prob: probability 0..1.
    """

    TURNS = (Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270)

    def __init__(self, prob: float):
        self.prob = prob

    def __call__(self, image: Image.Image) -> Image.Image:
        return image.transpose(self.TURNS[int(torch.randint(len(self.TURNS), ()))]) if chance(self.prob) else image


class InkCrop:
    """With a probability, cut the page to its ink and a margin; a page without ink stays as it is.

    Args:
        prob: probability 0..1.
        margin: share of the ink's longer side that is kept around it, as far as there is page.
    """

    def __init__(self, prob: float, *, margin: float):
        self.prob = prob
        self.margin = margin

    def __call__(self, image: Image.Image) -> Image.Image:
        if not chance(self.prob):
            return image
        box = image.point([WHITE if level < INK_BELOW else 0 for level in range(256)]).getbbox()
        if box is None:
            return image
        left, top, right, bottom = box
        margin = round(self.margin * max(right - left, bottom - top))
        return image.crop(
            (
                max(left - margin, 0),
                max(top - margin, 0),
                min(right + margin, image.width),
                min(bottom + margin, image.height),
            )
        )


class LabelRemoval:
    """With a probability, whiten figure labels such as "FIG. 1": short rows of letters apart from all other ink.

    A label is a group of 2 to 12 pieces of ink of about one height, in a row across or up the page, 1.5 to 12 times
    as long as high and small beside the page, which no other ink comes near and no line goes around. When in doubt a
    group stays; where all labels together hold more than 6 % of the ink, nothing is removed.

    Args:
        prob: probability 0..1.
    """

    WORK_PX = 640  # longest side of the reduced page on which labels are looked for
    GAP = 0.012  # ink nearer than this share of the longest side belongs together
    HEIGHT = (0.008, 0.06)  # of a letter, as a share of the longest side
    LENGTH = (1.5, 12.0)  # of a label, as a multiple of its height
    PIECES = (2, 12)
    EVEN = 0.6  # height of a letter, as a share of the tallest; what is lower is a dot
    NUMBER_GAP = 2.0  # between the letters and their number at most, as a multiple of their height
    MOST_INK = 0.06

    def __init__(self, prob: float):
        self.prob = prob

    def __call__(self, image: Image.Image) -> Image.Image:
        if not chance(self.prob):
            return image
        factor = -(-max(image.size) // self.WORK_PX)
        ink = np.asarray(image.reduce(factor)) < (WHITE + INK_BELOW) // 2
        boxes = self._labels(ink)
        if not boxes:
            return image
        cleared = image.copy()
        for rows, columns in boxes:
            # Reducing a line thinner than a pixel can lose its edge: one more on each side.
            edges = (columns.start - 1, rows.start - 1, columns.stop + 1, rows.stop + 1)
            cleared.paste(WHITE, tuple(edge * factor for edge in edges))
        ink_before, ink_after = (WHITE - np.asarray(page, dtype=np.float32).mean() for page in (image, cleared))
        return cleared if ink_after >= (1 - self.MOST_INK) * ink_before else image

    def _labels(self, ink: np.ndarray) -> list[Box]:
        side = max(ink.shape)
        reach = max(1, round(self.GAP * side / 2))
        groups, num_groups = ndimage.label(ndimage.maximum_filter(ink, 2 * reach + 1))
        pieces, num_pieces = ndimage.label(ink, np.ones((3, 3)))
        owners = np.zeros(num_pieces + 1, dtype=np.int64)
        owners[pieces[ink]] = groups[ink]
        parts: dict[int, list[Box]] = {}
        for owner, box in zip(owners[1:], ndimage.find_objects(pieces)):
            parts.setdefault(int(owner), []).append(box)
        rows = {owner: _around(boxes) for owner, boxes in parts.items() if self._is_row(boxes, side)}
        if not rows:
            return []
        numbers = {
            owner: _around(boxes)
            for owner, boxes in parts.items()
            if owner not in rows and any(self._goes_on(row, _around(boxes)) for row in rows.values())
        }
        likely = rows | numbers
        is_other = np.ones(num_groups + 1, dtype=bool)
        is_other[[0, *likely]] = False
        others = ndimage.binary_fill_holes(is_other[groups])
        return [box for box in likely.values() if not others[box].any()]

    def _is_row(self, boxes: Sequence[Box], side: int) -> bool:
        if not self.PIECES[0] <= len(boxes) <= self.PIECES[1]:
            return False
        whole = _around(boxes)
        across = int(_length(whole[1]) < _length(whole[0]))  # the axis of a letter's height: 0 in an upright row
        height, length = _length(whole[across]), _length(whole[1 - across])
        tall = [box for box in boxes if _length(box[across]) >= self.EVEN * height]
        small = [box for box in boxes if _length(box[across]) < self.EVEN * height]
        return (
            self.HEIGHT[0] * side <= height <= self.HEIGHT[1] * side
            and self.LENGTH[0] * height <= length <= self.LENGTH[1] * height
            and len(tall) >= 2
            and all(_length(box[1 - across]) <= 1.5 * height for box in tall)
            and all(max(map(_length, box)) <= 0.35 * height for box in small)
        )

    def _goes_on(self, row: Box, other: Box) -> bool:
        """Whether another group is the number that stands a little off behind the letters, or before them."""
        across = int(_length(row[1]) < _length(row[0]))
        height = _length(row[across])
        ends = (abs(row[across].start - other[across].start), abs(row[across].stop - other[across].stop))
        gap = max(other[1 - across].start - row[1 - across].stop, row[1 - across].start - other[1 - across].stop)
        return (
            max(ends) <= 0.3 * height and gap <= self.NUMBER_GAP * height and _length(other[1 - across]) <= 2 * height
        )


def _around(boxes: Sequence[Box]) -> Box:
    rows, columns = (
        slice(min(box[axis].start for box in boxes), max(box[axis].stop for box in boxes)) for axis in (0, 1)
    )
    return rows, columns


def _length(part: slice) -> int:
    return part.stop - part.start
