"""Candidate passes over all pairs: in float32, or in bfloat16 on hardware that multiplies it faster.

Both have a proven error bound. A row x rounded to bfloat16 is x + r, where |r| is computed for each row, so a product
differs from the float32 product by at most |r_q| |g'| + |q| |r_g| (Cauchy and Schwarz) for any rows. The bound adds the
rounding error of a float32 sum in any order and, if the product itself is rounded to bfloat16 (on a CPU), a relative
error.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fastreid.evaluation.features import MIB, iter_slices
from fastreid.evaluation.search.candidates import RowLoader, Scan, topk_products
from fastreid.evaluation.search.metric_space import FLOAT32_MIN_NORMAL, FLOAT32_ROUNDOFF, MetricSpace, multiply_float32
from fastreid.layers.precision import has_fast_bfloat16
from fastreid.utils.logger import get_logger

PRECISIONS = ("auto", "float32", "bfloat16")

_MAX_BLOCK_ROWS = 4096  # larger blocks multiply no faster, and smaller ones waste less of a symmetric product
_CHUNK_ROWS = 4096  # rows prepared at a time
_BFLOAT16_ROUNDOFF = 2.0**-8 * (1 + 2.0**-7)  # of a product, relative to the rounded product
_MIN_PAIRS_FOR_BFLOAT16 = 1 << 26  # with fewer pairs, a float32 pass is faster than the trial
_TRIAL_QUERIES = 128
_TRIAL_PRODUCTS = 8  # products of each trial query that are compared with the exact ones
_MAX_UNRESOLVED_RATIO = 0.1  # share of the trial queries that may need a float32 pass
_FLOAT32_MARGIN = 24  # more pairs than this are rarely closer than the error bound; few enough to stay cheap
_BFLOAT16_MARGIN = 96


@dataclass(frozen=True)
class CandidatePass:
    """A scan and the number of products kept for each query in addition to k.

    Args:
        scan: the products.
        margin: additional products per query.
    """

    scan: Scan
    margin: int


def build_float32_pass(space: MetricSpace, k: int, *, memory_mb: int) -> CandidatePass:
    """Build a pass over products of float32 rows, which are prepared only once if they fit in half the memory.

    Args:
        space: queries, gallery and metric.
        k: number of neighbors.
        memory_mb: working memory in MiB.
    """
    memory = memory_mb * MIB
    gallery = _cache_rows(space.gallery_rows, len(space.gallery), space, memory // 2)
    is_symmetric = space.has_symmetric_products and space.queries is space.gallery
    scan = Scan(
        queries=gallery if is_symmetric else space.query_rows,
        gallery=gallery,
        num_queries=len(space.queries),
        num_gallery=len(space.gallery),
        is_symmetric=is_symmetric,
        multiply=multiply_float32,
        dtype=torch.float32,
        error_bound=space.error_bound(),
        relative_error=FLOAT32_ROUNDOFF,
        block=_max_block_rows(space.width, k, memory // 2),
    )
    return CandidatePass(scan, margin=_FLOAT32_MARGIN)


def build_bfloat16_pass(space: MetricSpace, k: int, *, memory_mb: int, force: bool = False) -> CandidatePass | None:
    """Build a pass over products of bfloat16 rows, or return None if a float32 pass is better.

    A bfloat16 pass is used if its rows fit in half the memory, the hardware multiplies bfloat16 faster, there are many
    pairs, and a trial with some queries leaves few of them unresolved. The trial also checks that the hardware rounds
    as the proof assumes; otherwise None is returned.

    Args:
        space: queries, gallery and metric.
        k: number of neighbors.
        memory_mb: working memory in MiB.
        force: use it whenever the rows fit and the hardware rounds as assumed.
    """
    num_queries, num_gallery = len(space.queries), len(space.gallery)
    is_symmetric = space.has_symmetric_products and space.queries is space.gallery
    num_bytes = 2 * (space.width + 1) * (num_gallery + (0 if is_symmetric else num_queries))
    is_faster = has_fast_bfloat16(space.queries.device) and num_queries * num_gallery >= _MIN_PAIRS_FOR_BFLOAT16
    if num_bytes > memory_mb * MIB // 2 or not (force or is_faster):
        return None
    device = space.query_norms.device
    gallery, gallery_errors, gallery_norms = _round_to_bfloat16(space.gallery_rows, num_gallery, device)
    queries, query_errors, query_norms = gallery, gallery_errors, gallery_norms
    if not is_symmetric:
        queries, query_errors, query_norms = _round_to_bfloat16(space.query_rows, num_queries, device)
    error_bound = (
        space.error_bound()
        + query_errors * (gallery_norms.max() + gallery_errors.max())
        + query_norms * gallery_errors.max()
        + _summation_error(queries.shape[1], query_norms * gallery_norms.max())
    )
    on_gpu = queries.device.type == "cuda"
    scan = Scan(
        queries=queries.__getitem__,
        gallery=gallery.__getitem__,
        num_queries=num_queries,
        num_gallery=num_gallery,
        is_symmetric=is_symmetric,
        multiply=_multiply_bfloat16_on_gpu if on_gpu else _multiply_bfloat16,
        dtype=torch.float32 if on_gpu else torch.bfloat16,
        error_bound=error_bound,
        relative_error=FLOAT32_ROUNDOFF if on_gpu else _BFLOAT16_ROUNDOFF,
        block=_max_block_rows(space.width, k, memory_mb * MIB // 2),
    )
    bf16_pass = CandidatePass(scan, margin=_BFLOAT16_MARGIN)
    max_unresolved = 1.0 if force else _MAX_UNRESOLVED_RATIO
    return bf16_pass if _bf16_is_reliable(bf16_pass, queries, gallery, k, max_unresolved=max_unresolved) else None


def _bf16_is_reliable(
    bf16_pass: CandidatePass, queries: Tensor, gallery: Tensor, k: int, *, max_unresolved: float
) -> bool:
    """Return whether a trial with a few queries stays within the error bound and leaves few queries unresolved."""
    chosen = torch.unique(torch.linspace(0, len(queries) - 1, _TRIAL_QUERIES, device=queries.device).long())
    left, error_bound = queries[chosen], bf16_pass.scan.error_bound[chosen]
    scan = replace(
        bf16_pass.scan,
        queries=left.__getitem__,
        num_queries=len(left),
        is_symmetric=False,
        error_bound=error_bound,
    )
    values, rows = topk_products(scan, k, k + bf16_pass.margin)
    products = values[:, :_TRIAL_PRODUCTS].double()
    left_rows, right_rows = left.double(), gallery[rows[:, :_TRIAL_PRODUCTS]].double()
    exact = torch.einsum("qd,qkd->qk", left_rows, right_rows)
    norms = left_rows.norm(dim=1, keepdim=True) * right_rows.norm(dim=2)
    max_error = _summation_error(left.shape[1], norms) + scan.relative_error * products.abs()
    if ((products - exact).abs() > max_error).any():
        get_logger().warning("bfloat16 products are less exact on this hardware than expected; searching in float32")
        return False
    is_unresolved = values[:, -1] >= scan.thresholds(slice(None), values[:, k - 1])
    return float(is_unresolved.float().mean()) <= max_unresolved


def _summation_error(width: int, norms: Tensor) -> Tensor:
    """Return a bound on the error of a float32 sum of `width` products in any order.

    It is twice Higham's bound, since tensor cores truncate instead of rounding and rows rounded to bfloat16 may be
    longer by 1/256.

    Args:
        width: number of products.
        norms: product of the norms of both rows.
    """
    return 2 * 1.01 * (width + 2) * (FLOAT32_ROUNDOFF * norms + FLOAT32_MIN_NORMAL)


def _round_to_bfloat16(load: RowLoader, num: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Return rows rounded to bfloat16 (num, D), the norms of their rounding errors, and the norms of the rows.

    Both norms are float64 (num,) upper bounds.
    """
    width = load(slice(0, 1)).shape[1]
    rounded = torch.empty(num, width, dtype=torch.bfloat16, device=device)
    errors, norms = torch.empty(2, num, dtype=torch.float64, device=device)
    for rows in iter_slices(num, _CHUNK_ROWS):
        exact = load(rows)
        rounded[rows] = exact
        # The rounding error has at most 16 bits, so the difference is exact; the sum of its squares is not.
        errors[rows], norms[rows] = (exact - rounded[rows]).norm(dim=1), exact.norm(dim=1)
    rounding, underflow = 1 + 2 * (width + 2) * FLOAT32_ROUNDOFF, (width * FLOAT32_MIN_NORMAL) ** 0.5  # of the squares
    return rounded, errors * rounding + underflow, norms * rounding + underflow


def _cache_rows(load: RowLoader, num: int, space: MetricSpace, max_bytes: int) -> RowLoader:
    """Prepare all rows once and return their loader; if they need more than `max_bytes`, return `load`."""
    if 4 * (space.width + 1) * num > max_bytes:
        return load
    cache = torch.empty(num, load(slice(0, 1)).shape[1], device=space.query_norms.device)
    for part in iter_slices(num, _CHUNK_ROWS):  # filled in place: `torch.cat` would need twice the memory
        cache[part] = load(part)
    return cache.__getitem__


def _multiply_bfloat16(left: Tensor, right: Tensor, out: Tensor) -> Tensor:
    with torch.autocast("cpu", enabled=False):
        return torch.mm(left, right.T, out=out)


def _multiply_bfloat16_on_gpu(left: Tensor, right: Tensor, out: Tensor) -> Tensor:
    with torch.autocast("cuda", enabled=False):
        return torch.mm(left, right.T, torch.float32, out=out)


def _max_block_rows(width: int, num_candidates: int, max_bytes: int) -> int:
    """Return the largest b for which two blocks of b prepared rows and two b x b products fit in the memory."""
    bytes_per_row = 28 * width + 64 * num_candidates
    rows = ((bytes_per_row**2 + 32 * max_bytes) ** 0.5 - bytes_per_row) / 16
    return min(_MAX_BLOCK_ROWS, max(1, int(rows)))
