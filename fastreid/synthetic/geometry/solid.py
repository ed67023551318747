"""An object ready to be drawn: all parts in one mesh, with the edges a draughtsman may draw."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastreid.synthetic.geometry.intersections import compute_intersections
from fastreid.synthetic.geometry.mesh import Faces, Mesh
from fastreid.synthetic.geometry.outlines import Points

CREASE_DEGREES = 33.0  # faces that meet at more than this make a line; round parts stay below it at every facet
WELD_TOLERANCE = 1e-6  # corners nearer than this, in units of the object's half diagonal, are one corner


@dataclass(frozen=True)
class Solid:
    """An object centred on 0 with a half diagonal of 1.

    Args:
        points: float64 (V, 3).
        faces: int64 (F, 3), everything that hides.
        edges: int64 (E, 2), point numbers.
        sides: int64 (E, 2), the two faces of each edge; both the same where it has one or none.
        sharp: bool (E,), drawn from wherever it is seen: creases, borders and the seams of parts that run into each
            other. The others are drawn only where they are a silhouette: one of their faces is seen, the other not.
        broken: bool (E,), drawn in broken lines: edges of pieces that are not claimed.
        on_faces: float64 (L, 2, 3), further lines that lie on faces, as marks and the hatching of a section do.
    """

    points: Points
    faces: Faces
    edges: Faces
    edge_faces: Faces
    is_sharp: NDArray[np.bool_]
    is_dashed: NDArray[np.bool_]
    surface_lines: Points


def assemble(parts: Sequence[Mesh], *, unclaimed: Collection[str] = (), surface_lines: Points | None = None) -> Solid:
    """Join parts into one object, centred and scaled; parts may run into each other.

    Args:
        parts: what it is made of.
        unclaimed: pieces whose edges are broken lines; their marks are left out.
        surface_lines: float64 (L, 2, 3), further lines that are drawn where they are seen.
    """
    vertices, faces, fill, part_of = _concatenate_parts(parts)
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    middle, half = (low + high) / 2, np.linalg.norm(high - low) / 2
    points = (vertices - middle) / half
    points, number = _weld_vertices(points, part_of)
    faces, fill = _drop_slivers(points, number[faces]), _drop_slivers(points, number[fill])
    edges, sides, sharp = _extract_edges(points, faces)
    hiding = np.concatenate([faces, fill])
    owner = np.zeros(len(points), dtype=np.int64)
    owner[number] = part_of
    seams = compute_intersections([points[hiding[owner[hiding[:, 0]] == part]] for part in range(len(parts))])
    marks = [part.marks for part in parts if part.component not in unclaimed]
    lines = np.concatenate([*marks, np.zeros((0, 2, 3)) if surface_lines is None else surface_lines])
    is_broken = np.array([part.component in unclaimed for part in parts])[owner[edges[:, 0]]]
    seam_edges = len(points) + np.arange(2 * len(seams)).reshape(-1, 2)
    return Solid(
        points=np.concatenate([points, seams.reshape(-1, 3)]),
        faces=hiding,
        edges=np.concatenate([edges, seam_edges]),
        edge_faces=np.concatenate([sides, np.zeros_like(seam_edges)]),
        is_sharp=np.concatenate([sharp, np.ones(len(seam_edges), dtype=bool)]),
        is_dashed=np.concatenate([is_broken, np.zeros(len(seam_edges), dtype=bool)]),
        surface_lines=(lines - middle) / half,
    )


def _concatenate_parts(parts: Sequence[Mesh]) -> tuple[Points, Faces, Faces, NDArray[np.int64]]:
    counts = [len(part.vertices) for part in parts]
    starts = np.cumsum([0, *counts[:-1]])
    return (
        np.concatenate([part.vertices for part in parts]),
        np.concatenate([part.faces + start for part, start in zip(parts, starts)]),
        np.concatenate([part.fill + start for part, start in zip(parts, starts)]),
        np.repeat(np.arange(len(parts)), counts),
    )


def _weld_vertices(points: Points, part_of: NDArray[np.int64]) -> tuple[Points, NDArray[np.int64]]:
    """Make corners of one part that lie on the same spot one corner: the points left, and each old corner's number."""
    spots = np.concatenate([np.round(points / WELD_TOLERANCE).astype(np.int64), part_of[:, None]], axis=1)
    order = np.lexsort(spots.T)
    ordered = spots[order]
    new = np.concatenate([[True], (ordered[1:] != ordered[:-1]).any(axis=1)])
    number = np.empty(len(points), dtype=np.int64)
    number[order] = np.cumsum(new) - 1
    return ordered[new, :3] * WELD_TOLERANCE, number


def _drop_slivers(points: Points, faces: Faces) -> Faces:
    corners = points[faces]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    return faces[area > WELD_TOLERANCE * WELD_TOLERANCE * 10]


def _extract_edges(points: Points, faces: Faces) -> tuple[Faces, Faces, NDArray[np.bool_]]:
    """Each edge once, the faces on its two sides, and whether it is sharp."""
    corners = points[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    ends = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    owner = np.tile(np.arange(len(faces)), 3)
    codes = ends[:, 0] * len(points) + ends[:, 1]
    order = np.argsort(codes, kind="stable")
    codes, ends, owner = codes[order], ends[order], owner[order]
    first = np.flatnonzero(np.concatenate([[True], codes[1:] != codes[:-1]]))
    count = np.diff(np.append(first, len(codes)))
    sides = np.stack([owner[first], owner[first + np.minimum(count, 2) - 1]], axis=1)
    straight = (normals[sides[:, 0]] * normals[sides[:, 1]]).sum(axis=1) > np.cos(np.radians(CREASE_DEGREES))
    return ends[first], sides, ~straight | (count != 2)
