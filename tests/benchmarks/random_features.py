"""Features for benchmarks: clusters as large as DeepPatent's patents."""

import lzma
import os
from pathlib import Path

import pytest
import torch

LISTS = Path(__file__).parents[2].parent / "shared" / "data" / "deeppatent_lists"


def share_of_the_test() -> float:
    """BENCH_SHARE: how much of DeepPatent's test is taken, 0..1; a tenth where it is not set."""
    return float(os.environ.get("BENCH_SHARE", "0.1"))


def patents_of(name: str) -> torch.Tensor:
    """The patent of each line of a list of DeepPatent, int64, of as many lines as the share asks for."""
    path = LISTS / f"{name}.txt.xz"
    if not path.is_file():
        pytest.skip(f"{path} is not here")
    with lzma.open(path, "rt", encoding="utf-8") as file:
        patents = torch.tensor([int(line.rsplit(" ", 1)[1]) for line in file])
    return patents[patents <= share_of_the_test() * int(patents.max())]


def drawn(patents: torch.Tensor, width: int = 2048, *, seed: int) -> torch.Tensor:
    """A feature for each drawing, float32 (N, width): its patent's direction and as much that is its own."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(int(patents.max()) + 1, width, generator=generator)
    generator.manual_seed(seed)
    rows = torch.randn(len(patents), width, generator=generator)
    own = 0.7 + 1.6 * torch.rand(len(patents), 1, generator=generator)
    return rows.mul_(own).add_(centres[patents])


def deeppatent_test(width: int = 2048) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Queries, gallery, and the patents of both."""
    query_patents, gallery_patents = patents_of("test_query_patent"), patents_of("test_db_patent")
    return drawn(query_patents, width, seed=1), drawn(gallery_patents, width, seed=2), query_patents, gallery_patents
