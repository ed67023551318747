# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""The places of some rows in the order (distance, row): `places_by_torch` in C, without an array of keys."""

from libc.stdint cimport int64_t

import numpy as np


cdef inline int64_t first_not_before(
    const float* values, const int64_t* rows, int64_t num, float value, int64_t row
) noexcept nogil:
    """The first of `num` ascending (value, row) pairs that does not come before the given one."""
    cdef int64_t low = 0
    cdef int64_t high = num
    cdef int64_t middle
    while low < high:
        middle = (low + high) // 2
        if values[middle] < value or (values[middle] == value and rows[middle] < row):
            low = middle + 1
        else:
            high = middle
    return low


def places_of_block(const float[:, ::1] distances, const int64_t[:, ::1] rows, const int64_t[:, ::1] dropped):
    """See `fastreid.evaluation.scoring.ranks.places_by_torch`; rows outside the distances are refused."""
    cdef int64_t num_queries = distances.shape[0]
    cdef int64_t num_gallery = distances.shape[1]
    cdef int64_t width = rows.shape[1]
    chosen = np.asarray(rows)
    for some in (chosen, np.asarray(dropped)):
        if len(some) != num_queries:
            raise IndexError(f"rows of {len(some)} queries do not fit distances of {num_queries}")
        if some.size and (some.min() < -1 or some.max() >= num_gallery):
            raise IndexError(f"rows lie outside 0..{num_gallery - 1}")
    result = np.zeros((num_queries, width), dtype=np.int64)
    if result.size == 0:
        return result
    there = chosen >= 0
    values = np.take_along_axis(np.asarray(distances), np.where(there, chosen, 0), axis=1)
    order = np.lexsort((chosen, values, ~there), axis=1)
    cdef const float[:, ::1] sorted_values = np.take_along_axis(values, order, axis=1)
    cdef const int64_t[:, ::1] sorted_rows = np.take_along_axis(chosen, order, axis=1)
    cdef const int64_t[::1] num_rows = there.sum(axis=1)
    cdef int64_t[:, ::1] place = result
    cdef int64_t query, row, column, num, last
    cdef float value, farthest
    with nogil:
        for query in range(num_queries):
            num = num_rows[query]
            if num == 0:
                continue
            last = num - 1
            farthest = sorted_values[query, last]
            for row in range(num_gallery):
                value = distances[query, row]
                if value > farthest:
                    continue
                column = first_not_before(&sorted_values[query, 0], &sorted_rows[query, 0], num, value, row)
                if column < num:
                    place[query, column] += 1
            for column in range(dropped.shape[1]):
                row = dropped[query, column]
                if row >= 0:
                    row = first_not_before(
                        &sorted_values[query, 0], &sorted_rows[query, 0], num, distances[query, row], row
                    )
                    if row < num:
                        place[query, row] -= 1
            for column in range(1, num):
                place[query, column] += place[query, column - 1]
    return result
