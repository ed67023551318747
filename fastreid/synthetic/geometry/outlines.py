"""Closed curves in the plane, the sections of parts: float64 (N, 2), counter-clockwise, centred on 0."""

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]

NUM_SIDES = 48  # corners of a round outline: 7.5 degrees each, well below the angle that counts as a crease
MAX_TURN_RAD = 0.3  # radians, the most a wavy outline turns from one chord to the next
CORNER_CHORDS = 5  # chords of a rounded corner, 18 degrees each
MIN_CORNER_DEGREES = 20.0  # what turns by less is no corner, such as a chord of a curve


def ellipse(width: float, depth: float, *, num_sides: int = NUM_SIDES) -> Points:
    """An ellipse of that full width (x) and depth (y)."""
    angles = np.arange(num_sides) * (2 * np.pi / num_sides)
    return np.stack([np.cos(angles) * width / 2, np.sin(angles) * depth / 2], axis=1)


def circle(radius: float = 1.0, *, num_sides: int = NUM_SIDES) -> Points:
    """A circle."""
    return ellipse(2 * radius, 2 * radius, num_sides=num_sides)


def polygon(num_sides: int, *, radius: float = 1.0) -> Points:
    """A regular polygon that stands on a flat side; `radius` reaches the corners."""
    angles = np.arange(num_sides) * (2 * np.pi / num_sides) - np.pi / 2 + np.pi / num_sides
    return radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def rounded_rectangle(width: float, depth: float, *, radius: float) -> Points:
    """A rectangle with quarter-circle corners; always 4 * (CORNER_SIDES + 1) points, so two of them can be lofted."""
    radius = min(max(radius, 1e-4), 0.499 * min(width, depth))
    turns = np.arange(CORNER_CHORDS + 1) * (np.pi / 2 / CORNER_CHORDS)
    arc = radius * np.stack([np.cos(turns), np.sin(turns)], axis=1)
    right, far = width / 2 - radius, depth / 2 - radius
    corners = [(right, far), (-right, far), (-right, -far), (right, -far)]
    pieces = []
    for quarter, corner in enumerate(corners):
        cos, sin = np.cos(quarter * np.pi / 2), np.sin(quarter * np.pi / 2)
        pieces.append(np.stack([cos * arc[:, 0] - sin * arc[:, 1], sin * arc[:, 0] + cos * arc[:, 1]], axis=1) + corner)
    return np.concatenate(pieces)


def fillet_corners(points: object, radius: float, *, closed: bool = False) -> Points:
    """A polyline (K, 2) whose corners are arcs of that radius, smaller where a side next to one is short.

    Args:
        radius: 0 leaves it as it is; so are turns of more than 175 degrees and corners beside a point that is there twice.
        closed: the last point joins the first; an open line keeps its ends.
    """
    given = np.asarray(points, dtype=np.float64)
    if radius <= 0:
        return given
    before, after = np.roll(given, 1, axis=0) - given, np.roll(given, -1, axis=0) - given
    made = []
    for number, (corner, back, ahead) in enumerate(zip(given, before, after)):
        rooms = float(np.linalg.norm(back)), float(np.linalg.norm(ahead))
        is_end = not closed and number in (0, len(given) - 1)
        if is_end or min(rooms) == 0:
            made.append(corner[None])
            continue
        back, ahead = back / rooms[0], ahead / rooms[1]
        turned = np.pi - np.arccos(np.clip(back @ ahead, -1.0, 1.0))
        if not np.radians(MIN_CORNER_DEGREES) < turned < np.radians(175):
            made.append(corner[None])
            continue
        reach = min(radius * np.tan(turned / 2), 0.45 * min(rooms))
        inward = (back + ahead) / np.linalg.norm(back + ahead)
        arc_radius = reach / np.tan(turned / 2)
        middle = corner + inward * (arc_radius / np.cos(turned / 2))
        start, end = corner + back * reach - middle, corner + ahead * reach - middle
        share = np.linspace(0, 1, int(np.ceil(turned / np.radians(90 / CORNER_CHORDS))) + 1)[:, None]
        arc = (np.sin((1 - share) * turned) * start + np.sin(share * turned) * end) / np.sin(turned)
        made.append(middle + arc)
    return np.concatenate(made)


def squircle(*, power: float, num_sides: int = NUM_SIDES) -> Points:
    """A superellipse |x|^power + |y|^power = 1: 2 is a circle, 5 nearly a square."""
    angles = np.arange(num_sides) * (2 * np.pi / num_sides)
    cos, sin = np.cos(angles), np.sin(angles)
    radius = (np.abs(cos) ** power + np.abs(sin) ** power) ** (-1 / power)
    return np.stack([radius * cos, radius * sin], axis=1)


def lobed_circle(num_lobes: int, *, depth: float) -> Points:
    """A circle of radius 1 with soft waves of that depth, as on a fluted bottle or a flower."""
    num_sides = max(NUM_SIDES, int(np.ceil(2 * np.pi * (1 + depth / 2 * num_lobes**2) / MAX_TURN_RAD)))
    angles = np.arange(num_sides) * (2 * np.pi / num_sides)
    radius = 1 - depth * (0.5 - 0.5 * np.cos(num_lobes * angles))
    return np.stack([radius * np.cos(angles), radius * np.sin(angles)], axis=1)


def toothed_circle(num_teeth: int, *, depth: float, share: float = 0.5, slope: float = 0.2) -> Points:
    """A circle of radius 1 with straight teeth, as on a cog or a screw cap.

    Args:
        num_teeth: teeth around.
        depth: how far the gaps go in.
        share: part of a tooth's turn that stands out, 0..1.
        slope: part of a tooth's turn that each flank takes.
    """
    steps = np.array([0.0, share - slope, share, 1.0 - slope])
    angles = ((np.arange(num_teeth)[:, None] + steps) * (2 * np.pi / num_teeth)).ravel()
    radius = np.tile([1.0, 1.0, 1 - depth, 1 - depth], num_teeth)
    return np.stack([radius * np.cos(angles), radius * np.sin(angles)], axis=1)


def star(num_points: int, *, depth: float) -> Points:
    """A star of radius 1 whose inner corners lie `depth` further in."""
    angles = np.arange(2 * num_points) * (np.pi / num_points) + np.pi / 2
    radius = np.where(np.arange(2 * num_points) % 2 == 0, 1.0, 1 - depth)
    return np.stack([radius * np.cos(angles), radius * np.sin(angles)], axis=1)


def spline(knots: object, *, per_span: int = 8) -> Points:
    """A smooth open curve through knots (K, D), Catmull-Rom, with `per_span` chords between two knots."""
    through = np.asarray(knots, dtype=np.float64)
    padded = np.concatenate([2 * through[:1] - through[1:2], through, 2 * through[-1:] - through[-2:-1]])
    t = (np.arange(per_span) / per_span)[:, None]
    spans = []
    for before, start, end, after in zip(padded, padded[1:], padded[2:], padded[3:]):
        linear, square = end - before, 2 * before - 5 * start + 4 * end - after
        cube = 3 * start - before - 3 * end + after
        spans.append(start + 0.5 * t * (linear + t * (square + t * cube)))
    return np.concatenate([*spans, through[-1:]])
