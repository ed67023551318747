"""Exact nearest neighbors, computed block by block within a memory budget.

A fast product selects candidates with a margin. A proven bound on its rounding error shows for each query whether
another row can be among its nearest. Such an unresolved query (many rows at nearly the same distance) is searched again
with the next method: bfloat16, then float32, then brute force. The order is that of the candidates' exact
distances, so the result does not depend on blocks, precision, engine or device.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from fastreid.config import legacy_names
from fastreid.evaluation.features import MIB, FeatureArray, as_features, check_count, iter_slices
from fastreid.evaluation.search.candidates import Candidates, Scan, topk_per_row, topk_products
from fastreid.evaluation.search.metric_space import CosineSpace, EuclideanSpace, InnerProductSpace, MetricSpace
from fastreid.evaluation.search.order import topk_by_distance
from fastreid.evaluation.search.passes import PRECISIONS, CandidatePass, build_bfloat16_pass, build_float32_pass
from fastreid.structures import Ranking
from fastreid.utils.errors import EnvironmentSetupError, InputError
from fastreid.utils.registry import Registry

_MAX_BLOCK_ROWS = 2048  # of exact distances
_MAX_FAISS_GPU_K = 2048  # limit of faiss

DistanceBlock = tuple[Tensor, Tensor]  # query rows int64 (B,) and their distances to the whole gallery, float32 (B, G)
CandidateSearch = Callable[[Scan, int, int], Candidates]  # takes a scan, k and the number of products kept per query


def nearest(
    queries: FeatureArray,
    gallery: FeatureArray,
    k: int,
    *,
    metric: str = "cosine",
    memory_mb: int = 1024,
    engine: str = "torch",
    precision: str = "auto",
) -> Ranking:
    """Return the k nearest gallery rows for each query; the search is exact, and ties are ordered by row.

    A distance is that of the two float32 rows, computed in float64 and rounded to float32. Distances and ranking are
    the same for every memory budget, engine, precision and device.

    Args:
        queries: floats (Q, D); converted to float32.
        gallery: floats (G, D), with the width and device of the queries; converted to float32. float32 features are not
            copied. A memory-mapped gallery (`numpy.load(path, mmap_mode="r")`) is read once for every few thousand
            queries and need not fit in memory.
        k: number of neighbors, at least 1; if it exceeds G, the whole gallery is returned.
        metric: "cosine" (one minus the cosine, 0..2), "euclidean" (the SQUARED Euclidean distance, as in fast-reid's
            evaluation) or "inner_product" (the negative inner product).
        memory_mb: working memory in MiB. The features and up to k + 96 candidates per query, 12 bytes each, need
            additional memory.
        engine: "torch" or "faiss" (on a GPU with faiss-gpu); it searches the candidates.
        precision: precision of the candidate search: "float32"; "bfloat16", if bfloat16 rows fit in half the memory,
            with float32 for unresolved queries; or "auto", bfloat16 where it is faster.

    Returns:
        A ranking with indices and distances (Q, min(k, G)).

    Raises:
        InputError: features that differ in width, are empty or not floats; k or memory_mb below 1; an unknown metric,
            engine or precision.
        NumericalError: a row contains NaN or Inf, or is all zero.
        EnvironmentSetupError: engine "faiss" without the package faiss-cpu.
    """
    check_count("k", k)
    space = build_metric_space(queries, gallery, metric)
    return find_neighbors(space, k, memory_mb=memory_mb, engine=engine, precision=precision)


def build_metric_space(queries: FeatureArray, gallery: FeatureArray, metric: str) -> MetricSpace:
    """Validate features and return them with their metric.

    Args:
        queries: floats (Q, D).
        gallery: floats (G, D).
        metric: a name in METRICS.

    Raises:
        InputError: the features are empty or not floats, their widths differ, or the metric is unknown.
        NumericalError: a row contains NaN or Inf.
    """
    space_class = METRICS.get(metric)
    rows = as_features(queries, "queries")
    return space_class(rows, rows if gallery is queries else as_features(gallery, "the gallery"))


def find_neighbors(
    space: MetricSpace, k: int, *, memory_mb: int, engine: str = "torch", precision: str = "auto"
) -> Ranking:
    """Return the k nearest gallery rows for each query, as `nearest` does for features.

    If queries and gallery are the same object, only half of the products are computed.
    """
    check_count("memory_mb", memory_mb)
    search_candidates = ENGINES.get(engine)()
    check_precision(precision)
    k = min(k, len(space.gallery))
    bf16_pass = None
    if engine == "torch" and precision != "float32" and not _brute_force_is_cheaper(space, k):
        bf16_pass = build_bfloat16_pass(space, k, memory_mb=memory_mb, force=precision == "bfloat16")
    if bf16_pass is None:
        return _search_in_float32(space, k, memory_mb=memory_mb, search_candidates=search_candidates)
    ranking, unresolved = _refine(space, bf16_pass, k, search_candidates=search_candidates)
    del bf16_pass  # frees its rows before float32 rows are prepared
    if len(unresolved):
        rest = _search_in_float32(
            space.select_queries(unresolved), k, memory_mb=memory_mb, search_candidates=search_candidates
        )
        _scatter_results(ranking, unresolved, rest)
    return ranking


def check_precision(precision: str) -> None:
    """Check that the precision is one of PRECISIONS.

    Raises:
        InputError: it is not.
    """
    if precision not in PRECISIONS:
        raise InputError(f"precision must be one of {', '.join(PRECISIONS)}, not {precision!r}")


def self_first(indices: Tensor, rows: Tensor) -> Tensor:
    """Move each row to the front of its neighbors; if it is missing, it replaces the last neighbor.

    A row has distance 0 to itself, so only equally near rows are reordered and the distances remain valid.

    Args:
        indices: int64 (N, k), neighbors of rows that were searched among themselves.
        rows: int64 (N,), the rows whose neighbors these are.
    """
    is_other = indices != rows[:, None]
    is_other[:, -1] &= ~is_other.all(dim=1)
    kept = torch.cat([torch.ones_like(is_other[:, :1]), is_other], dim=1)
    return torch.cat([rows[:, None], indices], dim=1)[kept].view_as(indices)


class TopKAccumulator:
    """Collects the k nearest gallery rows of queries from distance blocks in any order.

    Args:
        k: number of neighbors.
    """

    def __init__(self, k: int):
        self.k = k
        self._queries: list[Tensor] = []
        self._parts: list[tuple[Tensor, Tensor]] = []

    def update(self, queries: Tensor, distances: Tensor) -> None:
        """Add a block.

        Args:
            queries: int64 (B,), query rows.
            distances: float32 (B, G), distances to the whole gallery.
        """
        columns = torch.arange(distances.shape[1], device=distances.device)
        self._queries.append(queries)
        self._parts.append(topk_by_distance(distances, columns, self.k))

    def ranking(self) -> Ranking:
        """Return the ranking of the queries so far, ordered by query row."""
        by_row = torch.cat(self._queries).argsort()
        distances, rows = (torch.cat(column)[by_row] for column in zip(*self._parts))
        return Ranking(rows, distances)


def topk_of_blocks(blocks: Iterable[DistanceBlock], k: int) -> Ranking:
    """Return the k nearest gallery rows of the queries in the blocks, ordered by query row."""
    accumulator = TopKAccumulator(k)
    for queries, distances in blocks:
        accumulator.update(queries, distances)
    return accumulator.ranking()


def iter_distance_blocks(space: MetricSpace, *, memory_mb: int, rows: Tensor | None = None) -> Iterator[DistanceBlock]:
    """Yield the exact distances from some queries at a time to the whole gallery.

    Args:
        space: queries, gallery and metric.
        memory_mb: working memory in MiB; B is chosen so that a block can also be sorted within it.
        rows: int64 (n,), queries to compute, in this order; None: all queries.

    Yields:
        Query rows, int64 (B,), and their distances, float32 (B, G).
    """
    check_count("memory_mb", memory_mb)
    num_gallery, half = len(space.gallery), memory_mb * MIB // 2
    block = min(_MAX_BLOCK_ROWS, max(1, half // (40 * num_gallery + 24 * space.width)))
    tile = min(_MAX_BLOCK_ROWS, max(1, half // (40 * block + 24 * space.width)))
    device = space.query_norms.device
    rows = torch.arange(len(space.queries), device=device) if rows is None else rows.to(device)
    for part in torch.split(rows, block):
        distances = torch.empty(len(part), num_gallery, device=rows.device)
        for columns in iter_slices(num_gallery, tile):
            distances[:, columns] = space.distances(part, columns)
        yield part, distances


def _search_in_float32(space: MetricSpace, k: int, *, memory_mb: int, search_candidates: CandidateSearch) -> Ranking:
    if _brute_force_is_cheaper(space, k):
        rows = torch.arange(len(space.queries), device=space.queries.device)
        return _search_brute_force(space, rows, k, memory_mb=memory_mb)
    ranking, unresolved = _refine(
        space, build_float32_pass(space, k, memory_mb=memory_mb), k, search_candidates=search_candidates
    )
    if len(unresolved):
        _scatter_results(ranking, unresolved, _search_brute_force(space, unresolved, k, memory_mb=memory_mb))
    return ranking


def _brute_force_is_cheaper(space: MetricSpace, k: int) -> bool:
    """Return whether computing all distances costs no more than computing those of the candidates."""
    return 4 * (k + 24) >= len(space.gallery)


def _search_brute_force(space: MetricSpace, rows: Tensor, k: int, *, memory_mb: int) -> Ranking:
    return topk_of_blocks(iter_distance_blocks(space, memory_mb=memory_mb, rows=rows), k)


def _refine(
    space: MetricSpace, candidate_pass: CandidatePass, k: int, *, search_candidates: CandidateSearch
) -> tuple[Ranking, Tensor]:
    """Rank the candidates of a pass by their exact distances.

    Returns:
        The ranking, and the unresolved queries, int64 (n,): those that may have more possible neighbors than
        candidates.
    """
    scan = candidate_pass.scan
    values, rows = search_candidates(scan, k, k + candidate_pass.margin)
    is_possible = values >= scan.thresholds(slice(None), values[:, k - 1])[:, None]
    queries, columns = is_possible.nonzero(as_tuple=True)
    distances = torch.full_like(values, math.inf)
    distances[queries, columns] = space.pair_distances(queries, rows[queries, columns])
    distances, rows = topk_by_distance(distances, rows.clamp(min=0), k)
    return Ranking(rows, distances), is_possible[:, -1].nonzero().flatten()


def _scatter_results(ranking: Ranking, queries: Tensor, results: Ranking) -> None:
    """Overwrite the rows of some queries; the ranking must not be shared with a caller yet."""
    ranking.indices[queries], ranking.distances[queries] = results.indices, results.distances


def _build_torch_engine() -> CandidateSearch:
    return topk_products


def _build_faiss_engine() -> CandidateSearch:
    try:
        import faiss
    except ImportError:
        raise EnvironmentSetupError(
            "engine 'faiss' needs the package faiss-cpu: pip install faiss-cpu, or use engine 'torch'"
        )

    on_gpu = faiss.get_num_gpus() > 0 if hasattr(faiss, "get_num_gpus") else False
    resources = faiss.StandardGpuResources() if on_gpu else None

    def search(left: NDArray[Any], right: NDArray[Any], width: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the largest products and their rows, (B, width)."""
        if resources is not None and width <= _MAX_FAISS_GPU_K:
            products, rows = faiss.knn_gpu(resources, left, right, width, metric=faiss.METRIC_INNER_PRODUCT)
        else:
            products, rows = faiss.knn(left, right, width, metric=faiss.METRIC_INNER_PRODUCT)
        return products, rows

    def search_candidates(scan: Scan, k: int, width: int) -> Candidates:
        parts = []
        for query_rows in iter_slices(scan.num_queries, scan.block):
            left = scan.queries(query_rows)
            merged: list[Candidates] = []
            for gallery_rows in iter_slices(scan.num_gallery, scan.block):
                right = scan.gallery(gallery_rows)
                products, indices = search(left.cpu().numpy(), right.cpu().numpy(), min(width, len(right)))
                merged.append((torch.from_numpy(products), torch.from_numpy(indices) + gallery_rows.start))
                values, columns = topk_per_row(torch.cat([values for values, _ in merged], dim=1), width)
                merged = [(values, torch.cat([rows for _, rows in merged], dim=1).gather(1, columns))]
            parts += merged
        device = scan.error_bound.device
        return torch.cat([part[0] for part in parts]).to(device), torch.cat([part[1] for part in parts]).to(device)

    return search_candidates


METRICS: Registry[type[MetricSpace]] = Registry(
    "metric",
    {"cosine": CosineSpace, "euclidean": EuclideanSpace, "inner_product": InnerProductSpace},
    substitutes=legacy_names.METRICS,
)
ENGINES: Registry[Callable[[], CandidateSearch]] = Registry(
    "search engine", {"torch": _build_torch_engine, "faiss": _build_faiss_engine}
)
