"""Solids: all parts of an object in one mesh, with the edges that may be drawn."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastreid.synthetic.geometry.intersections import compute_intersections
from fastreid.synthetic.geometry.mesh import Faces, Mesh
from fastreid.synthetic.geometry.outlines import Points

CREASE_DEGREES = 33.0  # edges with a larger angle between their faces are creases; facets of round parts stay below it
WELD_TOLERANCE = 1e-6  # vertices closer than this, in half diagonals of the object, are merged


@dataclass(frozen=True)
class Solid:
    """An object centered at the origin with a half diagonal of 1.

    Args:
        points: float64 (V, 3).
        faces: int64 (F, 3), all triangles that occlude.
        edges: int64 (E, 2), indices of points.
        edge_faces: int64 (E, 2), the two faces of each edge; both are the same if the edge has one face or none.
        is_sharp: bool (E,), crease edges, borders and intersections of parts, which are drawn wherever they are
            visible. The other edges are drawn only as silhouette edges: one of their faces is front-facing, the other
            is not.
        is_dashed: bool (E,), edges of unclaimed components, drawn as broken lines.
        surface_lines: float64 (L, 2, 3), further lines on faces, such as marks and the hatching of a section.
    """

    points: Points
    faces: Faces
    edges: Faces
    edge_faces: Faces
    is_sharp: NDArray[np.bool_]
    is_dashed: NDArray[np.bool_]
    surface_lines: Points


def assemble(parts: Sequence[Mesh], *, unclaimed: Collection[str] = (), surface_lines: Points | None = None) -> Solid:
    """Join parts into one centered and scaled object; parts may intersect.

    Args:
        parts: parts of the object.
        unclaimed: names of components whose edges become broken lines and whose marks are omitted.
        surface_lines: float64 (L, 2, 3), further lines that are drawn where they are visible.
    """
    vertices, faces, fill, part_index = _concatenate_parts(parts)
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    center, half = (low + high) / 2, np.linalg.norm(high - low) / 2
    points = (vertices - center) / half
    points, new_index = _weld_vertices(points, part_index)
    faces, fill = _drop_slivers(points, new_index[faces]), _drop_slivers(points, new_index[fill])
    edges, edge_faces, is_sharp = _extract_edges(points, faces)
    occluders = np.concatenate([faces, fill])
    owner = np.zeros(len(points), dtype=np.int64)
    owner[new_index] = part_index
    intersections = compute_intersections(
        [points[occluders[owner[occluders[:, 0]] == part]] for part in range(len(parts))]
    )
    marks = [part.marks for part in parts if part.component not in unclaimed]
    all_lines = np.concatenate([*marks, np.zeros((0, 2, 3)) if surface_lines is None else surface_lines])
    is_dashed = np.array([part.component in unclaimed for part in parts])[owner[edges[:, 0]]]
    intersection_edges = len(points) + np.arange(2 * len(intersections)).reshape(-1, 2)
    return Solid(
        points=np.concatenate([points, intersections.reshape(-1, 3)]),
        faces=occluders,
        edges=np.concatenate([edges, intersection_edges]),
        edge_faces=np.concatenate([edge_faces, np.zeros_like(intersection_edges)]),
        is_sharp=np.concatenate([is_sharp, np.ones(len(intersection_edges), dtype=bool)]),
        is_dashed=np.concatenate([is_dashed, np.zeros(len(intersection_edges), dtype=bool)]),
        surface_lines=(all_lines - center) / half,
    )


def _concatenate_parts(parts: Sequence[Mesh]) -> tuple[Points, Faces, Faces, NDArray[np.int64]]:
    """Return vertices, faces and fill of every part, and the part index of each vertex."""
    counts = [len(part.vertices) for part in parts]
    starts = np.cumsum([0, *counts[:-1]])
    return (
        np.concatenate([part.vertices for part in parts]),
        np.concatenate([part.faces + start for part, start in zip(parts, starts)]),
        np.concatenate([part.fill + start for part, start in zip(parts, starts)]),
        np.repeat(np.arange(len(parts)), counts),
    )


def _weld_vertices(points: Points, part_index: NDArray[np.int64]) -> tuple[Points, NDArray[np.int64]]:
    """Merge coincident vertices of each part; return the remaining points and the new index of each old vertex."""
    cells = np.concatenate([np.round(points / WELD_TOLERANCE).astype(np.int64), part_index[:, None]], axis=1)
    order = np.lexsort(cells.T)
    ordered = cells[order]
    is_first = np.concatenate([[True], (ordered[1:] != ordered[:-1]).any(axis=1)])
    new_index = np.empty(len(points), dtype=np.int64)
    new_index[order] = np.cumsum(is_first) - 1
    return ordered[is_first, :3] * WELD_TOLERANCE, new_index


def _drop_slivers(points: Points, faces: Faces) -> Faces:
    """Drop faces with almost no area."""
    corners = points[faces]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    kept: Faces = faces[area > WELD_TOLERANCE * WELD_TOLERANCE * 10]
    return kept


def _extract_edges(points: Points, faces: Faces) -> tuple[Faces, Faces, NDArray[np.bool_]]:
    """Return each edge once, its two faces and whether it is sharp."""
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
    edge_faces = np.stack([owner[first], owner[first + np.minimum(count, 2) - 1]], axis=1)
    is_smooth = (normals[edge_faces[:, 0]] * normals[edge_faces[:, 1]]).sum(axis=1) > np.cos(np.radians(CREASE_DEGREES))
    return ends[first], edge_faces, ~is_smooth | (count != 2)
