"""Letters of figure labels as strokes of a pen, so that a label needs no font of the machine."""

from dataclasses import dataclass

import numpy as np

from fastreid.synthetic.geometry.outlines import Points
from fastreid.synthetic.sampling import PartRng

Path = list[tuple[float, float]]


def _arc(middle: tuple[float, float], radius: tuple[float, float], start: float, end: float) -> Path:
    """An arc of an ellipse between two angles in degrees, 0 to the right, growing downwards."""
    turns = np.radians(np.linspace(start, end, 10))
    x, y = middle[0] + radius[0] * np.cos(turns), middle[1] + radius[1] * np.sin(turns)
    return list(zip(x.tolist(), y.tolist()))


# right edge, and the pen's paths; x to the right, y down, 0 the top of capitals and 6 the line they stand on
GLYPHS: dict[str, tuple[float, list[Path]]] = {
    " ": (2.0, []),
    ".": (0.6, [[(0.3, 5.8), (0.3, 6.0)]]),
    "-": (2.0, [[(0.2, 3.4), (1.8, 3.4)]]),
    "F": (3.4, [[(3.4, 0), (0, 0), (0, 6)], [(0, 2.9), (2.6, 2.9)]]),
    "I": (0.0, [[(0, 0), (0, 6)]]),
    "G": (4.2, [[*_arc((2.1, 3), (2.1, 3), -40, -325), (4.1, 3.2), (2.4, 3.2)]]),
    "i": (0.0, [[(0, 2.2), (0, 6)], [(0, 0.5), (0, 0.8)]]),
    "g": (2.6, [_arc((1.3, 4.1), (1.3, 1.9), 0, 360), [(2.6, 2.2), (2.6, 6.6), *_arc((1.3, 6.8), (1.3, 1.2), 10, 150)]]),
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
SERIF_HALF_LENGTH = 0.5  # half the length of a serif


@dataclass(frozen=True)
class Font:
    """The face of a patent's labels.

    Args:
        form: the label, with {} for the number.
        height: of a capital, share of the page's width.
        weight: width of the pen, share of the capital's height.
        stretch: width of the letters over what they are drawn with.
        slant: how far letters lean, share of their height.
        serifs: upright strokes have feet.
        gap: between letters, sixths of the capital's height.
    """

    label_format: str
    height: float
    weight: float
    stretch: float
    slant: float
    has_serifs: bool
    gap: float


def sample_font(rng: PartRng) -> Font:
    """The face of one patent."""
    weight = float(rng.choice([0.1, 0.13, 0.16, 0.2]))
    return Font(
        label_format=LABEL_FORMATS[int(rng.integers(len(LABEL_FORMATS)))],
        height=rng.uniform(0.012, 0.026),
        weight=weight,
        stretch=rng.uniform(0.75, 1.25),
        slant=0.25 if rng.random() < 0.2 else 0.0,
        has_serifs=bool(rng.random() < 0.4),
        gap=6 * weight + rng.uniform(0.7, 1.8),  # letters of a thick pen do not touch
    )


def label_segments(number: int, font: Font) -> Points:
    """Segments (S, 2, 2) of the label of a figure, from (0, 0) to the right and down, in widths of the page."""
    right, segments = 0.0, []
    for letter in font.label_format.format(number):
        width, paths = GLYPHS[letter]
        for path in paths:
            points = np.array(path)
            sides = np.stack([points[:-1], points[1:]], axis=1)
            segments.append(sides + [right, 0])
            upright = sides[(sides[:, 0, 0] == sides[:, 1, 0]) & (np.abs(np.diff(sides[:, :, 1], axis=1)[:, 0]) > 2)]
            if font.has_serifs and len(upright):
                ends = upright.reshape(-1, 2)
                segments.append(
                    np.stack([ends - [SERIF_HALF_LENGTH, 0], ends + [SERIF_HALF_LENGTH, 0]], axis=1) + [right, 0]
                )
        right += width + font.gap
    strokes = np.concatenate(segments)
    strokes[..., 0] = strokes[..., 0] * font.stretch + font.slant * (6 - strokes[..., 1])
    return strokes * (font.height / 6)
