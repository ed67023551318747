"""Transforms of the page layout: rotation by 90 degrees, crop to the ink, removal of figure labels."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from scipy import ndimage

from fastreid.data.transforms.pipeline import bernoulli

WHITE = 255
INK_THRESHOLD = 128  # gray levels below are ink; high enough for gray paper of a scan

Box = tuple[slice, slice]  # (rows, columns)


class RandomRotate90:
    """Rotate the page, with a probability, by 90, 180 or 270 degrees (equally likely).

    Args:
        prob: probability 0..1.
    """

    TURNS = (Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270)

    def __init__(self, prob: float):
        self.prob = prob

    def __call__(self, image: Image.Image) -> Image.Image:
        return image.transpose(self.TURNS[int(torch.randint(len(self.TURNS), ()))]) if bernoulli(self.prob) else image


class InkCrop:
    """Crop the page, with a probability, to its ink and a margin; a page without ink is unchanged.

    Args:
        prob: probability 0..1.
        margin: margin around the ink as a ratio of its longer side; never extends beyond the page.
    """

    def __init__(self, prob: float, *, margin: float):
        self.prob = prob
        self.margin = margin

    def __call__(self, image: Image.Image) -> Image.Image:
        if not bernoulli(self.prob):
            return image
        box = image.convert("L").point([WHITE if level < INK_THRESHOLD else 0 for level in range(256)]).getbbox()
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
    """Remove figure labels such as "FIG. 1" with a probability: short rows of letters away from all other ink.

    A label is a horizontal or vertical row of 2 to 12 connected components of similar height, 1.5 to 12 times as long
    as high and small compared to the page. No other ink is near it and no line encloses it. Ambiguous groups are kept,
    and nothing is removed if all labels together contain more than 6 % of the ink.

    Args:
        prob: probability 0..1.
    """

    MAX_WORK_SIDE_PX = 640  # longest side of the reduced page in which labels are searched
    MERGE_GAP = 0.012  # ink closer than this ratio of the longest side belongs to one group
    HEIGHT = (0.008, 0.06)  # of a letter, as a ratio of the longest side
    LENGTH = (1.5, 12.0)  # of a label, as a multiple of its height
    NUM_PIECES = (2, 12)
    MIN_LETTER_HEIGHT = 0.6  # of a letter, as a ratio of the tallest; lower components are dots
    NUMBER_GAP = 2.0  # maximum gap between "FIG." and the number, as a multiple of the letter height
    MAX_LABEL_INK = 0.06  # ratio of the ink of the page

    def __init__(self, prob: float):
        self.prob = prob

    def __call__(self, image: Image.Image) -> Image.Image:
        if not bernoulli(self.prob):
            return image
        factor = -(-max(image.size) // self.MAX_WORK_SIDE_PX)
        ink = np.asarray(image.convert("L").reduce(factor)) < (WHITE + INK_THRESHOLD) // 2
        boxes = self._find_labels(ink)
        if not boxes:
            return image
        cleared = image.copy()
        for rows, columns in boxes:
            # The reduced page may miss the edge of a line thinner than a pixel, so add one pixel on each side.
            edges = (columns.start - 1, rows.start - 1, columns.stop + 1, rows.stop + 1)
            cleared.paste((WHITE,) * len(image.getbands()), tuple(edge * factor for edge in edges))
        ink_before, ink_after = (WHITE - np.asarray(page, dtype=np.float32).mean() for page in (image, cleared))
        return cleared if ink_after >= (1 - self.MAX_LABEL_INK) * ink_before else image

    def _find_labels(self, ink: np.ndarray) -> list[Box]:
        side = max(ink.shape)
        reach = max(1, round(self.MERGE_GAP * side / 2))
        groups, num_groups = ndimage.label(ndimage.maximum_filter(ink, 2 * reach + 1))
        pieces, num_pieces = ndimage.label(ink, np.ones((3, 3)))
        owners = np.zeros(num_pieces + 1, dtype=np.int64)
        owners[pieces[ink]] = groups[ink]
        parts: dict[int, list[Box]] = {}
        for owner, box in zip(owners[1:], ndimage.find_objects(pieces)):
            parts.setdefault(int(owner), []).append(box)
        rows = {owner: _bounding_box(boxes) for owner, boxes in parts.items() if self._is_row(boxes, side)}
        if not rows:
            return []
        numbers = {
            owner: _bounding_box(boxes)
            for owner, boxes in parts.items()
            if owner not in rows and any(self._continues_row(row, _bounding_box(boxes)) for row in rows.values())
        }
        likely = rows | numbers
        is_other = np.ones(num_groups + 1, dtype=bool)
        is_other[[0, *likely]] = False
        others = ndimage.binary_fill_holes(is_other[groups])
        return [box for box in likely.values() if not others[box].any()]

    def _is_row(self, boxes: Sequence[Box], side: int) -> bool:
        if not self.NUM_PIECES[0] <= len(boxes) <= self.NUM_PIECES[1]:
            return False
        whole = _bounding_box(boxes)
        across = int(_length(whole[1]) < _length(whole[0]))  # axis of the letter height: 1 in a vertical row
        height, length = _length(whole[across]), _length(whole[1 - across])
        tall = [box for box in boxes if _length(box[across]) >= self.MIN_LETTER_HEIGHT * height]
        small = [box for box in boxes if _length(box[across]) < self.MIN_LETTER_HEIGHT * height]
        return (
            self.HEIGHT[0] * side <= height <= self.HEIGHT[1] * side
            and self.LENGTH[0] * height <= length <= self.LENGTH[1] * height
            and len(tall) >= 2
            and all(_length(box[1 - across]) <= 1.5 * height for box in tall)
            and all(max(map(_length, box)) <= 0.35 * height for box in small)
        )

    def _continues_row(self, row: Box, other: Box) -> bool:
        """Return True if another group is the number of a label, slightly apart from the letters."""
        across = int(_length(row[1]) < _length(row[0]))
        height = _length(row[across])
        ends = (abs(row[across].start - other[across].start), abs(row[across].stop - other[across].stop))
        gap = max(other[1 - across].start - row[1 - across].stop, row[1 - across].start - other[1 - across].stop)
        return (
            max(ends) <= 0.3 * height and gap <= self.NUMBER_GAP * height and _length(other[1 - across]) <= 2 * height
        )


def _bounding_box(boxes: Sequence[Box]) -> Box:
    rows, columns = (
        slice(min(box[axis].start for box in boxes), max(box[axis].stop for box in boxes)) for axis in (0, 1)
    )
    return rows, columns


def _length(part: slice) -> int:
    return int(part.stop - part.start)
