"""Two sets of features and the distance between them: quick within a proven bound, or exact.

The distance of a pair is *defined* as the distance of the two float32 rows worked out in float64 and rounded to
float32. That number does not depend on blocks, threads, engine or device, so neither does a ranking made from it:

* a float32 product (`query_rows` times `gallery_rows`) ranks pairs up to `slack`, which bounds its rounding for
  summation in any order (Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., section 3.1);
* `distances` works in float64, whose own rounding is far below float32's; the few numbers so near the border between
  two float32 values that it could tip them are summed again pair by pair, in one fixed order (`sum_by_halves`).
"""

import copy
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from fastreid.evaluation.features import Features, check_fit, row_norms, slices, sum_by_halves
from fastreid.layers import cosine_distance, in_full_precision, squared_euclidean_distance
from fastreid.utils.errors import NumericalError

HALF_UNIT = 2.0**-24  # float32's unit roundoff
_HALF_UNIT_64 = 2.0**-53
SMALLEST = 2.0**-126  # below it float32 loses digits, or all of a number where the hardware flushes it to 0
_FACTOR_HALF_UNIT = {"highest": HALF_UNIT, "high": 2.0**-11, "medium": 2.0**-8}  # by torch's matmul precision
_CPU_PAIR_FLOATS, _GPU_PAIR_FLOATS = 1 << 18, 1 << 24  # of pairs at a time: what stays in a CPU's cache is 10x faster


class Space(ABC):
    """Queries, a gallery and a metric.

    Args:
        queries: float32 (Q, D).
        gallery: float32 (G, D); may be the queries themselves, or lie in a mapped file.

    Raises:
        InputError: the sets are of other widths or devices.
        NumericalError: a row is NaN, Inf or zero.
    """

    symmetric = False  # whether the product of i and j is that of j and i when queries and gallery are the same
    squares_per_distance: float | None = None  # squared Euclidean distance, of unit rows for the cosine, in this unit

    def __init__(self, queries: Features, gallery: Features):
        check_fit(queries, gallery)
        self.queries, self.gallery = queries, gallery
        self.query_norms = row_norms(queries, "queries" if queries is not gallery else "features")
        self.gallery_norms = self.query_norms if queries is gallery else row_norms(gallery, "the gallery")
        self.width = queries.shape[1]
        # Bounds what float64 sums over `width` may differ by, the norms' own sums and a few operations included.
        self.noise = 4 * (self.width + 16) * _HALF_UNIT_64

    def of_queries(self, rows: Tensor) -> "Space":
        """The same space with some of its queries, int64 (n,), alone."""
        part = copy.copy(self)
        part.queries, part.query_norms = self.queries[rows], self.query_norms[rows]
        return part

    @abstractmethod
    def query_rows(self, rows: slice) -> Tensor:
        """float32 rows whose product with `gallery_rows` is the larger, the nearer the pair."""

    @abstractmethod
    def gallery_rows(self, rows: slice) -> Tensor:
        """float32 rows to multiply `query_rows` with."""

    @abstractmethod
    def slack(self) -> Tensor:
        """float64 (Q,): products further apart than twice this order a query's pairs as their distances do.

        It bounds, for each query, how far a float32 product and the rounding of the distance to float32 are from the
        truth.
        """

    @abstractmethod
    def _pairs(self, query_rows: Tensor, gallery_rows: Tensor) -> Tensor:
        """float64 (P,), each summed in the same order wherever it stands."""

    @abstractmethod
    def _block(self, query_rows: Tensor, gallery_rows: slice) -> tuple[Tensor, Tensor | float]:
        """float64 (B, g) and how far its numbers may be from those of `_pairs`."""

    @abstractmethod
    def _settle(self, distances: Tensor) -> Tensor:
        """float64 to float32, with the noise about 0 taken away."""

    def pair_distances(self, query_rows: Tensor, gallery_rows: Tensor) -> Tensor:
        """The distances of P pairs, float32 (P,); the rows are int64 (P,)."""
        floats = _CPU_PAIR_FLOATS if self.queries.device.type == "cpu" else _GPU_PAIR_FLOATS
        # Written into one place as they come: many small answers, kept each by itself between large passing arrays,
        # would tear the heap to pieces, to 4 GiB for 260,000 pairs of 2,048 floats.
        distances = torch.empty(len(query_rows), device=query_rows.device)
        for part in slices(len(query_rows), max(1, floats // self.width)):
            distances[part] = self._settle(self._pairs(query_rows[part], gallery_rows[part]))
        return distances

    def distances(self, query_rows: Tensor, gallery_rows: slice) -> Tensor:
        """The distances of some queries to a stretch of the gallery, float32 (B, g)."""
        distances, noise = self._block(query_rows, gallery_rows)
        settled = self._settle(distances)
        doubtful = (self._settle(distances - noise) != self._settle(distances + noise)).nonzero(as_tuple=True)
        if len(doubtful[0]):
            settled[doubtful] = self.pair_distances(query_rows[doubtful[0]], doubtful[1] + gallery_rows.start)
        return settled

    def product_roundoff(self) -> float:
        """Bound on the rounding of a float32 product, its factors' included, as a share of the rows' lengths."""
        factors = 2 * _FACTOR_HALF_UNIT[torch.get_float32_matmul_precision()]
        return 1.01 * (factors + (self.width + 2) * HALF_UNIT)


class CosineSpace(Space):
    """One minus the cosine: 0 same direction, 1 at right angles, 2 opposite."""

    symmetric = True
    squares_per_distance = 2.0

    def query_rows(self, rows: slice) -> Tensor:
        return _unit(self.queries[rows], self.query_norms[rows]).float()

    def gallery_rows(self, rows: slice) -> Tensor:
        return _unit(self.gallery[rows], self.gallery_norms[rows]).float()

    def slack(self) -> Tensor:
        return torch.full_like(self.query_norms, self.product_roundoff() + 2 * HALF_UNIT)

    def _pairs(self, query_rows: Tensor, gallery_rows: Tensor) -> Tensor:
        products = sum_by_halves(self.queries[query_rows].double().mul_(self.gallery[gallery_rows]))
        return 1 - products / (self.query_norms[query_rows] * self.gallery_norms[gallery_rows])

    def _block(self, query_rows: Tensor, gallery_rows: slice) -> tuple[Tensor, float]:
        # Rows made to length 1 first: rows too short for `cosine_distance` to divide by are features here.
        left = _unit(self.queries[query_rows], self.query_norms[query_rows])
        right = _unit(self.gallery[gallery_rows], self.gallery_norms[gallery_rows])
        return cosine_distance(left, right), self.noise

    def _settle(self, distances: Tensor) -> Tensor:
        # A row and its multiple are 0 apart; what float64 leaves of that is noise.
        return distances.masked_fill(distances < 4 * self.noise, 0).float()


class _ScaledSpace(Space):
    """A space in which lengths count: rows are divided by the longest before they are multiplied in float32."""

    def __init__(self, queries: Features, gallery: Features):
        super().__init__(queries, gallery)
        self.scale = max(float(self.query_norms.max()), float(self.gallery_norms.max()))
        if (2 * self.scale) ** 2 > torch.finfo(torch.float32).max:
            raise NumericalError(f"features of length {self.scale:.1e} have no squared distance in float32; use cosine")
        # What is lost where float32 runs out of small numbers: in a product, and in the distance, in a product's unit.
        self.lost = (self.width + 2) * SMALLEST + SMALLEST / self.scale**2


class EuclideanSpace(_ScaledSpace):
    """The squared Euclidean distance |q - g|^2, as the reference's evaluation has it: no root is taken."""

    squares_per_distance = 1.0

    def query_rows(self, rows: slice) -> Tensor:
        # |q - g|^2 = |q|^2 - 2 (q.g - |g|^2 / 2): a query with a 1 behind it times a gallery row with that half behind.
        scaled = (self.queries[rows].double() / self.scale).float()
        return torch.cat([scaled, torch.ones_like(scaled[:, :1])], dim=1)

    def gallery_rows(self, rows: slice) -> Tensor:
        scaled = self.gallery[rows].double() / self.scale
        half = (self.gallery_norms[rows] / self.scale).square_().div_(-2)
        return torch.cat([scaled, half[:, None]], dim=1).float()

    def slack(self) -> Tensor:
        lengths = self.query_norms / self.scale
        longest = float(self.gallery_norms.max()) / self.scale
        product = self.product_roundoff() * (lengths * longest + longest**2 / 2)
        return product + HALF_UNIT * (lengths + longest).square() + self.lost

    def _pairs(self, query_rows: Tensor, gallery_rows: Tensor) -> Tensor:
        return sum_by_halves(self.queries[query_rows].double().sub_(self.gallery[gallery_rows]).square_())

    def _block(self, query_rows: Tensor, gallery_rows: slice) -> tuple[Tensor, Tensor]:
        distances = squared_euclidean_distance(self.queries[query_rows].double(), self.gallery[gallery_rows].double())
        lengths = self.query_norms[query_rows][:, None] + self.gallery_norms[gallery_rows]
        return distances, lengths.square_().mul_(self.noise)

    def _settle(self, distances: Tensor) -> Tensor:
        return distances.clamp(min=0).float()


class InnerProductSpace(_ScaledSpace):
    """Minus the inner product: the larger the product, the nearer; below 0 where the two point the same way."""

    symmetric = True

    def query_rows(self, rows: slice) -> Tensor:
        return (self.queries[rows].double() / self.scale).float()

    def gallery_rows(self, rows: slice) -> Tensor:
        return (self.gallery[rows].double() / self.scale).float()

    def slack(self) -> Tensor:
        longest = float(self.gallery_norms.max()) / self.scale
        shares = (self.product_roundoff() + 2 * HALF_UNIT) * longest
        return shares * self.query_norms / self.scale + self.lost

    def _pairs(self, query_rows: Tensor, gallery_rows: Tensor) -> Tensor:
        return -sum_by_halves(self.queries[query_rows].double().mul_(self.gallery[gallery_rows]))

    def _block(self, query_rows: Tensor, gallery_rows: slice) -> tuple[Tensor, Tensor]:
        distances = -(self.queries[query_rows].double() @ self.gallery[gallery_rows].double().T)
        lengths = self.query_norms[query_rows][:, None] * self.gallery_norms[gallery_rows]
        return distances, lengths.mul_(self.noise)

    def _settle(self, distances: Tensor) -> Tensor:
        return (distances + 0.0).float()  # -0 is 0


@in_full_precision
def products(query_rows: Tensor, gallery_rows: Tensor, out: Tensor) -> Tensor:
    """The float32 products that `slack` speaks of, (B, D) and (g, D) -> (B, g) in `out`, whatever autocast says."""
    return torch.mm(query_rows, gallery_rows.T, out=out)


def _unit(rows: Tensor, norms: Tensor) -> Tensor:
    return rows.double() / norms[:, None]
