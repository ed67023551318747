"""Speed of scoring relative to sorting the gallery of each query, and its growth with the gallery.

Random distances are sampled block by block and timed separately, instead of the matrix product of features.
BENCH_SHARE=1 uses DeepPatent's whole test.
"""

import resource
import time

import numpy as np
import pytest
import torch
from random_features import load_patents

from fastreid.evaluation import GroundTruth, ScoreSettings
from fastreid.evaluation.scoring.score_queries import score_distance_blocks

DISTANCES_PER_BLOCK = 1 << 24  # for every gallery size
TIMED_QUERIES = 200  # queries timed with sorting; all queries take the same time
CASES = (  # multiple of the gallery, settings; the peak memory of the process can only rise from case to case
    (1, ScoreSettings()),
    (2, ScoreSettings()),
    (4, ScoreSettings()),
    (1, ScoreSettings(patent_distance="mean")),
    (1, ScoreSettings(roc=True)),
)


def random_blocks(num_queries, num_gallery, durations):
    """Yield (rows, random distances) in blocks; append the time of sampling each block to `durations`."""
    buffer = torch.empty(max(1, DISTANCES_PER_BLOCK // num_gallery), num_gallery)
    generator = torch.Generator().manual_seed(0)
    for rows in torch.arange(num_queries).split(len(buffer)):
        start = time.perf_counter()
        block = buffer[: len(rows)].uniform_(generator=generator)
        durations.append(time.perf_counter() - start)
        yield rows, block


def seconds_of_sorting(query_patents, gallery_patents):
    """Return the time of sorting the gallery of each query for its average precision, as in fast-reid."""
    distances = np.random.default_rng(0).random(len(gallery_patents), dtype=np.float32)
    start = time.perf_counter()
    for patent in query_patents[:TIMED_QUERIES]:
        is_match = gallery_patents[distances.argsort()] == patent
        precisions = is_match.cumsum() / np.arange(1, len(is_match) + 1)
        (precisions * is_match).sum() / is_match.sum()
        is_match[:50].cumsum()
    return (time.perf_counter() - start) / TIMED_QUERIES * len(query_patents)


@pytest.mark.benchmark
def test_time_and_memory_of_scoring(capsys):
    query_patents, gallery_patents = (load_patents(f"test_{side}_patent").numpy() for side in ("query", "db"))
    lines, before_mb = [], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    for times, settings in CASES:
        # Other patents fill the larger gallery.
        others = gallery_patents.max() + 1 + np.arange((times - 1) * len(gallery_patents)) // 7
        truth = GroundTruth(query_patents, np.concatenate([gallery_patents, others]))
        sampling, start = [], time.perf_counter()
        scores = score_distance_blocks(random_blocks(len(query_patents), truth.num_gallery, sampling), truth, settings)
        scoring_s = time.perf_counter() - start - sum(sampling)
        start = time.perf_counter()
        scores.intervals()
        intervals_s = time.perf_counter() - start
        assert np.array_equal(scores.num_matches, np.bincount(gallery_patents)[query_patents])
        memory_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before_mb
        sorting_s = seconds_of_sorting(query_patents, np.concatenate([gallery_patents, others]))
        lines.append(
            f"  {truth.num_queries} x {truth.num_gallery}, {settings.patent_distance}"
            f"{', TPR' if settings.roc else ''}: {scoring_s:.1f} s, {sorting_s / scoring_s:.1f} times as fast as "
            f"sorting ({sorting_s:.1f} s); sampling {sum(sampling):.1f} s, intervals {intervals_s:.1f} s; peak so far "
            f"{memory_mb:.0f} MiB"
        )
    with capsys.disabled():
        print("\nall scores of given distances:\n" + "\n".join(lines))
