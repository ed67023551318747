"""Exact nearest neighbours, block by block within a memory budget.

A float32 product chooses candidates, with a margin; `Space.slack` proves for each query that no other row can be
among its nearest, and a query for which it cannot (many rows at nearly one distance) is compared with every row. The
candidates' exact distances make the order, so the answer depends on neither the blocks nor the engine.
"""

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from fastreid.evaluation import order
from fastreid.evaluation.features import as_features, check_count
from fastreid.evaluation.space import CosineSpace, EuclideanSpace, Space, products
from fastreid.structures import Ranking
from fastreid.utils.errors import EnvironmentFault
from fastreid.utils.registry import Registry

_MARGIN = 24  # candidates beyond k: enough that crowds closer than the slack are rare, few enough to keep cheap
_LARGEST_BLOCK = 2048  # rows: larger blocks multiply no faster, and smaller ones waste less of a symmetric product
_MIB = 1 << 20

Best = tuple[Tensor, Tensor]  # the largest products of each query, descending, and their gallery rows
BestOf = Callable[[Tensor, Tensor, int], Best]  # of a block: query rows (B, D), gallery rows (g, D), how many


def nearest(
    queries: Tensor | np.ndarray,
    gallery: Tensor | np.ndarray,
    k: int,
    *,
    metric: str = "cosine",
    memory_mb: int = 1024,
    engine: str = "torch",
) -> Ranking:
    """The k rows of the gallery nearest to each query: exact, equal distances in order of their rows.

    A distance is that of the two float32 rows, worked out in float64 and rounded to float32; it and the ranking are
    the same for every memory budget and engine.

    Args:
        queries: floats (Q, D); taken as float32.
        gallery: floats (G, D), as wide as the queries and on the same device; taken as float32. float32 features are
            not copied, so the gallery may be a memory-mapped array.
        k: neighbours a query, at least 1; more than the gallery holds gives the whole gallery.
        metric: "cosine" (one minus the cosine, 0..2) or "euclidean" (the SQUARED Euclidean distance, as the
            reference's evaluation has it).
        memory_mb: MiB to work in, beside the features and a few times the answer.
        engine: "torch" or "faiss" (on the CPU): who chooses the candidates.

    Returns:
        A ranking with indices and distances (Q, min(k, G)).

    Raises:
        InputError: features of other widths, empty, or not floats; k or memory_mb below 1; unknown metric or engine.
        NumbersError: a row is NaN, Inf or zero.
        EnvironmentFault: engine "faiss" without the package faiss-cpu.
    """
    check_count("k", k)
    space = open_space(queries, gallery, metric)
    return neighbours(space, k, memory_mb=memory_mb, engine=engine)


def open_space(queries: Tensor | np.ndarray, gallery: Tensor | np.ndarray, metric: str) -> Space:
    """The checked features under a metric of the table."""
    make = METRICS.get(metric)
    rows = as_features(queries, "queries")
    return make(rows, rows if gallery is queries else as_features(gallery, "the gallery"))


def neighbours(space: Space, k: int, *, memory_mb: int, engine: str = "torch") -> Ranking:
    """`nearest` for features that are checked already; a set searched in itself costs half the product."""
    check_count("memory_mb", memory_mb)
    best_of = ENGINES.get(engine)()
    num_queries, num_gallery = len(space.queries), len(space.gallery)
    width = k + _MARGIN
    if 4 * width >= num_gallery:
        return _compare_all(space, torch.arange(num_queries, device=space.queries.device), k, memory_mb=memory_mb)
    block = _block_rows(space.width, width, memory_mb)
    if space.symmetric and space.queries is space.gallery and engine == "torch":
        values, rows = _candidates_within(space, width, block)
    else:
        values, rows = _candidates(space, width, block, best_of=best_of)
    return _settle(space, values, rows, k, memory_mb=memory_mb)


def own_first(indices: Tensor, own: Tensor) -> Tensor:
    """Neighbours (N, k) of rows searched among themselves, each row before its twins, the last one left out for it.

    A row is 0 from itself, so only rows equally near change places and the distances stay as they are.
    """
    others = indices != own[:, None]
    others[:, -1] &= ~others.all(dim=1)
    kept = torch.cat([torch.ones_like(others[:, :1]), others], dim=1)
    return torch.cat([own[:, None], indices], dim=1)[kept].view_as(indices)


def distance_blocks(space: Space, *, memory_mb: int, rows: Tensor | None = None) -> Iterator[tuple[Tensor, Tensor]]:
    """The exact distances of the queries (or of the given rows of them) to the whole gallery, some queries at a time.

    Yields:
        The queries' rows, int64 (B,), and their distances, float32 (B, G). B leaves room to sort the block.
    """
    check_count("memory_mb", memory_mb)
    num_gallery, half = len(space.gallery), memory_mb * _MIB // 2
    block = min(_LARGEST_BLOCK, max(1, half // (40 * num_gallery + 24 * space.width)))
    tile = min(_LARGEST_BLOCK, max(1, half // (40 * block + 24 * space.width)))
    if rows is None:
        rows = torch.arange(len(space.queries), device=space.queries.device)
    for part in rows.split(block):
        distances = torch.empty(len(part), num_gallery, device=rows.device)
        for stretch in _slices(num_gallery, tile):
            distances[:, stretch] = space.distances(part, stretch)
        yield part, distances


def _compare_all(space: Space, rows: Tensor, k: int, *, memory_mb: int) -> Ranking:
    columns = torch.arange(len(space.gallery), device=rows.device)
    blocks = distance_blocks(space, memory_mb=memory_mb, rows=rows)
    parts = [order.first(distances, columns, k) for _, distances in blocks]
    return Ranking(torch.cat([part[1] for part in parts]), torch.cat([part[0] for part in parts]))


def _settle(space: Space, values: Tensor, rows: Tensor, k: int, *, memory_mb: int) -> Ranking:
    """Order the candidates by their exact distances; see which queries they are enough for."""
    border = values[:, k - 1].double() - 2 * space.slack()
    possible = values.double() >= border[:, None]
    queries, columns = possible.nonzero(as_tuple=True)
    distances = torch.full_like(values, math.inf)
    distances[queries, columns] = space.pair_distances(queries, rows[queries, columns])
    distances, rows = order.first(distances, rows, k)
    crowded = possible[:, -1].nonzero().flatten()
    if len(crowded):
        whole = _compare_all(space, crowded, k, memory_mb=memory_mb)
        distances[crowded], rows[crowded] = whole.distances, whole.indices
    return Ranking(rows, distances)


def _candidates(space: Space, width: int, block: int, *, best_of: BestOf) -> Best:
    """For each query the `width` largest products and their gallery rows, largest first."""
    parts = []
    for part in _slices(len(space.queries), block):
        left = space.query_rows(part)
        best: list[Best] = []
        for stretch in _slices(len(space.gallery), block):
            values, rows = best_of(left, space.gallery_rows(stretch), width)
            best = [_merge([*best, (values, rows + stretch.start)], width)]
        parts += best
    return torch.cat([values for values, _ in parts]), torch.cat([rows for _, rows in parts])


def _candidates_within(space: Space, width: int, block: int) -> Best:
    """`_candidates` of a set in itself: each block of products serves its rows and, turned over, its columns."""
    parts = list(_slices(len(space.queries), block))
    best: list[list[Best]] = [[] for _ in parts]
    for i, part in enumerate(parts):
        left = space.query_rows(part)
        for j in range(i, len(parts)):
            block_products = products(left, space.gallery_rows(parts[j]))
            values, rows = _largest(block_products, width)
            best[i] = [_merge([*best[i], (values, rows + parts[j].start)], width)]
            if j > i:
                values, rows = _largest(block_products.T.contiguous(), width)
                best[j] = [_merge([*best[j], (values, rows + part.start)], width)]
    return torch.cat([values for [(values, _)] in best]), torch.cat([rows for [(_, rows)] in best])


def _merge(parts: list[Best], width: int) -> Best:
    values, chosen = _largest(torch.cat([values for values, _ in parts], dim=1), width)
    return values, torch.cat([rows for _, rows in parts], dim=1).gather(1, chosen)


def _largest(values: Tensor, width: int) -> Best:
    found = values.topk(min(width, values.shape[1]), dim=1)
    return found.values, found.indices


def _torch_engine() -> BestOf:
    return lambda query_rows, gallery_rows, width: _largest(products(query_rows, gallery_rows), width)


def _faiss_engine() -> BestOf:
    try:
        import faiss
    except ImportError:
        raise EnvironmentFault("engine 'faiss' needs the package faiss-cpu: pip install faiss-cpu, or engine 'torch'")

    def best_of(query_rows: Tensor, gallery_rows: Tensor, width: int) -> Best:
        width = min(width, len(gallery_rows))
        left, right = query_rows.cpu().numpy(), gallery_rows.cpu().numpy()
        values, rows = faiss.knn(left, right, width, metric=faiss.METRIC_INNER_PRODUCT)
        return torch.from_numpy(values).to(query_rows.device), torch.from_numpy(rows).to(query_rows.device)

    return best_of


def _block_rows(width: int, num_candidates: int, memory_mb: int) -> int:
    """The most rows b a block may have: two sets of rows being made ready and two b x b products fit the budget."""
    bytes_a_row = 28 * width + 64 * num_candidates
    rows = (math.sqrt(bytes_a_row**2 + 32 * memory_mb * _MIB) - bytes_a_row) / 16
    return min(_LARGEST_BLOCK, max(1, int(rows)))


def _slices(total: int, step: int) -> Iterator[slice]:
    return (slice(start, min(start + step, total)) for start in range(0, total, step))


METRICS: Registry[type[Space]] = Registry("metric", {"cosine": CosineSpace, "euclidean": EuclideanSpace})
ENGINES: Registry[Callable[[], BestOf]] = Registry("search engine", {"torch": _torch_engine, "faiss": _faiss_engine})
