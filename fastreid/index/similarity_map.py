"""Which lines of two drawings match: local features of the network, averaged over the parts of the ink."""

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from scipy import ndimage
from torch import Tensor

from fastreid.data.io.image import Array
from fastreid.engine.predictor_inputs import Page
from fastreid.evaluation.local_matching import match_local_features
from fastreid.index.crop import Crop
from fastreid.index.embedder import Embedder

LONGEST_PX = 1280  # of a map
INK_LEVEL = 192  # gray levels below are ink
CELL_POSITIONS = 2  # side of the cells that long lines are cut into
NUM_REGIONS = 3  # per side
COLORS = ((200, 80, 0), (150, 150, 150), (20, 90, 220))  # of the values 0, 0.5 and 1: orange, gray, blue
FULL_MATCH = 0.8  # a value that has the last color
_NUM_COLORS, _NUM_SHADES = 15, 16
_GAMMA = 0.7  # thin lines are pale; this makes their color visible
_MIN_COVERAGE = 25  # of 255: more of a reduced pixel is ink
_MARGIN = 0.03  # around the ink, as a ratio of its longer side


@dataclass(frozen=True)
class LocalDrawing:
    """A drawing with the part of it that the network gets.

    Args:
        page: uint8 (h, w) or (h, w, 3), at most `LONGEST_PX`.
        ink: bool (h, w).
        levels: uint8 (C, H, W), the ink with a margin, fitted into the size of the network's images.
        rows: row of `levels` for each row of the page.
        columns: column of `levels` for each column of the page.
    """

    page: Array
    ink: Array
    levels: Tensor
    rows: Array
    columns: Array

    @property
    def num_bytes(self) -> int:
        """Memory that it needs."""
        arrays = (self.page, self.ink, self.rows, self.columns)
        return sum(array.nbytes for array in arrays) + self.levels.numel()


@dataclass(frozen=True)
class SimilarityMap:
    """How well each part of a drawing matches another drawing.

    Args:
        page: the drawing, uint8 (h, w) or (h, w, 3).
        values: float32 (h, w), 0: no match, to 1: equal; NaN where the drawing has no ink.
    """

    page: Array
    values: Array

    @property
    def matched(self) -> float:
        """Mean value of the ink, 0..1; 0 without ink."""
        values = self.values[~np.isnan(self.values)]
        return float(values.mean()) if values.size else 0.0

    def summarize_regions(self) -> list[list[tuple[float, float]]]:
        """Return, for a grid of 3 x 3 regions of the ink, the ratio of the ink and its mean value, row by row."""
        has_ink = ~np.isnan(self.values)
        if not has_ink.any():
            return [[(0.0, 0.0)] * NUM_REGIONS] * NUM_REGIONS
        rows, columns = (np.flatnonzero(has_ink.any(axis=axis)) for axis in (1, 0))
        box = self.values[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        num_ink = has_ink.sum()
        grid = []
        for band in np.array_split(box, NUM_REGIONS, axis=0):
            cells = [part[~np.isnan(part)] for part in np.array_split(band, NUM_REGIONS, axis=1)]
            grid.append([(float(cell.size / num_ink), float(cell.mean()) if cell.size else 0.0) for cell in cells])
        return grid

    def render(self) -> bytes:
        """Return a PNG of the drawing, whose ink is orange where nothing matches, over gray to blue for equal parts."""
        gray = self.page if self.page.ndim == 2 else np.asarray(Image.fromarray(self.page).convert("L"))
        shades = np.rint(((255 - gray.astype(np.float32)) / 255) ** _GAMMA * (_NUM_SHADES - 1)).astype(np.uint8)
        ratios = np.clip(np.nan_to_num(self.values) / FULL_MATCH, 0, 1)
        colors = np.rint(ratios * (_NUM_COLORS - 1)).astype(np.uint8)
        colors[np.isnan(self.values)] = _NUM_COLORS  # gray, as no ink
        image = Image.fromarray(colors * np.uint8(_NUM_SHADES) + shades, "P")
        image.putpalette(_make_palette().tobytes())
        file = io.BytesIO()
        image.save(file, "PNG", compress_level=3)
        return file.getvalue()


def compare_drawings(
    embedder: Embedder, first: Page, second: Page, *, crops: tuple[Crop | None, Crop | None] = (None, None)
) -> tuple[SimilarityMap, SimilarityMap]:
    """Return which parts of two drawings match each other.

    Each drawing is cut to its ink, so its place and size on the page have no effect. A local feature of the network
    matches if it and one of the other drawing are nearest to each other. The values are averaged over each connected
    part of the ink; long lines are cut into cells of about 32 px of the network's image. Equal drawings have the value
    1 everywhere. The maps do not depend on the order of the drawings.

    Args:
        embedder: the model, such as `collection.embedder`.
        first: a path, or an image as for `fastreid.Predictor`.
        second: as `first`.
        crops: the part of each drawing to use; None: all of it.

    Raises:
        InputError: a drawing cannot be read, a crop is outside of it, or the network has no map inside.
    """
    drawings = [
        prepare_local_drawing(embedder, embedder.load_page(page) if crop is None else embedder.read_part(page, crop))
        for page, crop in zip((first, second), crops, strict=True)
    ]
    return map_similarity(*((drawing, embedder.compute_local([drawing.levels])[0]) for drawing in drawings))


def prepare_local_drawing(embedder: Embedder, page: Array) -> LocalDrawing:
    """Reduce a decoded page, find its ink, and cut it out for the network.

    Args:
        embedder: the model.
        page: uint8 (H, W) or (H, W, 3).
    """
    extractor = embedder.local_features
    image, ink = _reduce(Image.fromarray(page))
    found = [np.flatnonzero(ink.any(axis=axis)) for axis in (1, 0)]
    top, left, bottom, right = 0, 0, image.height, image.width
    if found[0].size:
        top, left, bottom, right = found[0][0], found[1][0], found[0][-1] + 1, found[1][-1] + 1
    margin = round(_MARGIN * max(bottom - top, right - left))
    box = int(left) - margin, int(top) - margin, int(right) + margin, int(bottom) + margin
    sheet = Image.new(image.mode, (box[2] - box[0], box[3] - box[1]), (255,) * len(image.getbands()))
    sheet.paste(image, (-box[0], -box[1]))
    height, width = extractor.size_px
    scale = min(height / sheet.height, width / sheet.width)
    inner = max(1, round(sheet.width * scale)), max(1, round(sheet.height * scale))
    offset = (width - inner[0]) // 2, (height - inner[1]) // 2
    levels = Image.new(image.mode, (width, height), (255,) * len(image.getbands()))
    levels.paste(sheet.resize(inner, Image.Resampling.BICUBIC), offset)
    pixels = torch.from_numpy(np.array(levels.convert("RGB" if embedder.has_color else "L")))
    return LocalDrawing(
        np.asarray(image),
        ink,
        pixels.permute(2, 0, 1).contiguous() if embedder.has_color else pixels[None],
        np.clip((np.arange(image.height) - box[1] + 0.5) * scale + offset[1], 0, height - 1).astype(np.int64),
        np.clip((np.arange(image.width) - box[0] + 0.5) * scale + offset[0], 0, width - 1).astype(np.int64),
    )


def _reduce(image: Image.Image) -> tuple[Image.Image, Array]:
    """Return a page of at most `LONGEST_PX` and which of its pixels are ink, bool (h, w).

    The ink is found before the reduction, which makes thin lines pale.
    """
    ink = np.asarray(image.convert("L")) < INK_LEVEL
    if max(image.size) <= LONGEST_PX:
        return image, ink
    image.thumbnail((LONGEST_PX, LONGEST_PX), Image.Resampling.BILINEAR, reducing_gap=2)
    coverage = Image.fromarray(ink.astype(np.uint8) * 255).resize(image.size, Image.Resampling.BOX)
    return image, np.asarray(coverage) > _MIN_COVERAGE


def map_similarity(
    first: tuple[LocalDrawing, Tensor], second: tuple[LocalDrawing, Tensor]
) -> tuple[SimilarityMap, SimilarityMap]:
    """Return the maps of two drawings with their local features, float32 (C, H', W')."""
    cells = [_find_cells(drawing, features.shape[1:]) for drawing, features in (first, second)]
    parts = [features.flatten(1).T[cell] for (_, features), cell in zip((first, second), cells, strict=True)]
    positions = [
        torch.stack((cell // features.shape[2], cell % features.shape[2]), dim=1)
        for (_, features), cell in zip((first, second), cells, strict=True)
    ]
    values = match_local_features(parts[0], parts[1], (positions[0], positions[1]))
    maps = []
    for (drawing, features), cell, value in zip((first, second), cells, values, strict=True):
        table = torch.zeros(features.shape[1] * features.shape[2])
        table[cell] = value
        maps.append(SimilarityMap(drawing.page, _average_parts(drawing, table.view(features.shape[1:]).numpy())))
    return maps[0], maps[1]


def _locate(drawing: LocalDrawing, shape: Any) -> tuple[Array, Array]:
    """Return the row of the map for each row of the page, and the column for each column."""
    _, height, width = drawing.levels.shape
    return drawing.rows * shape[0] // height, drawing.columns * shape[1] // width


def _find_cells(drawing: LocalDrawing, shape: Any) -> Tensor:
    """Return the positions of a map, counted row by row, that have ink."""
    rows, columns = _locate(drawing, shape)
    at = np.nonzero(drawing.ink)
    return torch.from_numpy(np.unique(rows[at[0]] * shape[1] + columns[at[1]]))


def _average_parts(drawing: LocalDrawing, table: Array) -> Array:
    """Return the value of each pixel of the ink, averaged over its connected part and cell; NaN elsewhere.

    Args:
        drawing: the drawing.
        table: values of the positions, float32 (H', W').
    """
    values = np.full(drawing.ink.shape, np.nan, np.float32)
    at = np.nonzero(drawing.ink)
    if not at[0].size:
        return values
    labels, num_labels = ndimage.label(drawing.ink, np.ones((3, 3)))
    label = labels[at].astype(np.int64)
    rows, columns = (index[part] for index, part in zip(_locate(drawing, table.shape), at, strict=True))
    is_long = (
        np.maximum(_measure(label, rows, num_labels), _measure(label, columns, num_labels))[label] > CELL_POSITIONS
    )
    num_columns = table.shape[1] // CELL_POSITIONS + 1
    num_cells = num_columns * (table.shape[0] // CELL_POSITIONS + 1)
    cells = np.where(is_long, rows // CELL_POSITIONS * num_columns + columns // CELL_POSITIONS, 0)
    _, part = np.unique(label * num_cells + cells, return_inverse=True)
    sums = np.bincount(part, weights=table[rows, columns])
    values[at] = (sums / np.bincount(part))[part]
    return values


def _measure(label: Array, position: Array, num_labels: int) -> Array:
    """Return the difference of the last and the first position of each label, int64 (num_labels + 1,)."""
    first, last = np.full(num_labels + 1, position.max()), np.zeros(num_labels + 1, np.int64)
    np.minimum.at(first, label, position)
    np.maximum.at(last, label, position)
    length: Array = last - first
    return length


def _make_palette() -> Array:
    """Return colors uint8 (256, 3): shades from paper to ink of each color, and of gray."""
    ratios = np.linspace(0, 1, _NUM_COLORS)
    points = np.linspace(0, 1, len(COLORS))
    inks = np.stack([np.interp(ratios, points, channel) for channel in zip(*COLORS)], axis=1)
    inks = np.concatenate([inks, [[90, 90, 90]]])
    weights = np.linspace(0, 1, _NUM_SHADES)[None, :, None]
    return np.rint(255 * (1 - weights) + inks[:, None] * weights).astype(np.uint8).reshape(-1, 3)
