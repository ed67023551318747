"""A drawing as the office keeps it: one or two figures with their labels, cut to the ink, one bit a pixel."""

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fastreid.synthetic.geometry.outlines import Points
from fastreid.synthetic.rendering.dashes import dash_segments
from fastreid.synthetic.rendering.glyphs import Font, label_segments, sample_font
from fastreid.synthetic.rendering.hidden_lines import CREASE, DASHED, FINE, OUTLINE, Lines
from fastreid.synthetic.rendering.rasterizer import INK_THRESHOLD, Coverage, rasterize_strokes
from fastreid.synthetic.sampling import PartRng
from fastreid.utils.errors import InputError

FIGURE_AREA = np.array([0.8, 1.02])  # what the figures may take of a page of 8.5 x 11 inch, in widths of the page
MIN_SIZE_PX, MAX_SIZE_PX = 64, 2000
FULL_INK_PX = 192  # longest side of a page on which a dotted line keeps all its ink; twice that: half of it
LIFT_GAP = 0.005  # where the pen was lifted, in widths of the page
MAX_SKEW_DEGREES = 1.0  # degrees
MIN_ASPECT = 0.1  # a drawing is at least so wide or high, beside its longer side
FIGURE_GAP = 0.06  # room between two figures and above a label, in widths of the page


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

    stroke_width: float
    fine_ratio: float
    crease_ratio: float
    trim: float
    lift_length: float
    dash: float
    gap: float
    font: Font
    is_label_at_bottom: bool
    fill: float
    has_common_scale: bool
    rotated_share: float
    wide_rotated_share: float
    is_dithered: bool
    skew_degrees: float
    has_frame: bool
    noise: float
    mean_specks: float


@dataclass(frozen=True)
class SheetFigure:
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
class _Layout:
    """Pens and tones on the page, in widths of the page."""

    strokes: tuple[tuple[Points, float], ...]
    tones: tuple[tuple[NDArray[np.float32], Points], ...]


def sample_style(rng: PartRng) -> Style:
    """The style of one patent."""
    dash = float(np.exp(rng.uniform(np.log(0.004), np.log(0.02))))
    return Style(
        stroke_width=float(np.exp(rng.uniform(np.log(0.0006), np.log(0.0022)))),
        fine_ratio=rng.uniform(0.25, 0.9),
        crease_ratio=float(rng.choice([0.5, 0.7, 1.0])),
        trim=float(rng.choice([0.0, 0.003, 0.008])),
        lift_length=float(rng.choice([0.0, rng.uniform(0.05, 0.3)], p=[0.8, 0.2])),
        dash=dash,
        gap=dash * rng.uniform(0.35, 0.8),
        font=sample_font(rng.next_part()),
        is_label_at_bottom=bool(rng.random() < 0.5),
        fill=rng.uniform(0.5, 1.0),
        has_common_scale=bool(rng.random() < 0.75),
        rotated_share=float(rng.choice([0.0, 1.0], p=[0.92, 0.08])),
        wide_rotated_share=float(rng.choice([0.0, 0.6, 1.0], p=[0.2, 0.3, 0.5])),
        is_dithered=bool(rng.random() < 0.9),
        skew_degrees=float(rng.choice([0.0, 0.3], p=[0.6, 0.4])),
        has_frame=bool(rng.random() < 0.03),
        noise=float(rng.choice([0.0, 0.08, 0.2])),
        mean_specks=float(rng.choice([0.0, 0.5, 4.0], p=[0.6, 0.3, 0.1])),
    )


def check_size(size_px: int) -> None:
    """Raises InputError where `size_px` is not a whole number from 64 to 2000."""
    if isinstance(size_px, bool) or not isinstance(size_px, int) or not MIN_SIZE_PX <= size_px <= MAX_SIZE_PX:
        raise InputError(f"size_px is a whole number from {MIN_SIZE_PX} to {MAX_SIZE_PX}, not {size_px!r}")


def available_size(style: Style) -> Points:
    """float64 (2,): width and height that a single figure may take."""
    return (FIGURE_AREA - [0, FIGURE_GAP + style.font.height]) * style.fill


def render_sheet(
    figures: Sequence[SheetFigure], style: Style, rng: PartRng, *, size_px: int, gray: bool = False
) -> Image.Image:
    """One drawing, its longest side `size_px`: mode "1", or "L" where `gray`, as a finer scan reduced to that size.

    Args:
        figures: one or two.
        style: the patent's.
        rng: what is by chance on this drawing: places on the page, margins, specks.
        size_px: 64 to 2000.
        gray: lines thinner than a pixel are paler; otherwise they are dotted or a pixel wide.
    """
    laid = _frame_and_skew(_compute_layout(figures, style, rng), style, rng)
    low, high = _bounding_box(laid)
    lying = rng.random()
    if figures[0].number and lying < (
        style.rotated_share if high[1] - low[1] > high[0] - low[0] else style.wide_rotated_share
    ):
        laid = _rotate_left(laid)
        low, high = _bounding_box(laid)
    border = rng.uniform(0.0, 0.012) * float((high - low).max()) + style.stroke_width
    low, high = low - border, high + border
    scale = size_px / float((high - low).max())
    wide, tall = (max(round(side), round(MIN_ASPECT * size_px)) for side in ((high - low) * scale).tolist())
    cover = np.zeros((tall, wide), dtype=np.float32)
    least_px = 0.0 if gray else min(FULL_INK_PX / size_px, 1.0) if style.is_dithered else 1.0
    for segments, pen in laid.strokes:
        if len(segments):
            inked = rasterize_strokes((segments - low) * scale, max(pen * scale, least_px), size=(wide, tall))
            np.maximum(cover, inked, out=cover)
    for tone, box in laid.tones:
        _composite_tone(cover, tone, (box - low) * scale)
    _add_scan_noise(cover, style, rng)
    if laid.tones or style.is_dithered or gray:
        levels = Image.fromarray(np.uint8(255 * (1 - np.clip(cover, 0, 1))))
        return levels if gray else levels.convert("1")  # Floyd and Steinberg's dots
    return Image.fromarray(cover < INK_THRESHOLD)


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


def _compute_layout(figures: Sequence[SheetFigure], style: Style, rng: PartRng) -> _Layout:
    """Figures one below the other, each with its label under it."""
    label_room = FIGURE_GAP + style.font.height
    room = np.array([FIGURE_AREA[0], (FIGURE_AREA[1] - FIGURE_GAP * (len(figures) - 1)) / len(figures) - label_room])
    strokes, tones, top = [], [], 0.0
    for figure in figures:
        points = figure.lines.segments
        low, high = points.min(axis=(0, 1)), points.max(axis=(0, 1))
        fits = float((room / np.maximum(high - low, 1e-6)).min())
        scale = min(figure.scale, fits) if figure.scale else style.fill * fits
        size = (high - low) * scale
        corner = np.array([FIGURE_AREA[0] - size[0], rng.uniform(0, 1) * (room[1] - size[1])]) * [0.5, 1.0] + [0, top]
        strokes += _split_by_stroke_width((points - low) * scale + corner, figure.lines.line_types, style)
        if figure.tone is not None and figure.tone_box is not None:
            tones.append((figure.tone, (figure.tone_box - low) * scale + corner))
        if figure.number:
            label = label_segments(figure.number, style.font)
            x = FIGURE_AREA[0] / 2 - label[..., 0].max() / 2 + rng.normal(scale=0.02)
            y = top + room[1] if style.is_label_at_bottom else corner[1] + size[1]
            strokes.append((label + [x, y + FIGURE_GAP * rng.uniform(0.5, 0.9)], style.font.weight * style.font.height))
        top += room[1] + label_room + FIGURE_GAP
    return _Layout(tuple(strokes), tuple(tones))


def _bounding_box(laid: _Layout) -> tuple[Points, Points]:
    points = np.concatenate([segments.reshape(-1, 2) for segments, _ in laid.strokes])
    return points.min(axis=0), points.max(axis=0)


def _split_by_stroke_width(segments: Points, pens: NDArray[np.int64], style: Style) -> list[tuple[Points, float]]:
    whole, broken = segments[pens == OUTLINE], dash_segments(segments[pens == DASHED], dash=style.dash, gap=style.gap)
    if style.lift_length:
        whole = dash_segments(whole, dash=style.lift_length, gap=LIFT_GAP)
    return [
        (np.concatenate([whole, broken]), style.stroke_width),
        (_trim(segments[pens == CREASE], style.trim), style.stroke_width * style.crease_ratio),
        (segments[pens == FINE], style.stroke_width * style.fine_ratio),
    ]


def _trim(segments: Points, trim: float) -> Points:
    """Segments (S, 2, 2) without their ends; short ones, which are chords of a curve, stay whole."""
    way = segments[:, 1] - segments[:, 0]
    length = np.linalg.norm(way, axis=1)
    share = np.where(length > 6 * trim, trim / np.maximum(length, 1e-9), 0.0)[:, None]
    return np.stack([segments[:, 0] + share * way, segments[:, 1] - share * way], axis=1)


def _frame_and_skew(laid: _Layout, style: Style, rng: PartRng) -> _Layout:
    """The sheet as it lay on the scanner, at times in a frame; one with tones lay straight."""
    angle = np.radians(np.clip(style.skew_degrees * rng.normal(), -MAX_SKEW_DEGREES, MAX_SKEW_DEGREES))
    strokes = laid.strokes
    if style.has_frame:
        low, high = _bounding_box(laid)
        corners = np.array([[low[0], low[1]], [high[0], low[1]], [high[0], high[1]], [low[0], high[1]]])
        corners += FIGURE_GAP / 2 * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
        strokes = (*strokes, (np.stack([corners, np.roll(corners, -1, axis=0)], axis=1), style.stroke_width))
    if angle and not laid.tones:
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        strokes = tuple((segments @ turn, pen) for segments, pen in strokes)
    return replace(laid, strokes=strokes)


def _rotate_left(laid: _Layout) -> _Layout:
    """A quarter turn to the left: what was the right side of the page is its top."""
    turn = np.array([[0.0, -1.0], [1.0, 0.0]])
    tones = []
    for tone, box in laid.tones:
        (left, top), (right, bottom) = box
        tones.append((np.rot90(tone), np.array([[top, -right], [bottom, -left]])))
    return replace(laid, strokes=tuple((segments @ turn, pen) for segments, pen in laid.strokes), tones=tuple(tones))


def _composite_tone(cover: Coverage, tone: NDArray[np.float32], box: Points) -> None:
    left, top, right, bottom = np.round(box.ravel()).astype(int).tolist()
    size = (max(right - left, 1), max(bottom - top, 1))
    small = np.asarray(Image.fromarray(tone).resize(size, Image.Resampling.BILINEAR))
    rows, columns = slice(max(top, 0), max(bottom, 0)), slice(max(left, 0), max(right, 0))
    part = cover[rows, columns]
    inner = small[max(-top, 0) :, max(-left, 0) :][: part.shape[0], : part.shape[1]]
    np.maximum(part[: inner.shape[0], : inner.shape[1]], inner, out=part[: inner.shape[0], : inner.shape[1]])


def _add_scan_noise(cover: Coverage, style: Style, rng: PartRng) -> None:
    """Rough edges, and specks of a pixel or two."""
    height, width = cover.shape
    if style.noise:
        edges = (cover > 0) & (cover < 1)
        cover[edges] += rng.normal(scale=style.noise, size=int(edges.sum())).astype(np.float32)
    for _ in range(int(rng.poisson(style.mean_specks))):
        x, y, side = int(rng.integers(width)), int(rng.integers(height)), 1 + max(width, height) // 400
        cover[y : y + side, x : x + side] = 1.0
