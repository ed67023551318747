"""Bars: a cross-section carried along a path, as a handle, a leg or a cord."""

import numpy as np

from fastreid.synthetic.geometry.mesh import Mesh, loft
from fastreid.synthetic.geometry.outlines import Points

THREAD_STEPS = 32  # chords of a turn of a thread, 11 degrees each
MAX_MITER = 2.5  # a sharp bend stretches the section of a bar by no more than this


def sweep(path: object, outline: Points, *, scale: object = 1.0, closed: bool = False) -> Mesh:
    """A bar of that cross-section along a path, as a handle, a leg or a cord.

    The section is carried along without spinning: at each step it takes the smallest turn that keeps it square to the
    path (parallel transport).

    Args:
        path: (K, 3) points, no two neighbours the same.
        outline: cross-section (N, 2); its y axis starts nearest to the world's up.
        scale: one factor, or K of them, for a bar that tapers.
        closed: the path's end joins its start; only for paths in a plane.
    """
    way = np.asarray(path, dtype=np.float64)
    ahead = _normalize(np.roll(way, -1, axis=0) - way)
    behind = np.roll(ahead, 1, axis=0)
    if not closed:
        ahead[-1], behind[0] = behind[-1], ahead[0]
    tangents = _normalize(ahead + behind)
    upright = np.array([0.0, 0.0, 1.0]) if abs(tangents[0, 2]) < 0.9 else np.array([0.0, 1.0, 0.0])
    up = _normalize(upright - tangents[0] * np.dot(upright, tangents[0]))
    rings = []
    for i, factor in enumerate(np.broadcast_to(np.asarray(scale, dtype=np.float64), len(way))):
        up = _transport(up, tangents[max(i - 1, 0)], tangents[i])
        offsets = outline[:, :1] * np.cross(up, tangents[i]) + outline[:, 1:] * up
        rings.append(way[i] + factor * _miter(offsets, behind[i], ahead[i]))
    return loft(np.stack(rings), closed=closed)


def thread(radius: float, depth: float, pitch: float, height: float) -> Mesh:
    """The ridge of a screw about z, from z = 0 to `height`, on a cylinder of that radius.

    Right-handed, as nearly all are.

    Args:
        depth: how far the ridge stands out; it runs out to nothing at both ends.
        pitch: how far it climbs in a turn; the ridge is half as wide.
        height: at least a pitch.
    """
    turns = np.linspace(0, (height - pitch / 2) / pitch, max(int(THREAD_STEPS * height / pitch), THREAD_STEPS))
    stands_out = depth * np.clip(np.minimum(turns, turns[-1] - turns) * 6, 0.02, 1.0)
    # a ridge cut square to the way round: its foot inside the cylinder, flanks, and a flat crest
    inside = np.full_like(turns, -0.3 * depth)
    out = np.stack([inside, stands_out, stands_out, inside], axis=1) + radius
    up = pitch * (turns[:, None] + np.array([0.5, 0.34, 0.16, 0.0]))
    angles = 2 * np.pi * turns[:, None]
    return loft(np.stack([out * np.cos(angles), out * np.sin(angles), up], axis=2))


def _transport(up: Points, old: Points, new: Points) -> Points:
    """A vector square to the unit vector `old`, after the smallest turn that takes `old` to `new`."""
    return up - (old + new) * np.dot(new, up) / (1 + np.dot(old, new))


def _miter(offsets: Points, behind: Points, ahead: Points) -> Points:
    """Stretch a section at a bend, so that the bar on both sides keeps its thickness."""
    bend = ahead - behind
    size = np.linalg.norm(bend)
    if size < 1e-6:
        return offsets
    stretch = min(2.0 / float(np.linalg.norm(ahead + behind)), MAX_MITER)
    return offsets + (stretch - 1) * (offsets @ (bend / size))[:, None] * (bend / size)


def _normalize(vectors: Points) -> Points:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
