"""Expansion in blocks against the same formula one row at a time, in one run: `make bench` prints the ratio.

CPU seconds, since other work on the machine bends the clock's.
Features are drawn in clusters of a few drawings, as patents have them. EXPANSION_ROWS and EXPANSION_WIDTH give other
sizes than the 8,000 x 2,048 it takes by itself.
"""

import os
import resource
import time

import pytest
import torch

from fastreid.evaluation import expand

ROWS, WIDTH = int(os.environ.get("EXPANSION_ROWS", "8000")), int(os.environ.get("EXPANSION_WIDTH", "2048"))
TIMED_ROWS = 100  # of the row-by-row way; its time grows with the rows, so these stand for all


def drawn_features():
    generator = torch.Generator().manual_seed(0)
    patents = torch.randint(0, ROWS // 7 + 1, (ROWS,), generator=generator)
    centres = torch.randn(ROWS // 7 + 1, WIDTH, generator=generator)
    return centres[patents] + torch.randn(ROWS, WIDTH, generator=generator)


def expand_row_by_row(rows, unit, chosen, *, k, alpha):
    expanded = []
    for row in chosen:
        cosines = unit @ unit[row]
        best, indices = cosines.sort(descending=True)
        expanded.append((best[:k, None].clamp(min=0) ** alpha * rows[indices[:k]]).sum(0) / k)
    return torch.stack(expanded)


@pytest.mark.benchmark
def test_expansion_in_blocks_is_many_times_faster_than_row_by_row(capsys):
    rows = drawn_features()
    num_queries = ROWS // 4
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    found = torch.cat(expand(rows[:num_queries], rows[num_queries:], k=5, alpha=2.0))
    blocked = time.process_time() - start
    beside = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - held) / 1024

    unit = torch.nn.functional.normalize(rows)
    chosen = torch.linspace(0, ROWS - 1, TIMED_ROWS).long()
    start = time.process_time()
    wanted = expand_row_by_row(rows, unit, chosen, k=5, alpha=2.0)
    by_row = (time.process_time() - start) * ROWS / TIMED_ROWS
    start = time.process_time()
    for block in unit.split(4096):
        block @ unit.T
    product = time.process_time() - start

    torch.testing.assert_close(found[chosen], wanted, rtol=0, atol=1e-4)
    with capsys.disabled():
        print(
            f"\nexpand {ROWS} x {WIDTH}, {torch.get_num_threads()} threads: {blocked:.1f} CPU s in blocks, "
            f"{by_row:.1f} s row by row = {by_row / blocked:.1f} times; the bare product {product:.1f} s = "
            f"{blocked / product:.2f} of it; {beside:.0f} MiB beside the features"
        )
