"""Sweep a cross-section along a path: bars, handles, cords and screw threads."""

import numpy as np

from fastreid.synthetic.geometry.mesh import Mesh, loft
from fastreid.synthetic.geometry.outlines import Points

THREAD_STEPS = 32  # chords per turn of a thread, 11 degrees each
MAX_MITER = 2.5  # largest stretch of a cross-section at a sharp bend


def sweep(path: object, outline: Points, *, scale: object = 1.0, closed: bool = False) -> Mesh:
    """Return a bar with the given cross-section along a path, as a handle, a leg or a cord.

    Parallel transport keeps the section from twisting: at each step it makes the smallest rotation that keeps it
    perpendicular to the path.

    Args:
        path: (K, 3) points; consecutive points must differ.
        outline: cross-section (N, 2); at the start its y axis points up as far as possible.
        scale: one factor or K factors, for a tapered bar.
        closed: connect the end of the path to its start; only for planar paths.
    """
    points = np.asarray(path, dtype=np.float64)
    ahead = _normalize(np.roll(points, -1, axis=0) - points)
    behind = np.roll(ahead, 1, axis=0)
    if not closed:
        ahead[-1], behind[0] = behind[-1], ahead[0]
    tangents = _normalize(ahead + behind)
    reference = np.array([0.0, 0.0, 1.0]) if abs(tangents[0, 2]) < 0.9 else np.array([0.0, 1.0, 0.0])
    up = _normalize(reference - tangents[0] * np.dot(reference, tangents[0]))
    rings = []
    for i, factor in enumerate(np.broadcast_to(np.asarray(scale, dtype=np.float64), len(points))):
        up = _transport(up, tangents[max(i - 1, 0)], tangents[i])
        offsets = outline[:, :1] * np.cross(up, tangents[i]) + outline[:, 1:] * up
        rings.append(points[i] + factor * _miter(offsets, behind[i], ahead[i]))
    return loft(np.stack(rings), closed=closed)


def thread(radius: float, depth: float, pitch: float, height: float) -> Mesh:
    """Return the ridge of a right-handed screw thread about z, from z = 0 to `height`.

    Args:
        radius: radius of the cylinder under it.
        depth: height of the ridge above the cylinder; it tapers off at both ends.
        pitch: rise per turn; the ridge is half as wide.
        height: at least one pitch.
    """
    turns = np.linspace(0, (height - pitch / 2) / pitch, max(int(THREAD_STEPS * height / pitch), THREAD_STEPS))
    ridge = depth * np.clip(np.minimum(turns, turns[-1] - turns) * 6, 0.02, 1.0)
    # profile of the ridge: root inside the cylinder, two flanks and a flat crest
    root = np.full_like(turns, -0.3 * depth)
    radii = np.stack([root, ridge, ridge, root], axis=1) + radius
    heights = pitch * (turns[:, None] + np.array([0.5, 0.34, 0.16, 0.0]))
    angles = 2 * np.pi * turns[:, None]
    return loft(np.stack([radii * np.cos(angles), radii * np.sin(angles), heights], axis=2))


def _transport(up: Points, old: Points, new: Points) -> Points:
    """Rotate `up`, perpendicular to the unit vector `old`, by the smallest rotation from `old` to `new`."""
    rotated: Points = up - (old + new) * np.dot(new, up) / (1 + np.dot(old, new))
    return rotated


def _miter(offsets: Points, behind: Points, ahead: Points) -> Points:
    """Stretch a section at a bend so that the bar keeps its thickness on both sides."""
    bend = ahead - behind
    size = np.linalg.norm(bend)
    if size < 1e-6:
        return offsets
    stretch = min(2.0 / float(np.linalg.norm(ahead + behind)), MAX_MITER)
    return offsets + (stretch - 1) * (offsets @ (bend / size))[:, None] * (bend / size)


def _normalize(vectors: Points) -> Points:
    unit_vectors: Points = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    return unit_vectors
