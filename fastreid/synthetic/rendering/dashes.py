"""Broken lines: a dash pattern that continues across the segments of a polyline."""

import numpy as np
from numpy.typing import NDArray

from fastreid.synthetic.geometry.outlines import Points
from fastreid.synthetic.rendering.depth_buffer import concatenated_ranges

WELD_TOLERANCE = 1e-4  # end points closer than this, in the units of the segments, are connected


def dash_segments(segments: Points, *, dash: float, gap: float) -> Points:
    """Return the dashes (D, 2, 2) of segments (S, 2, 2); the pattern continues from one segment to the next."""
    if not len(segments):
        return segments
    segments, start = _chain_segments(segments)
    direction = segments[:, 1] - segments[:, 0]
    length = np.linalg.norm(direction, axis=1)
    period = dash + gap
    first, last = np.floor(start / period).astype(np.int64), np.floor((start + length) / period).astype(np.int64)
    counts = last - first + 1
    owner, dash_index = (
        np.repeat(np.arange(len(segments)), counts),
        np.repeat(first, counts) + concatenated_ranges(counts),
    )
    low = np.maximum(dash_index * period, start[owner]) - start[owner]
    high = np.minimum(dash_index * period + dash, start[owner] + length[owner]) - start[owner]
    keep = high > low
    owner, t = owner[keep], np.stack([low[keep], high[keep]], axis=1) / length[owner[keep]][:, None]
    dashes: Points = segments[owner, :1] + t[:, :, None] * direction[owner][:, None]
    return dashes


def _chain_segments(segments: Points) -> tuple[Points, NDArray[np.float64]]:
    """Return the segments with the same direction along each chain, and the distance at which each starts."""
    cells = np.round(segments / WELD_TOLERANCE).astype(np.int64)
    segments_at: dict[tuple[int, int], list[int]] = {}
    for index, (start_cell, end_cell) in enumerate(cells.tolist()):
        segments_at.setdefault(tuple(start_cell), []).append(index)
        segments_at.setdefault(tuple(end_cell), []).append(index)
    lengths = np.linalg.norm(segments[:, 1] - segments[:, 0], axis=1).tolist()
    ends = [(tuple(start_cell), tuple(end_cell)) for start_cell, end_cell in cells.tolist()]
    is_reversed, offsets, is_used = [False] * len(ends), [0.0] * len(ends), [False] * len(ends)
    open_ends = [
        index
        for index, (start_cell, end_cell) in enumerate(ends)
        if len(segments_at[start_cell]) != 2 or len(segments_at[end_cell]) != 2
    ]
    for first in [*open_ends, *range(len(ends))]:  # open chains start at an end, closed ones anywhere
        index, distance = first, 0.0
        cell = ends[first][0] if len(segments_at[ends[first][0]]) != 2 else ends[first][1]
        while not is_used[index]:
            is_used[index] = True
            is_reversed[index], offsets[index] = ends[index][0] != cell, distance
            distance += lengths[index]
            cell = ends[index][1] if ends[index][0] == cell else ends[index][0]
            unused = [end_cell for end_cell in segments_at[cell] if not is_used[end_cell]]
            if len(segments_at[cell]) != 2 or not unused:
                break
            index = unused[0]
    flip = np.array(is_reversed)
    return np.where(flip[:, None, None], segments[:, ::-1], segments), np.array(offsets)
