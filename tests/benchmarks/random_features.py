"""Random features for benchmarks, in clusters of the sizes of DeepPatent's patents."""

import lzma
import os
from pathlib import Path

import pytest
import torch

LISTS = Path(__file__).parents[2].parent / "shared" / "data" / "deeppatent_lists"


def bench_share() -> float:
    """Return the share of DeepPatent's test to use, 0..1: BENCH_SHARE, or a tenth if it is not set."""
    return float(os.environ.get("BENCH_SHARE", "0.1"))


def load_patents(name: str) -> torch.Tensor:
    """Return the patent of each line of a list of DeepPatent, int64 (N,), for the share of `bench_share`."""
    path = LISTS / f"{name}.txt.xz"
    if not path.is_file():
        pytest.skip(f"{path} does not exist")
    with lzma.open(path, "rt", encoding="utf-8") as file:
        patents = torch.tensor([int(line.rsplit(" ", 1)[1]) for line in file])
    return patents[patents <= bench_share() * int(patents.max())]


def sample_features(patents: torch.Tensor, width: int = 2048, *, seed: int) -> torch.Tensor:
    """Sample a feature for each drawing, float32 (N, width): the center of its patent plus noise of similar size."""
    generator = torch.Generator().manual_seed(0)
    centers = torch.randn(int(patents.max()) + 1, width, generator=generator)
    generator.manual_seed(seed)
    rows = torch.randn(len(patents), width, generator=generator)
    noise = 0.7 + 1.6 * torch.rand(len(patents), 1, generator=generator)
    return rows.mul_(noise).add_(centers[patents])


def deeppatent_test(width: int = 2048) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return features (Q, width) and (G, width) of queries and gallery, and the patents of both."""
    query_patents, gallery_patents = load_patents("test_query_patent"), load_patents("test_db_patent")
    queries, gallery = sample_features(query_patents, width, seed=1), sample_features(gallery_patents, width, seed=2)
    return queries, gallery, query_patents, gallery_patents
