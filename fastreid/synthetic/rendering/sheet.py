"""Sheets: one or two figures with labels, cropped to the ink, one bit per pixel."""

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

FIGURE_AREA = np.array([0.8, 1.02])  # area for the figures on a page of 8.5 x 11 inches, in page widths
MIN_SIZE_PX, MAX_SIZE_PX = 64, 2000
FULL_INK_PX = 192  # a dithered thin line keeps all its ink on pages of this size, half of it on pages of twice the size
LIFT_GAP = 0.005  # gap where the pen was lifted, in page widths
MAX_SKEW_DEGREES = 1.0
MIN_ASPECT = 0.1  # smallest ratio of the shorter to the longer side of a drawing
FIGURE_GAP = 0.06  # gap between two figures and above a label, in page widths


@dataclass(frozen=True)
class Style:
    """Properties that all sheets of a patent share; lengths are in page widths.

    Args:
        stroke_width: width of outlines.
        fine_ratio: width of shading and hatching, as a share of `stroke_width`.
        crease_ratio: width of creases inside the outlines, as a share of `stroke_width`.
        trim: gap between straight creases and the corners.
        lift_length: length of outline after which the pen is lifted; 0: never.
        dash: length of the dashes of broken lines.
        gap: length of the gaps of broken lines.
        font: font of the labels.
        is_label_at_bottom: whether the label is at the bottom of the figure area instead of directly below its figure.
        fill: share of the area that the largest figure takes.
        has_common_scale: whether all figures have the same scale instead of each filling its area.
        rotated_share: share of upright drawings that are rotated by 90 degrees.
        wide_rotated_share: the same for drawings that are wider than high.
        is_dithered: whether lines thinner than a pixel are dithered instead of one pixel wide.
        skew_degrees: standard deviation of the rotation of a sheet on the scanner.
        has_frame: whether sheets have a frame.
        noise: standard deviation of the scan noise, as a share of the ink of a pixel.
        mean_specks: mean number of specks of dirt per drawing.
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
    """A figure to place on a sheet.

    Args:
        lines: lines of the figure, in half diagonals of the object.
        label_number: number in its label; 0: no label.
        scale: page widths per half diagonal; 0: as large as possible.
        tone: float32 (H, W), darkness of each pixel, or None.
        tone_box: float64 (2, 2), upper left and lower right corner of the tone, in half diagonals.
    """

    lines: Lines
    label_number: int
    scale: float = 0.0
    tone: NDArray[np.float32] | None = None
    tone_box: Points | None = None


@dataclass(frozen=True)
class _Layout:
    """Strokes with their widths and tones with their boxes, in page widths."""

    strokes: tuple[tuple[Points, float], ...]
    tones: tuple[tuple[NDArray[np.float32], Points], ...]


def sample_style(rng: PartRng) -> Style:
    """Sample the style of a patent."""
    dash_length = float(np.exp(rng.uniform(np.log(0.004), np.log(0.02))))
    return Style(
        stroke_width=float(np.exp(rng.uniform(np.log(0.0006), np.log(0.0022)))),
        fine_ratio=rng.uniform(0.25, 0.9),
        crease_ratio=float(rng.choice([0.5, 0.7, 1.0])),
        trim=float(rng.choice([0.0, 0.003, 0.008])),
        lift_length=float(rng.choice([0.0, rng.uniform(0.05, 0.3)], p=[0.8, 0.2])),
        dash=dash_length,
        gap=dash_length * rng.uniform(0.35, 0.8),
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
    """Raise InputError unless `size_px` is an integer from 64 to 2000."""
    if isinstance(size_px, bool) or not isinstance(size_px, int) or not MIN_SIZE_PX <= size_px <= MAX_SIZE_PX:
        raise InputError(f"size_px must be an integer from {MIN_SIZE_PX} to {MAX_SIZE_PX}, not {size_px!r}")


def available_size(style: Style) -> Points:
    """Return the maximum width and height of a single figure, float64 (2,), in page widths."""
    return (FIGURE_AREA - [0, FIGURE_GAP + style.font.height]) * style.fill


def render_sheet(
    figures: Sequence[SheetFigure], style: Style, rng: PartRng, *, size_px: int, gray: bool = False
) -> Image.Image:
    """Render a drawing whose longest side is `size_px`.

    Args:
        figures: one or two figures.
        style: style of the patent.
        rng: samples positions, margins and scan noise of this drawing.
        size_px: 64 to 2000.
        gray: return mode "L", like a finer scan that was downscaled, in which thin lines are paler; otherwise mode "1",
            in which lines thinner than a pixel are dithered or one pixel wide.
    """
    layout = _frame_and_skew(_compute_layout(figures, style, rng), style, rng)
    low, high = _bounding_box(layout)
    sample = rng.random()
    if figures[0].label_number and sample < (
        style.rotated_share if high[1] - low[1] > high[0] - low[0] else style.wide_rotated_share
    ):
        layout = _rotate_left(layout)
        low, high = _bounding_box(layout)
    margin = rng.uniform(0.0, 0.012) * float((high - low).max()) + style.stroke_width
    low, high = low - margin, high + margin
    scale = size_px / float((high - low).max())
    width, height = (max(round(side), round(MIN_ASPECT * size_px)) for side in ((high - low) * scale).tolist())
    coverage = np.zeros((height, width), dtype=np.float32)
    min_stroke_px = 0.0 if gray else min(FULL_INK_PX / size_px, 1.0) if style.is_dithered else 1.0
    for segments, stroke_width in layout.strokes:
        if len(segments):
            stroke = rasterize_strokes(
                (segments - low) * scale, max(stroke_width * scale, min_stroke_px), size=(width, height)
            )
            np.maximum(coverage, stroke, out=coverage)
    for tone, box in layout.tones:
        _composite_tone(coverage, tone, (box - low) * scale)
    _add_scan_noise(coverage, style, rng)
    if layout.tones or style.is_dithered or gray:
        page = Image.fromarray(np.uint8(255 * (1 - np.clip(coverage, 0, 1))))
        return page if gray else page.convert("1")  # Floyd-Steinberg dithering
    return Image.fromarray(coverage < INK_THRESHOLD)


def contact_sheet(rows: Sequence[Sequence[Image.Image]], *, cell_px: int) -> Image.Image:
    """Return drawings as thumbnails in a grid of square cells, mode "L", one row per patent with lines between."""
    page = Image.new("L", (cell_px * max(len(row) for row in rows), (cell_px + 1) * len(rows)), 255)
    for index, row in enumerate(rows):
        top = index * (cell_px + 1)
        for column, sheet in enumerate(row):
            thumbnail = sheet.convert("L")
            thumbnail.thumbnail((cell_px - 4, cell_px - 4), Image.Resampling.BICUBIC)
            page.paste(thumbnail, (column * cell_px + 2, top + 2))
        page.paste(0, (0, top + cell_px, page.width, top + cell_px + 1))
    return page


def png_bytes(sheet: Image.Image) -> bytes:
    """Encode a sheet as PNG."""
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()


def _compute_layout(figures: Sequence[SheetFigure], style: Style, rng: PartRng) -> _Layout:
    """Arrange figures one below the other, each above its label."""
    label_height = FIGURE_GAP + style.font.height
    max_size = np.array(
        [FIGURE_AREA[0], (FIGURE_AREA[1] - FIGURE_GAP * (len(figures) - 1)) / len(figures) - label_height]
    )
    strokes, tones, top = [], [], 0.0
    for figure in figures:
        points = figure.lines.segments
        low, high = points.min(axis=(0, 1)), points.max(axis=(0, 1))
        max_scale = float((max_size / np.maximum(high - low, 1e-6)).min())
        scale = min(figure.scale, max_scale) if figure.scale else style.fill * max_scale
        size = (high - low) * scale
        corner = np.array([FIGURE_AREA[0] - size[0], rng.uniform(0, 1) * (max_size[1] - size[1])]) * [0.5, 1.0] + [
            0,
            top,
        ]
        strokes += _split_by_stroke_width((points - low) * scale + corner, figure.lines.line_types, style)
        if figure.tone is not None and figure.tone_box is not None:
            tones.append((figure.tone, (figure.tone_box - low) * scale + corner))
        if figure.label_number:
            label = label_segments(figure.label_number, style.font)
            x = FIGURE_AREA[0] / 2 - label[..., 0].max() / 2 + rng.normal(scale=0.02)
            y = top + max_size[1] if style.is_label_at_bottom else corner[1] + size[1]
            strokes.append((label + [x, y + FIGURE_GAP * rng.uniform(0.5, 0.9)], style.font.weight * style.font.height))
        top += max_size[1] + label_height + FIGURE_GAP
    return _Layout(tuple(strokes), tuple(tones))


def _bounding_box(layout: _Layout) -> tuple[Points, Points]:
    """Return the lower and upper corner over strokes."""
    points = np.concatenate([segments.reshape(-1, 2) for segments, _ in layout.strokes])
    return points.min(axis=0), points.max(axis=0)


def _split_by_stroke_width(segments: Points, line_types: NDArray[np.int64], style: Style) -> list[tuple[Points, float]]:
    outlines, dashed = (
        segments[line_types == OUTLINE],
        dash_segments(segments[line_types == DASHED], dash=style.dash, gap=style.gap),
    )
    if style.lift_length:
        outlines = dash_segments(outlines, dash=style.lift_length, gap=LIFT_GAP)
    return [
        (np.concatenate([outlines, dashed]), style.stroke_width),
        (_trim(segments[line_types == CREASE], style.trim), style.stroke_width * style.crease_ratio),
        (segments[line_types == FINE], style.stroke_width * style.fine_ratio),
    ]


def _trim(segments: Points, trim: float) -> Points:
    """Shorten segments (S, 2, 2) at both ends; short segments, which are chords of a curve, are kept."""
    direction = segments[:, 1] - segments[:, 0]
    length = np.linalg.norm(direction, axis=1)
    t = np.where(length > 6 * trim, trim / np.maximum(length, 1e-9), 0.0)[:, None]
    return np.stack([segments[:, 0] + t * direction, segments[:, 1] - t * direction], axis=1)


def _frame_and_skew(layout: _Layout, style: Style, rng: PartRng) -> _Layout:
    """Add the frame, if any, and rotate the sheet as a scanner does; sheets with tones are not rotated."""
    angle = np.radians(np.clip(style.skew_degrees * rng.normal(), -MAX_SKEW_DEGREES, MAX_SKEW_DEGREES))
    strokes = layout.strokes
    if style.has_frame:
        low, high = _bounding_box(layout)
        corners = np.array([[low[0], low[1]], [high[0], low[1]], [high[0], high[1]], [low[0], high[1]]])
        corners += FIGURE_GAP / 2 * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
        strokes = (*strokes, (np.stack([corners, np.roll(corners, -1, axis=0)], axis=1), style.stroke_width))
    if angle and not layout.tones:
        rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        strokes = tuple((segments @ rotation, stroke_width) for segments, stroke_width in strokes)
    return replace(layout, strokes=strokes)


def _rotate_left(layout: _Layout) -> _Layout:
    """Rotate a layout by 90 degrees to the left: the right side of the page becomes its top."""
    rotation = np.array([[0.0, -1.0], [1.0, 0.0]])
    tones = []
    for tone, box in layout.tones:
        (left, top), (right, bottom) = box
        tones.append((np.rot90(tone), np.array([[top, -right], [bottom, -left]])))
    return replace(
        layout,
        strokes=tuple((segments @ rotation, stroke_width) for segments, stroke_width in layout.strokes),
        tones=tuple(tones),
    )


def _composite_tone(coverage: Coverage, tone: NDArray[np.float32], box: Points) -> None:
    left, top, right, bottom = np.round(box.ravel()).astype(int).tolist()
    size = (max(right - left, 1), max(bottom - top, 1))
    resized = np.asarray(Image.fromarray(tone).resize(size, Image.Resampling.BILINEAR))
    rows, columns = slice(max(top, 0), max(bottom, 0)), slice(max(left, 0), max(right, 0))
    region = coverage[rows, columns]
    visible = resized[max(-top, 0) :, max(-left, 0) :][: region.shape[0], : region.shape[1]]
    np.maximum(
        region[: visible.shape[0], : visible.shape[1]], visible, out=region[: visible.shape[0], : visible.shape[1]]
    )


def _add_scan_noise(coverage: Coverage, style: Style, rng: PartRng) -> None:
    """Add noise to the edges of strokes, and specks."""
    height, width = coverage.shape
    if style.noise:
        is_edge = (coverage > 0) & (coverage < 1)
        coverage[is_edge] += rng.normal(scale=style.noise, size=int(is_edge.sum())).astype(np.float32)
    for _ in range(int(rng.poisson(style.mean_specks))):
        x, y, size = int(rng.integers(width)), int(rng.integers(height)), 1 + max(width, height) // 400
        coverage[y : y + size, x : x + size] = 1.0
