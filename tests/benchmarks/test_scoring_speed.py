"""Scoring beside sorting each query's gallery, in one run, and how it grows with the gallery.

Distances are drawn as they are scored, and the drawing is timed apart: the product would stand in its place.
BENCH_SHARE=1 takes DeepPatent's whole test.
"""

import resource
import time

import numpy as np
import pytest
import torch
from random_features import patents_of

from fastreid.evaluation import GroundTruth, ScoreSettings
from fastreid.evaluation.scoring.score_queries import score_distance_blocks

_ROOM = 1 << 24  # distances at a time, whatever the gallery
TIMED_QUERIES = 200  # of the sorting way; every query takes the same time, so these stand for all
CASES = (  # times the gallery, and choices that change the work; the most that was held only rises from case to case
    (1, ScoreSettings()),
    (2, ScoreSettings()),
    (4, ScoreSettings()),
    (1, ScoreSettings(patent_distance="mean")),
    (1, ScoreSettings(roc=True)),
)


def random_blocks(num_queries, num_gallery, spent):
    """Blocks of random distances; the seconds of making them are added to `spent`."""
    room = torch.empty(max(1, _ROOM // num_gallery), num_gallery)
    generator = torch.Generator().manual_seed(0)
    for rows in torch.arange(num_queries).split(len(room)):
        start = time.perf_counter()
        block = room[: len(rows)].uniform_(generator=generator)
        spent[0] += time.perf_counter() - start
        yield rows, block


def seconds_of_sorting(query_patents, gallery_patents):
    """Each query's gallery sorted and its average precision taken from all of it, as fast-reid does."""
    distances = np.random.default_rng(0).random(len(gallery_patents), dtype=np.float32)
    start = time.perf_counter()
    for patent in query_patents[:TIMED_QUERIES]:
        right = gallery_patents[distances.argsort()] == patent
        shares = right.cumsum() / np.arange(1, len(right) + 1)
        (shares * right).sum() / right.sum()
        right[:50].cumsum()
    return (time.perf_counter() - start) / TIMED_QUERIES * len(query_patents)


@pytest.mark.benchmark
def test_scoring_is_linear_in_time_and_flat_in_memory(capsys):
    query_patents, gallery_patents = (patents_of(f"test_{side}_patent").numpy() for side in ("query", "db"))
    lines, held = [], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    for times, settings in CASES:
        # Others' drawings fill up the gallery, as they would in a larger one.
        more = gallery_patents.max() + 1 + np.arange((times - 1) * len(gallery_patents)) // 7
        truth = GroundTruth(query_patents, np.concatenate([gallery_patents, more]))
        spent, start = [0.0], time.perf_counter()
        scores = score_distance_blocks(random_blocks(len(query_patents), truth.num_gallery, spent), truth, settings)
        scored = time.perf_counter() - start - spent[0]
        start = time.perf_counter()
        scores.intervals()
        drawn = time.perf_counter() - start
        beside = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - held
        sorting = seconds_of_sorting(query_patents, np.concatenate([gallery_patents, more]))
        lines.append(
            f"  {truth.num_queries} x {truth.num_gallery}, {settings.patent_distance}"
            f"{', accept rates' if settings.roc else ''}: {scored:.1f} s, sorting {sorting:.1f} s = "
            f"{sorting / scored:.1f} times; drawing {spent[0]:.1f} s, intervals {drawn:.1f} s; "
            f"{beside:.0f} MiB more at the most so far"
        )
    with capsys.disabled():
        print("\nall scores of ready distances:\n" + "\n".join(lines))
