"""Plot the curves of several runs: one panel per metric, one color per run."""

import math
from collections.abc import Collection, Mapping, Sequence
from itertools import cycle

from PIL import Image, ImageDraw, ImageFont

from fastreid.utils.fonts import shorten_text

Curve = Sequence[tuple[float, float]]

COLORS = ("#0969da", "#bc4c00", "#1a7f37", "#8250df", "#bf3989", "#57606a", "#9a6700", "#0a7ea4")
PANEL_PX = (478, 296)  # width and height of a panel with its tick labels
MAX_COLUMNS = 3
_SCALE = 2  # the image is plotted this much larger and then reduced, for smooth lines
_LEFT, _RIGHT, _TOP, _BOTTOM = 74, 12, 26, 40  # margins of a panel around its curves in px
_AXIS_X = "iteration"
_BACKGROUND, _TEXT_COLOR, _GRID_COLOR = "white", "#1f2328", "#d0d7de"
_MAX_MARKED_POINTS = 30  # curves with more points have no markers


def plot_curves(
    panels: Mapping[str, Mapping[str, Curve]], runs: Sequence[str], *, percentages: Collection[str] = ()
) -> Image.Image:
    """Return an image of the panels, up to `MAX_COLUMNS` per row, below a legend of the runs.

    Args:
        panels: metric -> run -> points (iteration, value), by increasing iteration; runs can be missing.
        runs: names of the runs, whose order determines their colors.
        percentages: metrics in percent; their axes end at 100 at most.
    """
    colors = dict(zip(runs, cycle(COLORS)))
    columns = min(MAX_COLUMNS, len(panels))
    rows = math.ceil(len(panels) / columns)
    legend = 24 * len(runs) + 8
    size = (columns * PANEL_PX[0], legend + rows * PANEL_PX[1])
    image = Image.new("RGB", (size[0] * _SCALE, size[1] * _SCALE), _BACKGROUND)
    canvas = ImageDraw.Draw(image)
    for line, run in enumerate(runs):
        y = (16 + 24 * line) * _SCALE
        canvas.line([(12 * _SCALE, y), (40 * _SCALE, y)], fill=colors[run], width=3 * _SCALE)
        font, text = shorten_text(run, size_px=14 * _SCALE, width_px=(size[0] - 60) * _SCALE)
        canvas.text((48 * _SCALE, y), text, fill=_TEXT_COLOR, font=font, anchor="lm")
    for number, (name, curves) in enumerate(panels.items()):
        corner = (number % columns * PANEL_PX[0], legend + number // columns * PANEL_PX[1])
        _Panel(canvas, corner, name, curves, limit=100 if name in percentages else math.inf).plot(colors)
    return image.resize(size, Image.Resampling.LANCZOS)


class _Panel:
    """The panel of one metric: axes and one curve per run that logged it."""

    def __init__(
        self,
        canvas: ImageDraw.ImageDraw,
        corner: tuple[int, int],
        name: str,
        curves: Mapping[str, Curve],
        *,
        limit: float,
    ):
        self.canvas, self.name, self.curves = canvas, name, curves
        self.left, self.top = corner[0] + _LEFT, corner[1] + _TOP
        self.width, self.height = PANEL_PX[0] - _LEFT - _RIGHT, PANEL_PX[1] - _TOP - _BOTTOM
        points = [point for curve in curves.values() for point in curve]
        self.steps = choose_ticks(0, max(step for step, _ in points))
        values = [value for _, value in points]
        self.values = choose_ticks(min(values), max(values), limit=limit)

    def plot(self, colors: Mapping[str, str]) -> None:
        for value in self.values:
            x, y = self._to_pixels(0, value)
            self.canvas.line([(x, y), (x + self.width * _SCALE, y)], fill=_GRID_COLOR, width=_SCALE)
            self.canvas.text((x - 6 * _SCALE, y), f"{value:.6g}", fill=_TEXT_COLOR, font=_font(11), anchor="rm")
        for step in self.steps:
            x, y = self._to_pixels(step, self.values[0])
            self.canvas.text((x, y + 5 * _SCALE), f"{step:.6g}", fill=_TEXT_COLOR, font=_font(11), anchor="ma")
        self.canvas.text(
            (self.left * _SCALE, (self.top - 8) * _SCALE),
            self.name,
            fill=_TEXT_COLOR,
            font=_font(13),
            anchor="ls",
        )
        self._write_axis_names()
        for run, curve in self.curves.items():
            points = [self._to_pixels(step, value) for step, value in curve]
            self.canvas.line(points, fill=colors[run], width=2 * _SCALE, joint="curve")
            for x, y in points if len(points) <= _MAX_MARKED_POINTS else ():
                self.canvas.ellipse(
                    [x - 3 * _SCALE, y - 3 * _SCALE, x + 3 * _SCALE, y + 3 * _SCALE],
                    fill=colors[run],
                )

    def _write_axis_names(self) -> None:
        """Write the name of the horizontal axis below it, and that of the vertical axis rotated to its left."""
        center, bottom = self.left + self.width / 2, self.top + self.height + _BOTTOM - 6
        self.canvas.text((center * _SCALE, bottom * _SCALE), _AXIS_X, fill=_TEXT_COLOR, font=_font(11), anchor="ms")
        font = _font(11)
        left, top, right, below = (round(edge) for edge in font.getbbox(self.name))
        text = Image.new("L", (right - left, below - top), 0)
        ImageDraw.Draw(text).text((-left, -top), self.name, fill=255, font=font)
        text = text.crop((0, 0, min(text.width, self.height * _SCALE), text.height)).transpose(
            Image.Transpose.ROTATE_90
        )
        middle = (self.top + self.height / 2) * _SCALE - text.height / 2
        self.canvas.bitmap((self.left * _SCALE - _LEFT * _SCALE + 4 * _SCALE, round(middle)), text, fill=_TEXT_COLOR)

    def _to_pixels(self, step: float, value: float) -> tuple[float, float]:
        x = self.left + self.width * (step - self.steps[0]) / (self.steps[-1] - self.steps[0])
        y = self.top + self.height * (self.values[-1] - value) / (self.values[-1] - self.values[0])
        return x * _SCALE, y * _SCALE


def choose_ticks(low: float, high: float, *, num: int = 5, limit: float = math.inf) -> list[float]:
    """Return about `num` equally spaced round numbers that enclose `low` and `high`.

    Args:
        low: smallest value.
        high: largest value.
        num: approximate number of ticks.
        limit: a round number such as 100 that no tick exceeds, unless `high` does.
    """
    if high <= low:
        low, high = low - abs(low) / 2, max(high, min(high + abs(high) / 2 if high else 1.0, limit))
    target_step = (high - low) / num
    unit = 10.0 ** math.floor(math.log10(target_step))
    step = next(factor * unit for factor in (1, 2, 5, 10) if factor * unit >= target_step * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [number * step for number in range(first, last + 1)]


def _font(size_px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=size_px * _SCALE)
