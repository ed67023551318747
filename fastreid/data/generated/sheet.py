"""A sheet of a patent: one figure in strokes of constant width, its label, one bit a pixel."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from fastreid.data.generated.depth import ramp
from fastreid.data.generated.lines import Lines
from fastreid.data.generated.outlines import Points
from fastreid.utils.errors import InputError

PAGE_WIDTH, PAGE_HEIGHT = 1700, 2200  # px, the office's scans of 8.5 x 11 inch at 200 dots an inch
SMALLEST_PX, LARGEST_PX = 64, 2000
_INKED = 0.45  # share of a pixel a stroke must cover to blacken it; lines of one pixel stay whole

Ink = NDArray[np.bool_]


@dataclass(frozen=True)
class Style:
    """What all sheets of one patent have in common.

    Args:
        stroke: width of a line, share of the page's height.
        label: form of the figure label, such as "FIG. {}".
        label_height: share of the page's height.
        label_low: the label stands at the foot of the page; otherwise right below its figure.
        margin: free border, share of the page's width.
    """

    stroke: float
    label: str
    label_height: float
    label_low: bool
    margin: float


@dataclass(frozen=True)
class Place:
    """Where the figure stands on its sheet.

    Args:
        fill: share of the free room the figure takes, 0..1.
        across, down: where in the room that is left, 0..1.
    """

    fill: float
    across: float
    down: float


def draw_style(rng: np.random.Generator) -> Style:
    """The style of one patent."""
    forms = ("FIG. {}", "FIG. {}", "FIG.{}", "Fig. {}", "Figure {}")
    return Style(
        stroke=rng.uniform(0.0025, 0.0055),
        label=forms[int(rng.integers(len(forms)))],
        label_height=rng.uniform(0.026, 0.042),
        label_low=bool(rng.random() < 0.4),
        margin=rng.uniform(0.04, 0.1),
    )


def draw_place(rng: np.random.Generator) -> Place:
    """The place of one figure."""
    return Place(fill=rng.uniform(0.75, 1.0), across=rng.uniform(0.4, 0.6), down=rng.uniform(0.3, 0.7))


def page_size(size_px: int) -> tuple[int, int]:
    """Width and height in pixels of an upright page whose longest side is `size_px`.

    Raises:
        InputError: `size_px` is not a whole number from 64 to 2000.
    """
    if isinstance(size_px, bool) or not isinstance(size_px, int) or not SMALLEST_PX <= size_px <= LARGEST_PX:
        raise InputError(f"size_px is a whole number from {SMALLEST_PX} to {LARGEST_PX}, not {size_px!r}")
    return round(size_px * PAGE_WIDTH / PAGE_HEIGHT), size_px


def draw_sheet(lines: Lines, figure: int, *, style: Style, place: Place, size_px: int) -> Image.Image:
    """One sheet, mode "1": the lines fitted to the page, and the label of that figure number."""
    width, height = page_size(size_px)
    font = ImageFont.load_default(max(6.0, style.label_height * height))
    text = style.label.format(figure)
    left, top, right, bottom = font.getbbox(text)
    label_room = 1.6 * (bottom - top)
    margin = style.margin * width
    room = np.array([width - 2 * margin, height - 2 * margin - label_room])
    low, high = lines.segments.min(axis=(0, 1)), lines.segments.max(axis=(0, 1))
    scale = place.fill * float((room / np.maximum(high - low, 1e-6)).min())
    size = (high - low) * scale
    corner = margin + (room - size) * [place.across, place.down]
    ink = _strokes((lines.segments - low) * scale + corner, style.stroke * height, width=width, height=height)
    page = Image.fromarray(~ink)
    x = corner[0] + size[0] / 2 - (right - left) / 2
    y = height - margin - (bottom - top) if style.label_low else corner[1] + size[1] + 0.6 * (bottom - top)
    pen = ImageDraw.Draw(page)
    pen.fontmode = "1"
    x = min(max(x, margin / 2), width - margin / 2 - (right - left))
    pen.text((round(x - left), round(y - top)), text, fill=0, font=font)
    return page


def contact_sheet(rows: Sequence[Sequence[Image.Image]]) -> Image.Image:
    """Sheets of one size side by side, mode "1": one row a patent, a line of ink between the rows."""
    width, height = rows[0][0].size
    page = Image.new("1", (width * max(len(row) for row in rows), (height + 1) * len(rows)), 1)
    for number, row in enumerate(rows):
        for column, sheet in enumerate(row):
            page.paste(sheet, (column * width, number * (height + 1)))
        page.paste(0, (0, (number + 1) * (height + 1) - 1, page.width, (number + 1) * (height + 1)))
    return page


def png_bytes(sheet: Image.Image) -> bytes:
    """The sheet as a PNG file."""
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()


def _strokes(segments: Points, stroke_px: float, *, width: int, height: int) -> Ink:
    """bool (height, width): segments (S, 2, 2) in pixels, drawn with a round pen.

    The pen's path is marked on a finer page, spread by the pen's disc, and each pixel is black that the ink covers
    well enough.
    """
    finer = 3 if height <= 512 else 2 if height <= 1024 else 1
    ends = np.clip(segments, 0, [width - 1e-3, height - 1e-3]) * finer
    way = ends[:, 1] - ends[:, 0]
    steps = np.ceil(np.abs(way).max(axis=1)).astype(np.int64) + 1
    owner = np.repeat(np.arange(len(ends)), steps)
    spots = (ends[owner, 0] + way[owner] * (ramp(steps) / np.maximum(steps[owner] - 1, 1))[:, None]).astype(np.int64)
    path = np.zeros((height * finer, width * finer), dtype=bool)
    path[spots[:, 1], spots[:, 0]] = True
    inked = _spread(path, max(stroke_px, 1.0) * finer)
    cover = inked.reshape(height, finer, width, finer).mean(axis=(1, 3))
    return cover >= _INKED


def _spread(path: Ink, diameter: float) -> Ink:
    """Everything within half a diameter of the path; the disc of an even diameter leans half a pixel."""
    reach = int(np.ceil(diameter / 2))
    middle = 0.0 if round(diameter) % 2 else 0.5
    height, width = path.shape
    padded = np.pad(path, reach)
    inked = np.zeros_like(path)
    for y in range(-reach, reach + 1):
        for x in range(-reach, reach + 1):
            if (y + middle) ** 2 + (x + middle) ** 2 <= diameter * diameter / 4:
                inked |= padded[reach + y : reach + y + height, reach + x : reach + x + width]
    return inked
