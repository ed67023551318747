"""The challenge's test from features on, beside its formulas one row at a time, in one run: `make bench` prints ratios.

Features are drawn with the patents of DeepPatent's own test lists. BENCH_SHARE=1 takes them all (13,133 queries, 38,834
drawings, several minutes and 4 GiB); by itself it takes a tenth of the patents.
"""

import resource
import statistics
import time

import pytest
import torch
from random_features import deeppatent_test

from fastreid.evaluation import expand, k_reciprocal, nearest

TIMED_ROWS = 60  # of the row-by-row way; every row takes the same time, so these stand for all
TOP_K = 10


def seconds(work) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def held_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def row_by_row(queries, gallery) -> float:
    """Seconds that expansion of all rows and then the search take, one row at a time as the reference goes."""
    rows = torch.cat([queries, gallery])
    unit = torch.nn.functional.normalize(rows)

    def expand_one(row):
        best, indices = (unit @ unit[row]).sort(descending=True)
        (best[:5, None].clamp(min=0) ** 2 * rows[indices[:5]]).sum(0) / 5

    def search_one(row):
        (1 - unit[len(queries) :] @ unit[row]).argsort()[:TOP_K]

    chosen = torch.linspace(0, len(queries) - 1, TIMED_ROWS).long().tolist()
    expanding = statistics.median(seconds(lambda row=row: expand_one(row)) for row in chosen)
    searching = statistics.median(seconds(lambda row=row: search_one(row)) for row in chosen)
    return expanding * len(rows) + searching * len(queries)


def bare_product(left, right) -> float:
    """Seconds of the float32 product of two sets, block by block into one and the same room; of a set with itself half."""
    room = torch.empty(4096, 4096)

    def work():
        for first, rows in enumerate(left.split(4096)):
            for columns in right.split(4096)[first if left is right else 0 :]:
                torch.mm(rows, columns.T, out=room[: len(rows), : len(columns)].view(len(rows), len(columns)))

    return seconds(work)


@pytest.mark.benchmark
def test_the_challenge_s_test_beside_row_by_row(capsys):
    queries, gallery, _, _ = deeppatent_test()
    rows = torch.cat([queries, gallery])
    product = bare_product(rows, rows) + bare_product(queries, gallery)
    del rows
    lines = []
    for precision in ("float32", "auto"):
        held = held_mib()
        start = time.perf_counter()
        found = nearest(*expand(queries, gallery, k=5, alpha=2.0, precision=precision), TOP_K, precision=precision)
        ours = time.perf_counter() - start
        lines.append((precision, ours, held_mib() - held, found))
    slow = row_by_row(queries, gallery)
    assert torch.equal(lines[0][3].indices, lines[1][3].indices)
    with capsys.disabled():
        print(f"\ntop-{TOP_K} with AQE and DBA, {len(queries)} x {len(gallery)} x {queries.shape[1]} floats:")
        for precision, ours, beside, _ in lines:
            print(
                f"  {precision}: {ours:.1f} s; row by row {slow:.0f} s = {slow / ours:.1f} times; the bare float32 "
                f"products it needs (half of all pairs, and queries x database) {product:.1f} s = {ours / product:.2f} "
                f"of them; {beside:.0f} MiB more at the most"
            )


@pytest.mark.benchmark
def test_re_ranking_of_the_challenge_s_test(capsys):
    queries, gallery, _, _ = deeppatent_test()
    lines = []
    for top_n in (100, None):
        held = held_mib()
        taken = seconds(lambda n=top_n: k_reciprocal(queries, gallery, k1=20, k2=6, lambda_value=0.3, k=TOP_K, top_n=n))
        lines.append(f"  {'all' if top_n is None else top_n} of each: {taken:.1f} s, {held_mib() - held:.0f} MiB more")
    num, square = len(queries) + len(gallery), 3 * 4 * (len(queries) + len(gallery)) ** 2 / 2**30
    with capsys.disabled():
        print(f"\nk-reciprocal re-ranking over {num} drawings (three N x N arrays would be {square:.0f} GiB):")
        print("\n".join(lines))
