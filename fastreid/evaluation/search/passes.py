"""Passes over all pairs: in float32, or in bfloat16 where the hardware multiplies it faster, each with a proven bound.

A row x in bfloat16 is x + r with |r| worked out for each row, so a product differs by at most |r_q| |g'| + |q| |r_g|
(Cauchy and Schwarz) from the one in float32, whatever the rows hold. To that comes the rounding of a sum in float32 in
any order and, where the product itself is rounded to bfloat16 (on a CPU), a share of it.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fastreid.evaluation.features import MIB, slices
from fastreid.evaluation.search.candidates import Rows, Scan, largest_products
from fastreid.evaluation.search.metric_space import HALF_UNIT, SMALLEST, Space, products
from fastreid.layers.precision import has_bfloat16_units
from fastreid.utils.logger import get_logger

PRECISIONS = ("auto", "float32", "bfloat16")

_LARGEST_BLOCK = 4096  # rows: larger blocks multiply no faster, and smaller ones waste less of a symmetric product
_ROWS_AT_A_TIME = 4096
_BFLOAT16_ROUNDING = 2.0**-8 * (1 + 2.0**-7)  # of a product, as a share of the rounded one
_WORTH_IT = 1 << 26  # pairs: below, float32 is done before a trial is
_TRIED = 128  # queries of the trial
_LOOKED_AT = 8  # products of each that are compared with the exact ones
_MOST_CROWDED = 0.1  # share of them that may be left to float32


@dataclass(frozen=True)
class Pass:
    """A scan and how many products of it are kept for each query, beyond the k that are wanted."""

    scan: Scan
    margin: int


def float32_pass(space: Space, k: int, *, memory_mb: int) -> Pass:
    """Products of float32 rows, which are prepared once where they fit in half the memory.

    Args:
        space: what is searched.
        k: how many nearest are wanted.
        memory_mb: MiB to work in.
    """
    room = memory_mb * MIB
    gallery = _kept(space.gallery_rows, len(space.gallery), space, room // 2)
    same = space.symmetric and space.queries is space.gallery
    scan = Scan(
        queries=gallery if same else space.query_rows,
        gallery=gallery,
        num_queries=len(space.queries),
        num_gallery=len(space.gallery),
        symmetric=same,
        multiply=products,
        dtype=torch.float32,
        slack=space.slack(),
        relative=HALF_UNIT,
        block=_block_rows(space.width, k, room // 2),
    )
    return Pass(scan, margin=24)  # enough that crowds closer than the slack are rare, few enough to keep cheap


def bfloat16_pass(space: Space, k: int, *, memory_mb: int, insist: bool = False) -> Pass | None:
    """Products of bfloat16 rows; None where they would not pay.

    They pay where the rows fit in half the memory, the hardware has units for them, there are many pairs, and a trial
    with some of the queries leaves few of them in crowds that only float32 can tell apart. The trial also sees whether
    the hardware rounds as the proof has it; where it does not, there are None either.

    Args:
        space: what is searched.
        k: how many nearest are wanted.
        memory_mb: MiB to work in.
        insist: take them wherever the rows fit.
    """
    num_queries, num_gallery = len(space.queries), len(space.gallery)
    same = space.symmetric and space.queries is space.gallery
    needed = 2 * (space.width + 1) * (num_gallery + (0 if same else num_queries))
    pays = has_bfloat16_units(space.queries.device) and num_queries * num_gallery >= _WORTH_IT
    if needed > memory_mb * MIB // 2 or not (insist or pays):
        return None
    device = space.query_norms.device
    gallery, lost, lengths = _narrowed(space.gallery_rows, num_gallery, device)
    queries, my_lost, my_lengths = gallery, lost, lengths
    if not same:
        queries, my_lost, my_lengths = _narrowed(space.query_rows, num_queries, device)
    slack = space.slack() + my_lost * (lengths.max() + lost.max()) + my_lengths * lost.max()
    slack += _summing(queries.shape[1], my_lengths * lengths.max())
    on_gpu = queries.device.type == "cuda"
    scan = Scan(
        queries=queries.__getitem__,
        gallery=gallery.__getitem__,
        num_queries=num_queries,
        num_gallery=num_gallery,
        symmetric=same,
        multiply=_multiply_bfloat16_on_gpu if on_gpu else _multiply_bfloat16,
        dtype=torch.float32 if on_gpu else torch.bfloat16,
        slack=slack,
        relative=HALF_UNIT if on_gpu else _BFLOAT16_ROUNDING,
        block=_block_rows(space.width, k, memory_mb * MIB // 2),
    )
    found = Pass(scan, margin=96)
    return found if _serves(found, queries, gallery, k, most_crowded=1.0 if insist else _MOST_CROWDED) else None


def _serves(trial: Pass, queries: Tensor, gallery: Tensor, k: int, *, most_crowded: float) -> bool:
    """Whether a trial with a few queries keeps its bound, as the proof asks of the hardware, and meets few crowds."""
    chosen = torch.linspace(0, len(queries) - 1, _TRIED, device=queries.device).long().unique()
    left, slack = queries[chosen], trial.scan.slack[chosen]
    scan = replace(trial.scan, queries=left.__getitem__, num_queries=len(left), symmetric=False, slack=slack)
    values, rows = largest_products(scan, k, k + trial.margin)
    first, mine, theirs = values[:, :_LOOKED_AT].double(), left.double(), gallery[rows[:, :_LOOKED_AT]].double()
    exact = torch.einsum("qd,qkd->qk", mine, theirs)
    lengths = mine.norm(dim=1, keepdim=True) * theirs.norm(dim=2)
    if ((first - exact).abs() > _summing(left.shape[1], lengths) + scan.relative * first.abs()).any():
        get_logger().warning("products in bfloat16 are rounded more than they should here; searching in float32")
        return False
    crowded = values[:, -1] >= scan.floors(slice(None), values[:, k - 1])
    return float(crowded.float().mean()) <= most_crowded


def _summing(width: int, lengths: Tensor) -> Tensor:
    """Bound on the rounding of a float32 sum of `width` products in any order, for rows of these lengths' product.

    Twice Higham's, since tensor cores cut off what they should round; narrowed rows may be longer by one part in 256.
    """
    return 2 * 1.01 * (width + 2) * (HALF_UNIT * lengths + SMALLEST)


def _narrowed(make: Rows, num: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Rows in bfloat16 (num, D), the length of what each lost, and each one's own length, float64 (num,)."""
    width = make(slice(0, 1)).shape[1]
    narrow = torch.empty(num, width, dtype=torch.bfloat16, device=device)
    lost, lengths = torch.empty(2, num, dtype=torch.float64, device=device)
    for rows in slices(num, _ROWS_AT_A_TIME):
        wide = make(rows)
        narrow[rows] = wide
        # What is lost has 16 bits at most, so the difference is exact; the sum of its squares is not.
        lost[rows], lengths[rows] = (wide - narrow[rows]).norm(dim=1), wide.norm(dim=1)
    rounding, flushed = 1 + 2 * (width + 2) * HALF_UNIT, (width * SMALLEST) ** 0.5  # squares may vanish
    return narrow, lost * rounding + flushed, lengths * rounding + flushed


def _kept(make: Rows, num: int, space: Space, room: int) -> Rows:
    """Rows made once and kept where there is room for them, else made for each block."""
    if 4 * (space.width + 1) * num > room:
        return make
    kept = torch.empty(num, make(slice(0, 1)).shape[1], device=space.query_norms.device)
    for part in slices(num, _ROWS_AT_A_TIME):  # filled as they come: `torch.cat` would hold all of them twice
        kept[part] = make(part)
    return kept.__getitem__


def _multiply_bfloat16(left: Tensor, right: Tensor, out: Tensor) -> Tensor:
    with torch.autocast("cpu", enabled=False):
        return torch.mm(left, right.T, out=out)


def _multiply_bfloat16_on_gpu(left: Tensor, right: Tensor, out: Tensor) -> Tensor:
    with torch.autocast("cuda", enabled=False):
        return torch.mm(left, right.T, torch.float32, out=out)


def _block_rows(width: int, num_candidates: int, room: int) -> int:
    """The most rows b a block may have: two sets of rows being made ready and two b x b products fit in the room."""
    bytes_a_row = 28 * width + 64 * num_candidates
    rows = ((bytes_a_row**2 + 32 * room) ** 0.5 - bytes_a_row) / 16
    return min(_LARGEST_BLOCK, max(1, int(rows)))
