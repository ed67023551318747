# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""The places of some rows in the order (distance, row): `places_by_numpy` in C, without an array of keys."""

from libc.stdint cimport int64_t

import numpy as np


def places(const float[::1] distances, const int64_t[::1] rows):
    """See `fastreid.evaluation.ranker.places_by_numpy`; rows outside the distances are refused."""
    cdef int64_t num = distances.shape[0]
    cdef int64_t num_rows = rows.shape[0]
    chosen = np.asarray(rows)
    if num_rows == 0:
        return np.empty(0, dtype=np.int64)
    if chosen.min() < 0 or chosen.max() >= num:
        raise IndexError(f"rows lie outside 0..{num - 1}")
    values = np.asarray(distances)[chosen]
    mine = np.lexsort((chosen, values))
    counts = np.zeros(num_rows + 1, dtype=np.int64)
    cdef const float[::1] sorted_values = values[mine]
    cdef const int64_t[::1] sorted_rows = chosen[mine]
    cdef int64_t[::1] count = counts
    cdef float value
    cdef int64_t row, low, high, middle
    with nogil:
        for row in range(num):
            value = distances[row]
            low = 0
            high = num_rows
            while low < high:
                middle = (low + high) // 2
                if sorted_values[middle] < value or (sorted_values[middle] == value and sorted_rows[middle] < row):
                    low = middle + 1
                else:
                    high = middle
            count[low] += 1
    result = np.empty(num_rows, dtype=np.int64)
    result[mine] = counts[:num_rows].cumsum()
    return result
