"""Random features for benchmarks, in clusters of the sizes of DeepPatent's patents."""

import lzma
import os
from collections.abc import Iterator
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


class NetworkFeatures:
    """Random unit features with the statistics of those of a trained network, generated in blocks.

    Measured with the default model on 706 drawings of 544 design patents: the mean feature has a norm of 0.42, the
    variances of the principal components fall with their rank, and cosines are 0.58 +- 0.2 within a patent and
    0.18 +- 0.12 between patents. Independent components, as in `sample_features`, have nothing that an index could use.

    Args:
        num: number of drawings.
        width: number of values of a feature.

    Attributes:
        patents: patent of each drawing, int64 (num,), in patents of the sizes of DeepPatent's.
    """

    _SIZES = (1, 2, 3, 3, 4, 5, 6, 7, 8, 10, 13)  # of the patents of DeepPatent, in steps of equal frequency
    _MEAN, _CENTERS = 0.18, 0.42  # parts of the square of the norm; the rest differs between drawings of a patent

    def __init__(self, num: int, width: int):
        self._width = width
        self._generator = torch.Generator().manual_seed(0)
        sizes = torch.tensor(self._SIZES)[torch.randint(len(self._SIZES), (num,), generator=self._generator)]
        self.patents = torch.arange(num).repeat_interleave(sizes)[:num].clone()
        scales = (torch.arange(width) + 2.0).rsqrt()
        self._scales = scales / scales.norm()
        self._offset = torch.nn.functional.normalize(torch.randn(width, generator=self._generator), dim=0)

    def iter_blocks(self, rows_per_block: int = 50_000) -> Iterator[tuple[int, torch.Tensor]]:
        """Yield (first row, features float32 (n, width)) of all drawings."""
        for start in range(0, len(self.patents), rows_per_block):
            yield start, self.sample_block(start, start + rows_per_block)

    def sample_block(self, first: int, last: int) -> torch.Tensor:
        """Return features of the rows first..last, float32 (n, width)."""
        return self._sample(self.patents[first:last], seed=first + 1)

    def sample_queries(self, num: int) -> torch.Tensor:
        """Return features of other drawings of random patents, float32 (num, width)."""
        generator = torch.Generator().manual_seed(0)
        rows = torch.randint(len(self.patents), (num,), generator=generator)
        return torch.cat([self._sample(self.patents[row : row + 1], seed=-1 - row) for row in rows.tolist()])

    def _sample(self, patents: torch.Tensor, *, seed: int) -> torch.Tensor:
        names, positions = patents.unique(return_inverse=True)
        centers = torch.stack(
            [torch.randn(self._width, generator=self._generator.manual_seed(int(name))) for name in names]
        )
        self._generator.manual_seed(1_000_000_007 + seed)
        spread = 0.2 + 1.5 * torch.rand(len(patents), 1, generator=self._generator)  # some views differ much more
        noise = spread * torch.randn(len(patents), self._width, generator=self._generator)
        noise *= (1 - self._MEAN - self._CENTERS) ** 0.5
        values = (centers[positions] * self._CENTERS**0.5 + noise) * self._scales + self._offset * self._MEAN**0.5
        return torch.nn.functional.normalize(values)
