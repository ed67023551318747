"""A drawing as the office keeps it: one or two figures with their labels, cut to the ink, one bit a pixel."""

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fastreid.synthetic.geometry.outlines import Points
from fastreid.synthetic.part_rng import Draws
from fastreid.synthetic.rendering.dashes import dashed
from fastreid.synthetic.rendering.glyphs import Face, draw_face, label_strokes
from fastreid.synthetic.rendering.hidden_lines import BROKEN, FINE, INNER, SOLID, Lines
from fastreid.synthetic.rendering.ink import INKED, Cover, cover_of
from fastreid.utils.errors import InputError

ROOM = np.array([0.8, 1.02])  # what the figures may take of a page of 8.5 x 11 inch, in widths of the page
SMALLEST_PX, LARGEST_PX = 64, 2000
FAINTEST_PX = 192  # longest side of a page on which a dotted line keeps all its ink; twice that: half of it
LIFTED = 0.005  # where the pen was lifted, in widths of the page
MOST_SKEW = 1.0  # degrees
NARROWEST = 0.1  # a drawing is at least so wide or high, beside its longer side
APART = 0.06  # room between two figures and above a label, in widths of the page


@dataclass(frozen=True)
class Style:
    """What all sheets of one patent have in common; lengths in widths of the page.

    Args:
        stroke: width of a line.
        fine: width of shading and hatching, share of `stroke`.
        inner: width of creases within the outlines, the same.
        trim: how far straight creases end before the corners.
        lift: how far the pen draws outlines before it is lifted; 0: it never is.
        dash, gap: of broken lines.
        face: of the labels.
        label_low: the label stands at the foot of its room; otherwise right below its figure.
        fill: share of the room that the largest figure takes.
        one_scale: all figures are drawn to one scale; otherwise each fills its room.
        sideways: share of its drawings that lie on their side.
        wide_sideways: the same of those that are wider than high.
        dotted: lines thinner than a pixel come as dots, the fewer the thinner; otherwise they are a pixel wide.
        skew: spread of the angle at which sheets lay on the scanner, in degrees.
        framed: sheets have a frame.
        rough: noise of the scan, in shares of a pixel's ink.
        specks: dirt of the scan, pieces a drawing.
    """

    stroke: float
    fine: float
    inner: float
    trim: float
    lift: float
    dash: float
    gap: float
    face: Face
    label_low: bool
    fill: float
    one_scale: bool
    sideways: float
    wide_sideways: float
    dotted: bool
    skew: float
    framed: bool
    rough: float
    specks: float


@dataclass(frozen=True)
class Shown:
    """One figure ready for a sheet.

    Args:
        lines: in half diagonals of the object.
        number: of its label; 0: none.
        scale: widths of the page to a half diagonal; 0: as large as there is room.
        tone: float32 (H, W), how dark each place is, or None.
        tone_box: float64 (2, 2), where the tone's upper left and lower right corner lie, in half diagonals.
    """

    lines: Lines
    number: int
    scale: float = 0.0
    tone: NDArray[np.float32] | None = None
    tone_box: Points | None = None


@dataclass(frozen=True)
class _Laid:
    """Pens and tones on the page, in widths of the page."""

    strokes: tuple[tuple[Points, float], ...]
    tones: tuple[tuple[NDArray[np.float32], Points], ...]


def draw_style(rng: Draws) -> Style:
    """The style of one patent."""
    dash = float(np.exp(rng.uniform(np.log(0.004), np.log(0.02))))
    return Style(
        stroke=float(np.exp(rng.uniform(np.log(0.0006), np.log(0.0022)))),
        fine=rng.uniform(0.25, 0.9),
        inner=float(rng.choice([0.5, 0.7, 1.0])),
        trim=float(rng.choice([0.0, 0.003, 0.008])),
        lift=float(rng.choice([0.0, rng.uniform(0.05, 0.3)], p=[0.8, 0.2])),
        dash=dash,
        gap=dash * rng.uniform(0.35, 0.8),
        face=draw_face(rng.part()),
        label_low=bool(rng.random() < 0.5),
        fill=rng.uniform(0.5, 1.0),
        one_scale=bool(rng.random() < 0.75),
        sideways=float(rng.choice([0.0, 1.0], p=[0.92, 0.08])),
        wide_sideways=float(rng.choice([0.0, 0.6, 1.0], p=[0.2, 0.3, 0.5])),
        dotted=bool(rng.random() < 0.9),
        skew=float(rng.choice([0.0, 0.3], p=[0.6, 0.4])),
        framed=bool(rng.random() < 0.03),
        rough=float(rng.choice([0.0, 0.08, 0.2])),
        specks=float(rng.choice([0.0, 0.5, 4.0], p=[0.6, 0.3, 0.1])),
    )


def check_size(size_px: int) -> None:
    """Raises InputError where `size_px` is not a whole number from 64 to 2000."""
    if isinstance(size_px, bool) or not isinstance(size_px, int) or not SMALLEST_PX <= size_px <= LARGEST_PX:
        raise InputError(f"size_px is a whole number from {SMALLEST_PX} to {LARGEST_PX}, not {size_px!r}")


def room_of(style: Style) -> Points:
    """float64 (2,): width and height that a single figure may take."""
    return (ROOM - [0, APART + style.face.height]) * style.fill


def draw_sheet(figures: Sequence[Shown], style: Style, rng: Draws, *, size_px: int, grey: bool = False) -> Image.Image:
    """One drawing, its longest side `size_px`: mode "1", or "L" where `grey`, as a finer scan reduced to that size.

    Args:
        figures: one or two.
        style: the patent's.
        rng: what is by chance on this drawing: places on the page, margins, specks.
        size_px: 64 to 2000.
        grey: lines thinner than a pixel are paler; otherwise they are dotted or a pixel wide.
    """
    laid = _askew(_lay_out(figures, style, rng), style, rng)
    low, high = _bounds(laid)
    lying = rng.random()
    if figures[0].number and lying < (style.sideways if high[1] - low[1] > high[0] - low[0] else style.wide_sideways):
        laid = _turned(laid)
        low, high = _bounds(laid)
    border = rng.uniform(0.0, 0.012) * float((high - low).max()) + style.stroke
    low, high = low - border, high + border
    scale = size_px / float((high - low).max())
    wide, tall = (max(round(side), round(NARROWEST * size_px)) for side in ((high - low) * scale).tolist())
    cover = np.zeros((tall, wide), dtype=np.float32)
    least_px = 0.0 if grey else min(FAINTEST_PX / size_px, 1.0) if style.dotted else 1.0
    for segments, pen in laid.strokes:
        if len(segments):
            inked = cover_of((segments - low) * scale, max(pen * scale, least_px), size=(wide, tall))
            np.maximum(cover, inked, out=cover)
    for tone, box in laid.tones:
        _lay_tone(cover, tone, (box - low) * scale)
    _dirty(cover, style, rng)
    if laid.tones or style.dotted or grey:
        levels = Image.fromarray(np.uint8(255 * (1 - np.clip(cover, 0, 1))))
        return levels if grey else levels.convert("1")  # Floyd and Steinberg's dots
    return Image.fromarray(cover < INKED)


def contact_sheet(rows: Sequence[Sequence[Image.Image]], *, cell_px: int) -> Image.Image:
    """Drawings side by side, mode "L", each reduced into a square cell: one row a patent, a line between the rows."""
    page = Image.new("L", (cell_px * max(len(row) for row in rows), (cell_px + 1) * len(rows)), 255)
    for number, row in enumerate(rows):
        top = number * (cell_px + 1)
        for column, sheet in enumerate(row):
            small = sheet.convert("L")
            small.thumbnail((cell_px - 4, cell_px - 4), Image.Resampling.BICUBIC)
            page.paste(small, (column * cell_px + 2, top + 2))
        page.paste(0, (0, top + cell_px, page.width, top + cell_px + 1))
    return page


def png_bytes(sheet: Image.Image) -> bytes:
    """The sheet as a PNG file."""
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()


def _lay_out(figures: Sequence[Shown], style: Style, rng: Draws) -> _Laid:
    """Figures one below the other, each with its label under it."""
    label_room = APART + style.face.height
    room = np.array([ROOM[0], (ROOM[1] - APART * (len(figures) - 1)) / len(figures) - label_room])
    strokes, tones, top = [], [], 0.0
    for figure in figures:
        points = figure.lines.segments
        low, high = points.min(axis=(0, 1)), points.max(axis=(0, 1))
        fits = float((room / np.maximum(high - low, 1e-6)).min())
        scale = min(figure.scale, fits) if figure.scale else style.fill * fits
        size = (high - low) * scale
        corner = np.array([ROOM[0] - size[0], rng.uniform(0, 1) * (room[1] - size[1])]) * [0.5, 1.0] + [0, top]
        strokes += _pens((points - low) * scale + corner, figure.lines.pens, style)
        if figure.tone is not None and figure.tone_box is not None:
            tones.append((figure.tone, (figure.tone_box - low) * scale + corner))
        if figure.number:
            label = label_strokes(figure.number, style.face)
            x = ROOM[0] / 2 - label[..., 0].max() / 2 + rng.normal(scale=0.02)
            y = top + room[1] if style.label_low else corner[1] + size[1]
            strokes.append((label + [x, y + APART * rng.uniform(0.5, 0.9)], style.face.weight * style.face.height))
        top += room[1] + label_room + APART
    return _Laid(tuple(strokes), tuple(tones))


def _bounds(laid: _Laid) -> tuple[Points, Points]:
    points = np.concatenate([segments.reshape(-1, 2) for segments, _ in laid.strokes])
    return points.min(axis=0), points.max(axis=0)


def _pens(segments: Points, pens: NDArray[np.int64], style: Style) -> list[tuple[Points, float]]:
    whole, broken = segments[pens == SOLID], dashed(segments[pens == BROKEN], dash=style.dash, gap=style.gap)
    if style.lift:
        whole = dashed(whole, dash=style.lift, gap=LIFTED)
    return [
        (np.concatenate([whole, broken]), style.stroke),
        (_trimmed(segments[pens == INNER], style.trim), style.stroke * style.inner),
        (segments[pens == FINE], style.stroke * style.fine),
    ]


def _trimmed(segments: Points, trim: float) -> Points:
    """Segments (S, 2, 2) without their ends; short ones, which are chords of a curve, stay whole."""
    way = segments[:, 1] - segments[:, 0]
    length = np.linalg.norm(way, axis=1)
    share = np.where(length > 6 * trim, trim / np.maximum(length, 1e-9), 0.0)[:, None]
    return np.stack([segments[:, 0] + share * way, segments[:, 1] - share * way], axis=1)


def _askew(laid: _Laid, style: Style, rng: Draws) -> _Laid:
    """The sheet as it lay on the scanner, at times in a frame; one with tones lay straight."""
    angle = np.radians(np.clip(style.skew * rng.normal(), -MOST_SKEW, MOST_SKEW))
    strokes = laid.strokes
    if style.framed:
        low, high = _bounds(laid)
        corners = np.array([[low[0], low[1]], [high[0], low[1]], [high[0], high[1]], [low[0], high[1]]])
        corners += APART / 2 * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
        strokes = (*strokes, (np.stack([corners, np.roll(corners, -1, axis=0)], axis=1), style.stroke))
    if angle and not laid.tones:
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        strokes = tuple((segments @ turn, pen) for segments, pen in strokes)
    return replace(laid, strokes=strokes)


def _turned(laid: _Laid) -> _Laid:
    """A quarter turn to the left: what was the right side of the page is its top."""
    turn = np.array([[0.0, -1.0], [1.0, 0.0]])
    tones = []
    for tone, box in laid.tones:
        (left, top), (right, bottom) = box
        tones.append((np.rot90(tone), np.array([[top, -right], [bottom, -left]])))
    return replace(laid, strokes=tuple((segments @ turn, pen) for segments, pen in laid.strokes), tones=tuple(tones))


def _lay_tone(cover: Cover, tone: NDArray[np.float32], box: Points) -> None:
    left, top, right, bottom = np.round(box.ravel()).astype(int).tolist()
    size = (max(right - left, 1), max(bottom - top, 1))
    small = np.asarray(Image.fromarray(tone).resize(size, Image.Resampling.BILINEAR))
    rows, columns = slice(max(top, 0), max(bottom, 0)), slice(max(left, 0), max(right, 0))
    part = cover[rows, columns]
    inner = small[max(-top, 0) :, max(-left, 0) :][: part.shape[0], : part.shape[1]]
    np.maximum(part[: inner.shape[0], : inner.shape[1]], inner, out=part[: inner.shape[0], : inner.shape[1]])


def _dirty(cover: Cover, style: Style, rng: Draws) -> None:
    """Rough edges, and specks of a pixel or two."""
    height, width = cover.shape
    if style.rough:
        edges = (cover > 0) & (cover < 1)
        cover[edges] += rng.normal(scale=style.rough, size=int(edges.sum())).astype(np.float32)
    for _ in range(int(rng.poisson(style.specks))):
        x, y, side = int(rng.integers(width)), int(rng.integers(height)), 1 + max(width, height) // 400
        cover[y : y + side, x : x + side] = 1.0
