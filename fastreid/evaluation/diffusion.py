"""Re-ranking by diffusion: nearness is handed on along a graph of mutual neighbours."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from fastreid.evaluation.features import check_count, in_memory
from fastreid.evaluation.search import Block, distance_blocks, first_of, neighbours, own_first
from fastreid.evaluation.sources import Source
from fastreid.evaluation.space import CosineSpace, Space
from fastreid.structures import Ranking
from fastreid.utils.errors import InputError

_MIB = 1 << 20
_STEPS, _ENOUGH = 60, 1e-6  # of conjugate gradients: at most, and the share of the first residual that ends them


@dataclass(frozen=True)
class DiffusionSettings:
    """The choices of diffusion, refused when they are made and not hours later.

    Args:
        k: neighbours a drawing has in the graph at most, itself not among them.
        gamma: power of the cosine that weighs an edge.
        alpha: share handed on at each step, 0 to below 1: how far nearness spreads.
        lambda_value: share of the first distance in the last, 0..1.
    """

    k: int
    gamma: float
    alpha: float
    lambda_value: float

    def __post_init__(self) -> None:
        check_count("k (TEST.DIFFUSION.K)", self.k)
        for name, key, most in (("gamma", "GAMMA", np.inf), ("alpha", "ALPHA", 0.999), ("lambda_value", "LAMBDA", 1)):
            value = getattr(self, name)
            if not (isinstance(value, (int, float)) and np.isfinite(value) and 0 <= value <= most):
                raise InputError(f"{name} (TEST.DIFFUSION.{key}) is a number from 0 to {most:g}, not {value!r}")


class Diffusion(Source):
    """The distances after diffusion from each query over queries and gallery together.

    Two drawings that have each other among their k nearest are joined by an edge of weight cosine^gamma. With S the
    weights divided by the roots of both ends' sums, f = (I - alpha S)^-1 e is what reaches each drawing from the query
    e; the last distance is (1 - lambda_value) * (1 - f / max f) + lambda_value * distance. Source: Iscen et al.,
    Efficient Diffusion on Region Manifolds (CVPR 2017), with the query as a drawing of the graph, solved by conjugate
    gradients for some queries at a time; time grows with queries times edges.

    Args:
        space: queries, gallery and metric.
        settings: the choices.
        memory_mb: MiB to work in, beside the features and the graph.
        precision: of the product that chooses neighbours, as for `nearest`.
    """

    def __init__(self, space: Space, settings: DiffusionSettings, *, memory_mb: int, precision: str = "auto"):
        self.space, self.settings, self.memory_mb = space, settings, memory_mb
        rows = torch.cat([in_memory(space.queries), in_memory(space.gallery)])
        self._graph = _graph(rows, settings, memory_mb=memory_mb, precision=precision)

    def blocks(self, rows: Tensor | None = None) -> Iterator[Block]:
        num, share = self._graph.shape[0], self.settings.lambda_value
        step = max(1, self.memory_mb * _MIB // 2 // (48 * num))  # queries whose few vectors fit in half the memory
        for part, plain in distance_blocks(self.space, memory_mb=self.memory_mb, rows=rows):
            for some in torch.arange(len(part)).split(step):
                reached = torch.from_numpy(
                    _spread(self._graph, part[some.to(part.device)].cpu().numpy(), self.settings)
                )
                mine = plain[some.to(plain.device)]
                mine.mul_(share).add_(1 - reached[:, len(self.space.queries) :].to(mine), alpha=1 - share)
                yield part[some.to(part.device)], mine

    def first(self, k: int) -> Ranking:
        return first_of(self.blocks(), k)


def _graph(rows: Tensor, settings: DiffusionSettings, *, memory_mb: int, precision: str) -> sparse.csr_array:
    """S, sparse and symmetric (N, N), its diagonal empty."""
    found = neighbours(CosineSpace(rows, rows), settings.k + 1, memory_mb=memory_mb, precision=precision)
    indices = own_first(found.indices, torch.arange(len(rows), device=rows.device))[:, 1:].cpu().numpy()
    # `own_first` moves a row before its twins, and all of them are 0 away, so the distances stay in their places.
    cosines = (1 - found.distances[:, 1:]).clamp(min=0).double().cpu().numpy()
    num, width = indices.shape
    pointers = np.arange(0, num * width + 1, width)
    edges = sparse.csr_array((cosines.ravel() ** settings.gamma, indices.ravel(), pointers), shape=(num, num))
    mutual = edges.minimum(edges.T).tocsr()
    sums = mutual.sum(axis=1)
    roots = sparse.diags_array(1 / np.sqrt(np.where(sums > 0, sums, 1)))
    return (roots @ mutual @ roots).tocsr()


def _spread(graph: sparse.csr_array, queries: np.ndarray, settings: DiffusionSettings) -> np.ndarray:
    """What reaches every drawing from each query, as a share of the most that reaches any: float32 (B, N), 0..1.

    The system is symmetric and positive definite, since S has no eigenvalue above 1; each query's column has its own
    step lengths and all share the products.
    """
    num, alpha, tiny = graph.shape[0], settings.alpha, np.finfo(float).tiny
    reached = np.zeros((num, len(queries)))
    left = np.zeros_like(reached)
    left[queries, np.arange(len(queries))] = 1
    direction, size = left.copy(), np.ones(len(queries))
    for _ in range(_STEPS):
        image = direction - alpha * (graph @ direction)
        length = size / np.maximum(np.einsum("nb,nb->b", direction, image), tiny)  # 0 / 0 once a column is done
        reached += length * direction
        left -= length * image
        before, size = size, np.einsum("nb,nb->b", left, left)
        if (size <= _ENOUGH**2).all():
            break
        direction = left + size / np.maximum(before, tiny) * direction
    return (reached / reached.max(axis=0)).clip(min=0).T.astype(np.float32)
