"""Outlines in the plane: closed polylines, float64 (N, 2), counter-clockwise and centered at the origin."""

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]

NUM_SIDES = 48  # vertices of a round outline: 7.5 degrees each, well below the crease angle
MAX_TURN_RAD = 0.3  # largest turn of a lobed outline between two chords
CORNER_CHORDS = 5  # chords per rounded corner, 18 degrees each
MIN_CORNER_DEGREES = 20.0  # smaller turns are chords of a curve, not corners


def ellipse(width: float, depth: float, *, num_sides: int = NUM_SIDES) -> Points:
    """Return an ellipse with the given full width (x) and depth (y)."""
    angles = np.arange(num_sides) * (2 * np.pi / num_sides)
    return np.stack([np.cos(angles) * width / 2, np.sin(angles) * depth / 2], axis=1)


def circle(radius: float = 1.0, *, num_sides: int = NUM_SIDES) -> Points:
    """Return a circle."""
    return ellipse(2 * radius, 2 * radius, num_sides=num_sides)


def polygon(num_sides: int, *, radius: float = 1.0) -> Points:
    """Return a regular polygon with a horizontal bottom side and the given circumradius."""
    angles = np.arange(num_sides) * (2 * np.pi / num_sides) - np.pi / 2 + np.pi / num_sides
    return radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def rounded_rectangle(width: float, depth: float, *, radius: float) -> Points:
    """Return a rectangle with quarter-circle corners.

    It always has 4 * (CORNER_CHORDS + 1) points, so any two of them can be lofted.
    """
    radius = min(max(radius, 1e-4), 0.499 * min(width, depth))
    angles = np.arange(CORNER_CHORDS + 1) * (np.pi / 2 / CORNER_CHORDS)
    arc = radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    right, back = width / 2 - radius, depth / 2 - radius
    corners = [(right, back), (-right, back), (-right, -back), (right, -back)]
    pieces = []
    for quarter, corner in enumerate(corners):
        cos, sin = np.cos(quarter * np.pi / 2), np.sin(quarter * np.pi / 2)
        pieces.append(np.stack([cos * arc[:, 0] - sin * arc[:, 1], sin * arc[:, 0] + cos * arc[:, 1]], axis=1) + corner)
    return np.concatenate(pieces)


def fillet_corners(points: object, radius: float, *, closed: bool = False) -> Points:
    """Replace the corners of a polyline (K, 2) by arcs of the given radius, or less where an adjacent side is short.

    Args:
        points: the polyline. Turns of more than 175 degrees and corners next to a repeated point are kept.
        radius: fillet radius; 0 returns the polyline unchanged.
        closed: connect the last point to the first; an open polyline keeps its ends.
    """
    polyline = np.asarray(points, dtype=np.float64)
    if radius <= 0:
        return polyline
    previous, following = np.roll(polyline, 1, axis=0) - polyline, np.roll(polyline, -1, axis=0) - polyline
    pieces = []
    for index, (corner, to_previous, to_next) in enumerate(zip(polyline, previous, following)):
        lengths = float(np.linalg.norm(to_previous)), float(np.linalg.norm(to_next))
        is_end = not closed and index in (0, len(polyline) - 1)
        if is_end or min(lengths) == 0:
            pieces.append(corner[None])
            continue
        to_previous, to_next = to_previous / lengths[0], to_next / lengths[1]
        angle = np.pi - np.arccos(np.clip(to_previous @ to_next, -1.0, 1.0))
        if not np.radians(MIN_CORNER_DEGREES) < angle < np.radians(175):
            pieces.append(corner[None])
            continue
        inset = min(radius * np.tan(angle / 2), 0.45 * min(lengths))
        inward = (to_previous + to_next) / np.linalg.norm(to_previous + to_next)
        arc_radius = inset / np.tan(angle / 2)
        center = corner + inward * (arc_radius / np.cos(angle / 2))
        start, end = corner + to_previous * inset - center, corner + to_next * inset - center
        t = np.linspace(0, 1, int(np.ceil(angle / np.radians(90 / CORNER_CHORDS))) + 1)[:, None]
        arc = (np.sin((1 - t) * angle) * start + np.sin(t * angle) * end) / np.sin(angle)
        pieces.append(center + arc)
    return np.concatenate(pieces)


def squircle(*, power: float, num_sides: int = NUM_SIDES) -> Points:
    """Return the superellipse |x|^power + |y|^power = 1; power 2 is a circle, 5 is almost a square."""
    angles = np.arange(num_sides) * (2 * np.pi / num_sides)
    cos, sin = np.cos(angles), np.sin(angles)
    radius = (np.abs(cos) ** power + np.abs(sin) ** power) ** (-1 / power)
    return np.stack([radius * cos, radius * sin], axis=1)


def lobed_circle(num_lobes: int, *, depth: float) -> Points:
    """Return a unit circle with smooth waves of the given depth, as on a fluted bottle or a flower."""
    num_sides = max(NUM_SIDES, int(np.ceil(2 * np.pi * (1 + depth / 2 * num_lobes**2) / MAX_TURN_RAD)))
    angles = np.arange(num_sides) * (2 * np.pi / num_sides)
    radius = 1 - depth * (0.5 - 0.5 * np.cos(num_lobes * angles))
    return np.stack([radius * np.cos(angles), radius * np.sin(angles)], axis=1)


def toothed_circle(num_teeth: int, *, depth: float, share: float = 0.5, slope: float = 0.2) -> Points:
    """Return a unit circle with straight teeth, as on a gear or a screw cap.

    Args:
        num_teeth: number of teeth.
        depth: depth of the gaps.
        share: share of the pitch at which the falling flank ends, 0..1.
        slope: share of the pitch that each flank takes.
    """
    steps = np.array([0.0, share - slope, share, 1.0 - slope])
    angles = ((np.arange(num_teeth)[:, None] + steps) * (2 * np.pi / num_teeth)).ravel()
    radius = np.tile([1.0, 1.0, 1 - depth, 1 - depth], num_teeth)
    return np.stack([radius * np.cos(angles), radius * np.sin(angles)], axis=1)


def star(num_points: int, *, depth: float) -> Points:
    """Return a star with outer radius 1 and inner radius 1 - depth."""
    angles = np.arange(2 * num_points) * (np.pi / num_points) + np.pi / 2
    radius = np.where(np.arange(2 * num_points) % 2 == 0, 1.0, 1 - depth)
    return np.stack([radius * np.cos(angles), radius * np.sin(angles)], axis=1)


def spline(knots: object, *, per_span: int = 8) -> Points:
    """Return an open Catmull-Rom spline through knots (K, D), with `per_span` chords between two knots."""
    points = np.asarray(knots, dtype=np.float64)
    padded = np.concatenate([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
    t = (np.arange(per_span) / per_span)[:, None]
    spans = []
    for previous, start, end, following in zip(padded, padded[1:], padded[2:], padded[3:]):
        linear, square = end - previous, 2 * previous - 5 * start + 4 * end - following
        cube = 3 * start - previous - 3 * end + following
        spans.append(start + 0.5 * t * (linear + t * (square + t * cube)))
    return np.concatenate([*spans, points[-1:]])
