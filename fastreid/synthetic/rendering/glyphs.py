"""Stroke font for figure labels, so that labels do not depend on installed fonts."""

from dataclasses import dataclass

import numpy as np

from fastreid.synthetic.geometry.outlines import Points
from fastreid.synthetic.sampling import PartRng

Path = list[tuple[float, float]]


def _arc(center: tuple[float, float], radius: tuple[float, float], start: float, end: float) -> Path:
    """Return an elliptic arc between two angles in degrees; 0 points right, 90 points down."""
    angles = np.radians(np.linspace(start, end, 10))
    x, y = center[0] + radius[0] * np.cos(angles), center[1] + radius[1] * np.sin(angles)
    return list(zip(x.tolist(), y.tolist()))


# glyph: (width, strokes); x to the right, y down, 0 is the cap height and 6 the baseline
GLYPHS: dict[str, tuple[float, list[Path]]] = {
    " ": (2.0, []),
    ".": (0.6, [[(0.3, 5.8), (0.3, 6.0)]]),
    "-": (2.0, [[(0.2, 3.4), (1.8, 3.4)]]),
    "F": (3.4, [[(3.4, 0), (0, 0), (0, 6)], [(0, 2.9), (2.6, 2.9)]]),
    "I": (0.0, [[(0, 0), (0, 6)]]),
    "G": (4.2, [[*_arc((2.1, 3), (2.1, 3), -40, -325), (4.1, 3.2), (2.4, 3.2)]]),
    "i": (0.0, [[(0, 2.2), (0, 6)], [(0, 0.5), (0, 0.8)]]),
    "g": (2.6, [_arc((1.3, 4.1), (1.3, 1.9), 0, 360),
                [(2.6, 2.2), (2.6, 6.6), *_arc((1.3, 6.8), (1.3, 1.2), 10, 150)]]),
    "u": (2.6, [[(0, 2.2), (0, 4.6), *_arc((1.3, 4.6), (1.3, 1.4), 180, 0)[1:]], [(2.6, 2.2), (2.6, 6)]]),
    "r": (1.8, [[(0, 2.2), (0, 6)], _arc((1.3, 4), (1.3, 1.8), 190, 290)]),
    "e": (2.6, [[(0, 4), (2.6, 4), *_arc((1.3, 4.1), (1.3, 1.9), -5, -320)]]),
    "0": (3.2, [_arc((1.6, 3), (1.6, 3), 0, 360)]),
    "1": (1.2, [[(0, 1.3), (1.2, 0), (1.2, 6)]]),
    "2": (3.2, [[*_arc((1.6, 1.7), (1.6, 1.7), 190, 390), (0, 6), (3.3, 6)]]),
    "3": (3.2, [_arc((1.5, 1.5), (1.5, 1.5), 200, 450), _arc((1.5, 4.4), (1.7, 1.6), 270, 510)]),
    "4": (3.4, [[(2.6, 6), (2.6, 0), (0, 4.2), (3.4, 4.2)]]),
    "5": (3.2, [[(3, 0), (0.4, 0), (0.2, 2.6), *_arc((1.5, 4), (1.7, 2), 225, 500)]]),
    "6": (3.2, [[(2.7, 0.2), (0.9, 2.2)], _arc((1.6, 4.2), (1.6, 1.8), 0, 360)]),
    "7": (3.2, [[(0, 0), (3.2, 0), (1.1, 6)]]),
    "8": (3.2, [_arc((1.6, 1.5), (1.4, 1.5), 0, 360), _arc((1.6, 4.5), (1.6, 1.5), 0, 360)]),
    "9": (3.2, [[(0.5, 5.8), (2.3, 3.8)], _arc((1.6, 1.8), (1.6, 1.8), 0, 360)]),
}  # fmt: skip
LABEL_FORMATS = (
    "FIG. {}",
    "FIG. {}",
    "FIG. {}",
    "FIG. {}",
    "FIG.{}",
    "FIG.{}",
    "Fig. {}",
    "Fig. {}",
    "FIG - {}",
    "Figure {}",
    "1.{}",
)
SERIF_HALF_LENGTH = 0.5  # in the units of GLYPHS


@dataclass(frozen=True)
class Font:
    """Font of the figure labels of a patent.

    Args:
        label_format: format string of a label, with {} for the number.
        height: cap height, as a share of the page width.
        weight: stroke width, as a share of the cap height.
        stretch: horizontal scale of the glyphs.
        slant: horizontal shear, as a share of the cap height.
        has_serifs: whether vertical strokes have serifs.
        gap: letter spacing, in sixths of the cap height.
    """

    label_format: str
    height: float
    weight: float
    stretch: float
    slant: float
    has_serifs: bool
    gap: float


def sample_font(rng: PartRng) -> Font:
    """Sample the font of a patent."""
    weight = float(rng.choice([0.1, 0.13, 0.16, 0.2]))
    return Font(
        label_format=LABEL_FORMATS[int(rng.integers(len(LABEL_FORMATS)))],
        height=rng.uniform(0.012, 0.026),
        weight=weight,
        stretch=rng.uniform(0.75, 1.25),
        slant=0.25 if rng.random() < 0.2 else 0.0,
        has_serifs=bool(rng.random() < 0.4),
        gap=6 * weight + rng.uniform(0.7, 1.8),  # bold letters must not touch
    )


def label_segments(number: int, font: Font) -> Points:
    """Return the segments (S, 2, 2) of a figure label, in page widths, with its top left corner at (0, 0)."""
    x_offset, segments = 0.0, []
    for letter in font.label_format.format(number):
        width, paths = GLYPHS[letter]
        for path in paths:
            points = np.array(path)
            stroke_segments = np.stack([points[:-1], points[1:]], axis=1)
            segments.append(stroke_segments + [x_offset, 0])
            stems = stroke_segments[
                (stroke_segments[:, 0, 0] == stroke_segments[:, 1, 0])
                & (np.abs(np.diff(stroke_segments[:, :, 1], axis=1)[:, 0]) > 2)
            ]
            if font.has_serifs and len(stems):
                ends = stems.reshape(-1, 2)
                segments.append(
                    np.stack([ends - [SERIF_HALF_LENGTH, 0], ends + [SERIF_HALF_LENGTH, 0]], axis=1) + [x_offset, 0]
                )
        x_offset += width + font.gap
    strokes = np.concatenate(segments)
    strokes[..., 0] = strokes[..., 0] * font.stretch + font.slant * (6 - strokes[..., 1])
    return strokes * (font.height / 6)
