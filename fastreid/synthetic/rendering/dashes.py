"""Broken lines: dashes that run on evenly around a curve of many short segments."""

import numpy as np
from numpy.typing import NDArray

from fastreid.synthetic.geometry.outlines import Points
from fastreid.synthetic.rendering.depth_buffer import concatenated_ranges

WELD_TOLERANCE = 1e-4  # ends nearer than this, in the units of the segments, are one place


def dash_segments(segments: Points, *, dash: float, gap: float) -> Points:
    """The dashes (D, 2, 2) of segments (S, 2, 2); where two segments meet end to end the pattern goes on."""
    if not len(segments):
        return segments
    segments, start = _chain_segments(segments)
    way = segments[:, 1] - segments[:, 0]
    length = np.linalg.norm(way, axis=1)
    period = dash + gap
    first, last = np.floor(start / period).astype(np.int64), np.floor((start + length) / period).astype(np.int64)
    counts = last - first + 1
    owner, number = np.repeat(np.arange(len(segments)), counts), np.repeat(first, counts) + concatenated_ranges(counts)
    low = np.maximum(number * period, start[owner]) - start[owner]
    high = np.minimum(number * period + dash, start[owner] + length[owner]) - start[owner]
    keep = high > low
    owner, shares = owner[keep], np.stack([low[keep], high[keep]], axis=1) / length[owner[keep]][:, None]
    return segments[owner, :1] + shares[:, :, None] * way[owner][:, None]


def _chain_segments(segments: Points) -> tuple[Points, NDArray[np.float64]]:
    """The segments turned so that chains of them run one way, and how far along its chain each starts."""
    places = np.round(segments / WELD_TOLERANCE).astype(np.int64)
    at: dict[tuple[int, int], list[int]] = {}
    for number, (one, other) in enumerate(places.tolist()):
        at.setdefault(tuple(one), []).append(number)
        at.setdefault(tuple(other), []).append(number)
    lengths = np.linalg.norm(segments[:, 1] - segments[:, 0], axis=1).tolist()
    ends = [(tuple(one), tuple(other)) for one, other in places.tolist()]
    turned, start, used = [False] * len(ends), [0.0] * len(ends), [False] * len(ends)
    free = [number for number, (one, other) in enumerate(ends) if len(at[one]) != 2 or len(at[other]) != 2]
    for first in [*free, *range(len(ends))]:  # open chains from their ends, then closed ones from anywhere
        number, along = first, 0.0
        place = ends[first][0] if len(at[ends[first][0]]) != 2 else ends[first][1]
        while not used[number]:
            used[number] = True
            turned[number], start[number] = ends[number][0] != place, along
            along += lengths[number]
            place = ends[number][1] if ends[number][0] == place else ends[number][0]
            onward = [other for other in at[place] if not used[other]]
            if len(at[place]) != 2 or not onward:
                break
            number = onward[0]
    flip = np.array(turned)
    return np.where(flip[:, None, None], segments[:, ::-1], segments), np.array(start)
