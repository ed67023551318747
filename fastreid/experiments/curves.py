"""Curves of several runs as a picture: a panel for each metric, a colour for each run."""

import math
from collections.abc import Mapping, Sequence
from itertools import cycle

from PIL import Image, ImageDraw, ImageFont

Curve = Sequence[tuple[float, float]]

COLOURS = ("#0969da", "#bc4c00", "#1a7f37", "#8250df", "#bf3989", "#57606a", "#9a6700", "#0a7ea4")
PANEL_PX = (460, 280)  # px, width and height of a panel with its numbers
COLUMNS = 3
FINE = 2  # drawn this much larger and shrunk, for smooth lines
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 12, 26, 24  # px of a panel around its curves
_PAGE, _INK, _GRID = "white", "#1f2328", "#d0d7de"
_MARKED = 30  # points up to which each is marked


def draw_curves(panels: Mapping[str, Mapping[str, Curve]], runs: Sequence[str]) -> Image.Image:
    """A picture of all panels, up to `COLUMNS` a row, above them the names of the runs in their colours.

    Args:
        panels: metric -> run -> its points (steps, value), steps rising; a run may be missing.
        runs: all runs' names, which fix their colours.
    """
    colours = dict(zip(runs, cycle(COLOURS)))
    columns = min(COLUMNS, len(panels))
    rows = math.ceil(len(panels) / columns)
    legend = 24 * len(runs) + 8
    size = (columns * PANEL_PX[0], legend + rows * PANEL_PX[1])
    image = Image.new("RGB", (size[0] * FINE, size[1] * FINE), _PAGE)
    pen = ImageDraw.Draw(image)
    for line, run in enumerate(runs):
        y = (16 + 24 * line) * FINE
        pen.line([(12 * FINE, y), (40 * FINE, y)], fill=colours[run], width=3 * FINE)
        pen.text((48 * FINE, y), run, fill=_INK, font=_font(14), anchor="lm")
    for number, (name, curves) in enumerate(panels.items()):
        corner = (number % columns * PANEL_PX[0], legend + number // columns * PANEL_PX[1])
        _Panel(pen, corner, name, curves).put(colours)
    return image.resize(size, Image.Resampling.LANCZOS)


class _Panel:
    """One metric: its axes and the curves of all runs that told it."""

    def __init__(self, pen: ImageDraw.ImageDraw, corner: tuple[int, int], name: str, curves: Mapping[str, Curve]):
        self.pen, self.name, self.curves = pen, name, curves
        self.left, self.top = corner[0] + _LEFT, corner[1] + _TOP
        self.width, self.height = PANEL_PX[0] - _LEFT - _RIGHT, PANEL_PX[1] - _TOP - _BOTTOM
        points = [point for curve in curves.values() for point in curve]
        self.steps = ticks(0, max(step for step, _ in points))
        self.values = ticks(min(value for _, value in points), max(value for _, value in points))

    def put(self, colours: Mapping[str, str]) -> None:
        for value in self.values:
            x, y = self._place(0, value)
            self.pen.line([(x, y), (x + self.width * FINE, y)], fill=_GRID, width=FINE)
            self.pen.text((x - 6 * FINE, y), f"{value:.6g}", fill=_INK, font=_font(11), anchor="rm")
        for step in self.steps:
            x, y = self._place(step, self.values[0])
            self.pen.text((x, y + 5 * FINE), f"{step:.6g}", fill=_INK, font=_font(11), anchor="ma")
        self.pen.text((self.left * FINE, (self.top - 8) * FINE), self.name, fill=_INK, font=_font(13), anchor="ls")
        for run, curve in self.curves.items():
            places = [self._place(step, value) for step, value in curve]
            self.pen.line(places, fill=colours[run], width=2 * FINE, joint="curve")
            for x, y in places if len(places) <= _MARKED else ():
                self.pen.ellipse([x - 3 * FINE, y - 3 * FINE, x + 3 * FINE, y + 3 * FINE], fill=colours[run])

    def _place(self, step: float, value: float) -> tuple[float, float]:
        x = self.left + self.width * (step - self.steps[0]) / (self.steps[-1] - self.steps[0])
        y = self.top + self.height * (self.values[-1] - value) / (self.values[-1] - self.values[0])
        return x * FINE, y * FINE


def ticks(low: float, high: float, *, num: int = 5) -> list[float]:
    """About `num` round numbers, evenly apart, the first not above `low` and the last not below `high`."""
    if high <= low:
        low, high = low - abs(low) / 2, high + abs(high) / 2 if high else 1.0
    rough = (high - low) / num
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * unit for factor in (1, 2, 5, 10) if factor * unit >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [number * step for number in range(first, last + 1)]


def _font(size_px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=size_px * FINE)
