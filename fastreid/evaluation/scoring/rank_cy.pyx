# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""Ranks of gallery rows in C: the results of `ranks.compute_ranks` without an array of keys."""

from libc.stdint cimport int64_t

import numpy as np


cdef inline int64_t lower_bound(
    const float* values, const int64_t* rows, int64_t num, float value, int64_t row
) noexcept nogil:
    """Return the index of the first of `num` ascending (value, row) pairs that is not less than the given pair."""
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


def compute_ranks_of_block(const float[:, ::1] distances, const int64_t[:, ::1] rows, const int64_t[:, ::1] ignored):
    """Return the ranks that `fastreid.evaluation.scoring.ranks.compute_ranks` returns, as an int64 array.

    Raises:
        IndexError: rows outside the distances, or rows for another number of queries.
    """
    cdef int64_t num_queries = distances.shape[0]
    cdef int64_t num_gallery = distances.shape[1]
    cdef int64_t width = rows.shape[1]
    row_array = np.asarray(rows)
    for array in (row_array, np.asarray(ignored)):
        if len(array) != num_queries:
            raise IndexError(f"rows of {len(array)} queries do not match distances of {num_queries} queries")
        if array.size and (array.min() < -1 or array.max() >= num_gallery):
            raise IndexError(f"rows are outside 0..{num_gallery - 1}")
    result = np.zeros((num_queries, width), dtype=np.int64)
    if result.size == 0:
        return result
    is_row = row_array >= 0
    values = np.take_along_axis(np.asarray(distances), np.where(is_row, row_array, 0), axis=1)
    order = np.lexsort((row_array, values, ~is_row), axis=1)
    cdef const float[:, ::1] sorted_values = np.take_along_axis(values, order, axis=1)
    cdef const int64_t[:, ::1] sorted_rows = np.take_along_axis(row_array, order, axis=1)
    cdef const int64_t[::1] num_rows = is_row.sum(axis=1)
    cdef int64_t[:, ::1] ranks = result
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
                column = lower_bound(&sorted_values[query, 0], &sorted_rows[query, 0], num, value, row)
                if column < num:
                    ranks[query, column] += 1
            for column in range(ignored.shape[1]):
                row = ignored[query, column]
                if row >= 0:
                    row = lower_bound(&sorted_values[query, 0], &sorted_rows[query, 0], num, distances[query, row], row)
                    if row < num:
                        ranks[query, row] -= 1
            for column in range(1, num):
                ranks[query, column] += ranks[query, column - 1]
    return result
