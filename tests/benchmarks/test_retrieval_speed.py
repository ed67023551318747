"""Query expansion, search and re-ranking of the challenge's test, relative to the same formulas row by row.

Random features have the patents of DeepPatent's test lists. BENCH_SHARE=1 uses all (13,133 queries, 38,834 gallery
drawings, several minutes and 4 GiB); the default is a tenth of the patents.
"""

import resource
import statistics
import time

import pytest
import torch
from random_features import deeppatent_test

from fastreid.evaluation import expand, k_reciprocal, nearest

TIMED_ROWS = 60  # rows timed in the row-by-row form; all rows take the same time
TOP_K = 10


def measure_seconds(function) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def peak_memory_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def seconds_row_by_row(queries, gallery) -> float:
    """Return the time of expansion and search if each row is processed alone, as in fast-reid."""
    rows = torch.cat([queries, gallery])
    unit = torch.nn.functional.normalize(rows)

    def expand_one(row):
        best, indices = (unit @ unit[row]).sort(descending=True)
        (best[:5, None].clamp(min=0) ** 2 * rows[indices[:5]]).sum(0) / 5

    def search_one(row):
        (1 - unit[len(queries) :] @ unit[row]).argsort()[:TOP_K]

    timed_rows = torch.linspace(0, len(queries) - 1, TIMED_ROWS).long().tolist()
    expansion_s = statistics.median(measure_seconds(lambda row=row: expand_one(row)) for row in timed_rows)
    search_s = statistics.median(measure_seconds(lambda row=row: search_one(row)) for row in timed_rows)
    return expansion_s * len(rows) + search_s * len(queries)


def seconds_of_product(left, right) -> float:
    """Return the time of the float32 product of two sets in blocks; half of it if both are the same set."""
    buffer = torch.empty(4096, 4096)

    def multiply():
        for first, rows in enumerate(left.split(4096)):
            for columns in right.split(4096)[first if left is right else 0 :]:
                torch.mm(rows, columns.T, out=buffer[: len(rows), : len(columns)].view(len(rows), len(columns)))

    return measure_seconds(multiply)


@pytest.mark.benchmark
def test_expansion_and_search(capsys):
    queries, gallery, _, _ = deeppatent_test()
    rows = torch.cat([queries, gallery])
    product_s = seconds_of_product(rows, rows) + seconds_of_product(queries, gallery)
    del rows
    results = []
    for precision in ("float32", "auto"):
        before_mb = peak_memory_mb()
        start = time.perf_counter()
        ranking = nearest(*expand(queries, gallery, k=5, alpha=2.0, precision=precision), TOP_K, precision=precision)
        duration = time.perf_counter() - start
        results.append((precision, duration, peak_memory_mb() - before_mb, ranking))
    row_by_row_s = seconds_row_by_row(queries, gallery)
    assert torch.equal(results[0][3].indices, results[1][3].indices)
    with capsys.disabled():
        print(f"\ntop-{TOP_K} with AQE and DBA, {len(queries)} x {len(gallery)} x {queries.shape[1]} floats:")
        for precision, duration, memory_mb, _ in results:
            print(
                f"  {precision}: {duration:.1f} s, {row_by_row_s / duration:.1f} times as fast as row by row "
                f"({row_by_row_s:.0f} s), {duration / product_s:.2f} times the time of the float32 products alone "
                f"(half of all pairs, and queries x gallery: {product_s:.1f} s); {memory_mb:.0f} MiB"
            )


@pytest.mark.benchmark
def test_k_reciprocal_reranking(capsys):
    queries, gallery, _, _ = deeppatent_test()
    lines, options = [], {"k1": 20, "k2": 6, "lambda_value": 0.3, "k": TOP_K}
    num = len(queries) + len(gallery)
    matrices_mb = 3 * 4 * num**2 / 2**20
    rankings = []
    rows = torch.cat([queries, gallery])
    product_s = seconds_of_product(rows, rows)  # of half of all pairs
    del rows
    for top_n in (100, None):
        before_mb, start = peak_memory_mb(), time.perf_counter()
        rankings.append(k_reciprocal(queries, gallery, **options, top_n=top_n).indices)
        duration, memory_mb = time.perf_counter() - start, peak_memory_mb() - before_mb
        lines.append(
            f"  top_n {top_n}: {duration:.1f} s = {duration / product_s:.1f} times the float32 products of half of all "
            f"pairs; {memory_mb:.0f} MiB = {memory_mb / matrices_mb:.3f} of three matrices"
        )
    assert (rankings[0][:, 0] == rankings[1][:, 0]).double().mean() > 0.9  # few first places are beyond the best 100
    with capsys.disabled():
        print(f"\nk-reciprocal re-ranking of {num} drawings (three N x N matrices: {matrices_mb:.0f} MiB):")
        print("\n".join(lines))
