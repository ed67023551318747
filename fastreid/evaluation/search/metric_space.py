"""Metric spaces: queries, a gallery and a metric, with a fast approximation of known error and exact distances.

The distance of a pair is *defined* as the distance of the two float32 rows computed in float64 and rounded to float32.
This value does not depend on blocks, threads, engine or device, so a ranking by it does not either:

* a float32 product (`query_rows` times `gallery_rows`) orders pairs up to `error_bound`, which bounds its rounding
  error for summation in any order (Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., 2002, section 3.1);
* `distances` computes in float64, whose rounding error is far below float32's. Values so near the boundary between two
  float32 values that this error could decide the rounding are summed again pair by pair in a fixed order
  (`pairwise_sum`).
"""

import copy
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from fastreid.evaluation.features import Features, check_compatible, iter_slices, pairwise_sum, row_norms
from fastreid.layers import cosine_distance, in_full_precision, squared_euclidean_distance
from fastreid.utils.errors import NumericalError

FLOAT32_ROUNDOFF = 2.0**-24
_FLOAT64_ROUNDOFF = 2.0**-53
FLOAT32_MIN_NORMAL = 2.0**-126  # smaller values lose digits, or become 0 on hardware that flushes them
_MATMUL_ROUNDOFF = {"highest": FLOAT32_ROUNDOFF, "high": 2.0**-11, "medium": 2.0**-8}  # by torch's matmul precision
# Floats of pairs processed at a time; on a CPU, data that fits in its cache is processed 10 times faster.
_CPU_PAIR_FLOATS, _GPU_PAIR_FLOATS = 1 << 18, 1 << 24


class MetricSpace(ABC):
    """Queries, a gallery and a metric.

    Args:
        queries: float32 (Q, D).
        gallery: float32 (G, D); may be the same object as the queries, or memory-mapped.

    Attributes:
        has_symmetric_products: if queries and gallery are the same, the product of rows i and j equals that of j and i.
        squared_l2_factor: the distance times this factor is the squared Euclidean distance (of unit rows for the
            cosine); None: the metric is not a distance.
        width: D.
        rounding_error: bound on the relative error of float64 sums over D values, including that of the norms.

    Raises:
        InputError: queries and gallery differ in width or device.
        NumericalError: a row contains NaN or Inf, or is all zero.
    """

    has_symmetric_products = False
    squared_l2_factor: float | None = None

    def __init__(self, queries: Features, gallery: Features):
        check_compatible(queries, gallery)
        self.queries, self.gallery = queries, gallery
        self.query_norms = row_norms(queries, "queries" if queries is not gallery else "features")
        self.gallery_norms = self.query_norms if queries is gallery else row_norms(gallery, "the gallery")
        self.width = queries.shape[1]
        self.rounding_error = 4 * (self.width + 16) * _FLOAT64_ROUNDOFF

    def select_queries(self, rows: Tensor) -> "MetricSpace":
        """Return this space with only the given queries, int64 (n,)."""
        part = copy.copy(self)
        part.queries, part.query_norms = self.queries[rows], self.query_norms[rows]
        return part

    @abstractmethod
    def query_rows(self, rows: slice) -> Tensor:
        """Return prepared query rows, float32 (n, d); larger products with `gallery_rows` are nearer pairs."""

    @abstractmethod
    def gallery_rows(self, rows: slice) -> Tensor:
        """Return prepared gallery rows, float32 (n, d), to multiply with `query_rows`."""

    @abstractmethod
    def error_bound(self) -> Tensor:
        """Return a bound for each query, float64 (Q,), on the error of a float32 product.

        It includes the rounding of the distance to float32. Products of a query that differ by more than twice the
        bound order the pairs as their distances do.
        """

    @abstractmethod
    def _compute_pairs(self, query_rows: Tensor, gallery_rows: Tensor) -> Tensor:
        """Return distances float64 (P,), each summed in an order that does not depend on its position."""

    @abstractmethod
    def _compute_block(self, query_rows: Tensor, gallery_rows: slice) -> tuple[Tensor, Tensor | float]:
        """Return distances float64 (B, g) and a bound on their difference from those of `_compute_pairs`."""

    @abstractmethod
    def _round_to_float32(self, distances: Tensor) -> Tensor:
        """Round float64 distances to float32 and remove rounding errors around 0."""

    def pair_distances(self, query_rows: Tensor, gallery_rows: Tensor) -> Tensor:
        """Return the distances of P pairs of rows, int64 (P,) each, as float32 (P,)."""
        floats = _CPU_PAIR_FLOATS if self.queries.device.type == "cpu" else _GPU_PAIR_FLOATS
        # One preallocated output: many small results kept between large temporary arrays would fragment the heap, to
        # 4 GiB for 260,000 pairs of 2,048 floats.
        distances = torch.empty(len(query_rows), device=query_rows.device)
        for part in iter_slices(len(query_rows), max(1, floats // self.width)):
            distances[part] = self._round_to_float32(self._compute_pairs(query_rows[part], gallery_rows[part]))
        return distances

    def distances(self, query_rows: Tensor, gallery_rows: slice) -> Tensor:
        """Return the distances of some queries, int64 (B,), to a slice of the gallery, float32 (B, g)."""
        distances, error = self._compute_block(query_rows, gallery_rows)
        rounded = self._round_to_float32(distances)
        is_ambiguous = self._round_to_float32(distances - error) != self._round_to_float32(distances + error)
        ambiguous = is_ambiguous.nonzero(as_tuple=True)
        if len(ambiguous[0]):
            rounded[ambiguous] = self.pair_distances(query_rows[ambiguous[0]], ambiguous[1] + gallery_rows.start)
        return rounded

    def product_roundoff(self) -> float:
        """Return a bound on the error of a float32 product, relative to the product of the rows' norms.

        It includes the rounding of the factors.
        """
        factors = 2 * _MATMUL_ROUNDOFF[torch.get_float32_matmul_precision()]
        return 1.01 * (factors + (self.width + 2) * FLOAT32_ROUNDOFF)


class CosineSpace(MetricSpace):
    """Cosine distance, one minus the cosine: 0 for the same direction, 1 for orthogonal rows, 2 for opposite ones."""

    has_symmetric_products = True
    squared_l2_factor = 2.0

    def query_rows(self, rows: slice) -> Tensor:
        return _normalize_rows(self.queries[rows], self.query_norms[rows]).float()

    def gallery_rows(self, rows: slice) -> Tensor:
        return _normalize_rows(self.gallery[rows], self.gallery_norms[rows]).float()

    def error_bound(self) -> Tensor:
        return torch.full_like(self.query_norms, self.product_roundoff() + 2 * FLOAT32_ROUNDOFF)

    def _compute_pairs(self, query_rows: Tensor, gallery_rows: Tensor) -> Tensor:
        products = pairwise_sum(self.queries[query_rows].double().mul_(self.gallery[gallery_rows]))
        return 1 - products / (self.query_norms[query_rows] * self.gallery_norms[gallery_rows])

    def _compute_block(self, query_rows: Tensor, gallery_rows: slice) -> tuple[Tensor, float]:
        # Normalized first: `cosine_distance` cannot divide by very small norms, but such rows are valid features.
        left = _normalize_rows(self.queries[query_rows], self.query_norms[query_rows])
        right = _normalize_rows(self.gallery[gallery_rows], self.gallery_norms[gallery_rows])
        return cosine_distance(left, right), self.rounding_error

    def _round_to_float32(self, distances: Tensor) -> Tensor:
        # The distance of a row and its multiple is 0; a smaller value than this is a float64 rounding error.
        return distances.masked_fill(distances < 4 * self.rounding_error, 0).float()


class _ScaledSpace(MetricSpace):
    """A space whose distances depend on norms: rows are divided by the largest norm before float32 multiplication."""

    def __init__(self, queries: Features, gallery: Features):
        super().__init__(queries, gallery)
        self.scale = max(float(self.query_norms.max()), float(self.gallery_norms.max()))
        if (2 * self.scale) ** 2 > torch.finfo(torch.float32).max:
            raise NumericalError(
                f"squared distances of features with norm {self.scale:.1e} overflow float32; use the metric cosine"
            )
        # Underflow error of a product, plus that of the distance in the unit of a product.
        self.underflow_error = (self.width + 2) * FLOAT32_MIN_NORMAL + FLOAT32_MIN_NORMAL / self.scale**2


class EuclideanSpace(_ScaledSpace):
    """Squared Euclidean distance |q - g|^2, as in fast-reid's evaluation: without the square root."""

    squared_l2_factor = 1.0

    def query_rows(self, rows: slice) -> Tensor:
        # |q - g|^2 = |q|^2 - 2 (q.g - |g|^2 / 2), so append 1 to a query row and -|g|^2 / 2 to a gallery row.
        scaled = (self.queries[rows].double() / self.scale).float()
        return torch.cat([scaled, torch.ones_like(scaled[:, :1])], dim=1)

    def gallery_rows(self, rows: slice) -> Tensor:
        scaled = self.gallery[rows].double() / self.scale
        half = (self.gallery_norms[rows] / self.scale).square_().div_(-2)
        return torch.cat([scaled, half[:, None]], dim=1).float()

    def error_bound(self) -> Tensor:
        lengths = self.query_norms / self.scale
        longest = float(self.gallery_norms.max()) / self.scale
        product = self.product_roundoff() * (lengths * longest + longest**2 / 2)
        return product + FLOAT32_ROUNDOFF * (lengths + longest).square() + self.underflow_error

    def _compute_pairs(self, query_rows: Tensor, gallery_rows: Tensor) -> Tensor:
        return pairwise_sum(self.queries[query_rows].double().sub_(self.gallery[gallery_rows]).square_())

    def _compute_block(self, query_rows: Tensor, gallery_rows: slice) -> tuple[Tensor, Tensor]:
        distances = squared_euclidean_distance(self.queries[query_rows].double(), self.gallery[gallery_rows].double())
        lengths = self.query_norms[query_rows][:, None] + self.gallery_norms[gallery_rows]
        return distances, lengths.square_().mul_(self.rounding_error)

    def _round_to_float32(self, distances: Tensor) -> Tensor:
        return distances.clamp(min=0).float()


class InnerProductSpace(_ScaledSpace):
    """Negative inner product: the larger the product, the nearer; negative for rows of similar direction."""

    has_symmetric_products = True

    def query_rows(self, rows: slice) -> Tensor:
        return (self.queries[rows].double() / self.scale).float()

    def gallery_rows(self, rows: slice) -> Tensor:
        return (self.gallery[rows].double() / self.scale).float()

    def error_bound(self) -> Tensor:
        longest = float(self.gallery_norms.max()) / self.scale
        per_norm = (self.product_roundoff() + 2 * FLOAT32_ROUNDOFF) * longest
        return per_norm * self.query_norms / self.scale + self.underflow_error

    def _compute_pairs(self, query_rows: Tensor, gallery_rows: Tensor) -> Tensor:
        return -pairwise_sum(self.queries[query_rows].double().mul_(self.gallery[gallery_rows]))

    def _compute_block(self, query_rows: Tensor, gallery_rows: slice) -> tuple[Tensor, Tensor]:
        distances = -(self.queries[query_rows].double() @ self.gallery[gallery_rows].double().T)
        lengths = self.query_norms[query_rows][:, None] * self.gallery_norms[gallery_rows]
        return distances, lengths.mul_(self.rounding_error)

    def _round_to_float32(self, distances: Tensor) -> Tensor:
        return (distances + 0.0).float()  # turns -0 into 0


@in_full_precision
def multiply_float32(query_rows: Tensor, gallery_rows: Tensor, out: Tensor) -> Tensor:
    """Return the float32 products (B, D) x (g, D) -> (B, g) in `out`, with autocast disabled."""
    return torch.mm(query_rows, gallery_rows.T, out=out)


def _normalize_rows(rows: Tensor, norms: Tensor) -> Tensor:
    return rows.double() / norms[:, None]
