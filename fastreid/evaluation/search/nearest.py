"""Exact nearest neighbours, block by block within a memory budget.

A quick product chooses candidates, with a margin; a proven bound on its rounding says for each query whether another
row can be among its nearest. A query for which it can (many rows at nearly one distance) goes to the next pass: from
bfloat16 to float32, and from there to the distances of all rows. The candidates' exact distances make the order, so
the answer depends on neither blocks, precision, engine nor device.
"""

import math
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

from fastreid.evaluation.features import MIB, Features, as_features, check_count, slices
from fastreid.evaluation.search import order
from fastreid.evaluation.search.candidates import Candidates, Scan, largest, largest_products
from fastreid.evaluation.search.metric_space import CosineSpace, EuclideanSpace, InnerProductSpace, Space
from fastreid.evaluation.search.passes import PRECISIONS, Pass, bfloat16_pass, float32_pass
from fastreid.structures import Ranking
from fastreid.utils.errors import EnvironmentSetupError, InputError
from fastreid.utils.registry import Registry

_LARGEST_BLOCK = 2048  # rows of whole distances
_MOST_OF_FAISS_ON_A_GPU = 2048  # neighbours

Block = tuple[Tensor, Tensor]  # queries' rows, int64 (B,), and their distances to the whole gallery, float32 (B, G)
CandidatesOf = Callable[[Scan, int, int], Candidates]  # of a scan, k and the products to keep a query


def nearest(
    queries: Features | np.ndarray,
    gallery: Features | np.ndarray,
    k: int,
    *,
    metric: str = "cosine",
    memory_mb: int = 1024,
    engine: str = "torch",
    precision: str = "auto",
) -> Ranking:
    """The k rows of the gallery nearest to each query: exact, equal distances in order of their rows.

    A distance is that of the two float32 rows, worked out in float64 and rounded to float32; it and the ranking are
    the same for every memory budget, engine, precision and device.

    Args:
        queries: floats (Q, D); taken as float32.
        gallery: floats (G, D), as wide as the queries and on the same device; taken as float32. float32 features are
            not copied; those in a mapped file (`numpy.load(path, mmap_mode="r")`) are read through once for each
            few thousand queries and need not fit in memory.
        k: neighbours a query, at least 1; more than the gallery holds gives the whole gallery.
        metric: "cosine" (one minus the cosine, 0..2), "euclidean" (the SQUARED Euclidean distance, as the reference's
            evaluation has it) or "inner_product" (minus the product).
        memory_mb: MiB to work in, beside the features and up to k + 96 candidates a query with their rows, 12 bytes each.
        engine: "torch" or "faiss" (on a GPU with faiss-gpu): who chooses the candidates.
        precision: of the product that chooses them: "float32"; "bfloat16" first, where its rows fit in half the memory;
            or "auto": bfloat16 first where that pays.

    Returns:
        A ranking with indices and distances (Q, min(k, G)).

    Raises:
        InputError: features of other widths, empty, or not floats; k or memory_mb below 1; unknown metric, engine or
            precision.
        NumericalError: a row is NaN, Inf or zero.
        EnvironmentSetupError: engine "faiss" without the package faiss-cpu.
    """
    check_count("k", k)
    space = open_space(queries, gallery, metric)
    return neighbours(space, k, memory_mb=memory_mb, engine=engine, precision=precision)


def open_space(queries: Features | np.ndarray, gallery: Features | np.ndarray, metric: str) -> Space:
    """The checked features under a metric of the table."""
    make = METRICS.get(metric)
    rows = as_features(queries, "queries")
    return make(rows, rows if gallery is queries else as_features(gallery, "the gallery"))


def neighbours(space: Space, k: int, *, memory_mb: int, engine: str = "torch", precision: str = "auto") -> Ranking:
    """`nearest` for features that are checked already; a set searched in itself costs half the product."""
    check_count("memory_mb", memory_mb)
    candidates_of = ENGINES.get(engine)()
    check_precision(precision)
    k = min(k, len(space.gallery))
    narrow = None
    if engine == "torch" and precision != "float32" and not _few(space, k):
        narrow = bfloat16_pass(space, k, memory_mb=memory_mb, insist=precision == "bfloat16")
    if narrow is None:
        return _in_float32(space, k, memory_mb=memory_mb, candidates_of=candidates_of)
    found, crowded = _settled(space, narrow, k, candidates_of=candidates_of)
    del narrow  # its rows; those in float32 take their place
    if len(crowded):
        rest = _in_float32(space.of_queries(crowded), k, memory_mb=memory_mb, candidates_of=candidates_of)
        _amend(found, crowded, rest)
    return found


def check_precision(precision: str) -> None:
    """Refuse a precision that is none of PRECISIONS."""
    if precision not in PRECISIONS:
        raise InputError(f"precision (TEST.PRECISION) is {', '.join(PRECISIONS)}, not {precision!r}")


def own_first(indices: Tensor, own: Tensor) -> Tensor:
    """Neighbours (N, k) of rows searched among themselves, each row before its twins, the last one left out for it.

    A row is 0 from itself, so only rows equally near change places and the distances stay as they are.
    """
    others = indices != own[:, None]
    others[:, -1] &= ~others.all(dim=1)
    kept = torch.cat([torch.ones_like(others[:, :1]), others], dim=1)
    return torch.cat([own[:, None], indices], dim=1)[kept].view_as(indices)


class Firsts:
    """The k nearest of queries whose distances come block by block, in any order."""

    def __init__(self, k: int):
        self.k = k
        self._queries: list[Tensor] = []
        self._parts: list[tuple[Tensor, Tensor]] = []

    def take(self, queries: Tensor, distances: Tensor) -> None:
        """Take in the rows of some queries, int64 (B,), and their distances to the whole gallery, (B, G)."""
        columns = torch.arange(distances.shape[1], device=distances.device)
        self._queries.append(queries)
        self._parts.append(order.first(distances, columns, self.k))

    def ranking(self) -> Ranking:
        """Of all queries taken in, in the order of their rows."""
        by_row = torch.cat(self._queries).argsort()
        distances, rows = (torch.cat(column)[by_row] for column in zip(*self._parts))
        return Ranking(rows, distances)


def first_of(blocks: Iterable[Block], k: int) -> Ranking:
    """The k nearest of the queries of some blocks, in the order of the queries' rows."""
    firsts = Firsts(k)
    for queries, distances in blocks:
        firsts.take(queries, distances)
    return firsts.ranking()


def distance_blocks(space: Space, *, memory_mb: int, rows: Tensor | None = None) -> Iterator[Block]:
    """The exact distances of the queries (or of the given rows of them) to the whole gallery, some queries at a time.

    Yields:
        The queries' rows, int64 (B,), and their distances, float32 (B, G). B leaves room to sort the block.
    """
    check_count("memory_mb", memory_mb)
    num_gallery, half = len(space.gallery), memory_mb * MIB // 2
    block = min(_LARGEST_BLOCK, max(1, half // (40 * num_gallery + 24 * space.width)))
    tile = min(_LARGEST_BLOCK, max(1, half // (40 * block + 24 * space.width)))
    device = space.query_norms.device
    rows = torch.arange(len(space.queries), device=device) if rows is None else rows.to(device)
    for part in rows.split(block):
        distances = torch.empty(len(part), num_gallery, device=rows.device)
        for stretch in slices(num_gallery, tile):
            distances[:, stretch] = space.distances(part, stretch)
        yield part, distances


def _in_float32(space: Space, k: int, *, memory_mb: int, candidates_of: CandidatesOf) -> Ranking:
    if _few(space, k):
        return _compare_all(
            space, torch.arange(len(space.queries), device=space.queries.device), k, memory_mb=memory_mb
        )
    found, crowded = _settled(space, float32_pass(space, k, memory_mb=memory_mb), k, candidates_of=candidates_of)
    if len(crowded):
        _amend(found, crowded, _compare_all(space, crowded, k, memory_mb=memory_mb))
    return found


def _few(space: Space, k: int) -> bool:
    """Whether all distances are as quickly worked out as those of the candidates."""
    return 4 * (k + 24) >= len(space.gallery)


def _compare_all(space: Space, rows: Tensor, k: int, *, memory_mb: int) -> Ranking:
    return first_of(distance_blocks(space, memory_mb=memory_mb, rows=rows), k)


def _settled(space: Space, found: Pass, k: int, *, candidates_of: CandidatesOf) -> tuple[Ranking, Tensor]:
    """The nearest among a pass's candidates, by their exact distances, and the queries they are not enough for."""
    values, rows = candidates_of(found.scan, k, k + found.margin)
    possible = values >= found.scan.floors(slice(None), values[:, k - 1])[:, None]
    queries, columns = possible.nonzero(as_tuple=True)
    distances = torch.full_like(values, math.inf)
    distances[queries, columns] = space.pair_distances(queries, rows[queries, columns])
    distances, rows = order.first(distances, rows.clamp(min=0), k)
    return Ranking(rows, distances), possible[:, -1].nonzero().flatten()


def _amend(found: Ranking, queries: Tensor, rest: Ranking) -> None:
    """Put the answers of some queries into a ranking that is still ours alone."""
    found.indices[queries], found.distances[queries] = rest.indices, rest.distances


def _by_torch() -> CandidatesOf:
    return largest_products


def _by_faiss() -> CandidatesOf:
    try:
        import faiss
    except ImportError:
        raise EnvironmentSetupError(
            "engine 'faiss' needs the package faiss-cpu: pip install faiss-cpu, or engine 'torch'"
        )

    on_gpu = faiss.get_num_gpus() > 0 if hasattr(faiss, "get_num_gpus") else False
    resources = faiss.StandardGpuResources() if on_gpu else None

    def search(left: np.ndarray, right: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
        if resources is not None and width <= _MOST_OF_FAISS_ON_A_GPU:
            return faiss.knn_gpu(resources, left, right, width, metric=faiss.METRIC_INNER_PRODUCT)
        return faiss.knn(left, right, width, metric=faiss.METRIC_INNER_PRODUCT)

    def candidates_of(scan: Scan, k: int, width: int) -> Candidates:
        parts = []
        for mine in slices(scan.num_queries, scan.block):
            left = scan.queries(mine)
            found: list[Candidates] = []
            for theirs in slices(scan.num_gallery, scan.block):
                right = scan.gallery(theirs)
                near, numbers = search(left.cpu().numpy(), right.cpu().numpy(), min(width, len(right)))
                found.append((torch.from_numpy(near), torch.from_numpy(numbers) + theirs.start))
                values, places = largest(torch.cat([values for values, _ in found], dim=1), width)
                found = [(values, torch.cat([rows for _, rows in found], dim=1).gather(1, places))]
            parts += found
        device = scan.slack.device
        return torch.cat([part[0] for part in parts]).to(device), torch.cat([part[1] for part in parts]).to(device)

    return candidates_of


METRICS: Registry[type[Space]] = Registry(
    "metric", {"cosine": CosineSpace, "euclidean": EuclideanSpace, "inner_product": InnerProductSpace}
)
ENGINES: Registry[Callable[[], CandidatesOf]] = Registry("search engine", {"torch": _by_torch, "faiss": _by_faiss})
