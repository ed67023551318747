"""Linear projections of features in closed form: PCA and within-class whitening."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fastreid.utils.errors import InputError, NumericalError

PCA, WITHIN_CLASS = "pca", "within_class"  # values of MODEL.HEADS.PROJECTION

_MIN_RELATIVE_VARIANCE = 1e-9  # of the largest variance; directions with less are rounding errors


@dataclass(frozen=True)
class Projection:
    """A projection x -> x @ matrix + bias.

    Args:
        matrix: float32 (D, d).
        bias: float32 (d,).
    """

    matrix: Tensor
    bias: Tensor

    def __call__(self, features: Tensor) -> Tensor:
        """Return the projected features (N, d) of features (N, D)."""
        return features @ self.matrix + self.bias


def fit_pca_whitening(features: Tensor, labels: Tensor, dim: int, shrinkage: float = 0.0) -> Projection:
    """Fit a whitening: centered features, rotated to their principal components and divided by the standard deviations.

    Source: Jegou and Chum, Negative evidences and co-occurrences in image retrieval (ECCV 2012), section 3.

    Args:
        features: (N, D), N at least 2.
        labels: not used; for the same arguments as `fit_within_class_whitening`.
        dim: components that are kept, those of the largest variance.
        shrinkage: 0..1, weight of the mean variance that is mixed into each component's variance.

    Raises:
        InputError: there are fewer than `dim` components with variance.
        NumericalError: a feature is not finite.
    """
    rows, mean = _center(features)
    covariance = rows.T @ rows / len(rows)
    variances, directions = torch.linalg.eigh(covariance)
    variances, directions = variances.flip(0), directions.flip(1)
    _check_rank(variances, dim, num_features=len(rows))
    shrunk = (1 - shrinkage) * variances + shrinkage * variances.mean()
    return _make_projection(directions[:, :dim] / shrunk[:dim].sqrt(), mean)


def fit_within_class_whitening(features: Tensor, labels: Tensor, dim: int, shrinkage: float = 0.2) -> Projection:
    """Fit a whitening of the variation within classes, followed by the principal components of the result.

    Directions in which the views of one patent differ become small, those in which patents differ become large. This is
    linear discriminant analysis with a shrunk within-class covariance (1 - s) W + s tr(W) / D, as in Ledoit and Wolf
    (2004), without a limit of the dimensions to the number of classes.

    Args:
        features: (N, D).
        labels: int64 (N,), classes.
        dim: components that are kept, those of the largest total variance after the whitening; at most D.
        shrinkage: s, 0..1; above 0 if there are fewer than D features beyond the number of classes.

    Raises:
        InputError: no class has two features, or `dim` exceeds D, or the covariance is singular.
        NumericalError: a feature is not finite.
    """
    rows, mean = _center(features)
    _, classes, counts = torch.unique(labels, return_inverse=True, return_counts=True)
    if int(counts.max()) < 2:
        raise InputError("MODEL.HEADS.PROJECTION within_class needs a patent with two drawings; use pca")
    sums = torch.zeros(len(counts), rows.shape[1], dtype=rows.dtype).index_add_(0, classes, rows)
    residuals = rows - (sums / counts[:, None])[classes]
    within = residuals.T @ residuals / len(rows)
    num_dims = len(within)
    shrunk = (1 - shrinkage) * within + shrinkage * within.trace() / num_dims * torch.eye(num_dims, dtype=within.dtype)
    variances, directions = torch.linalg.eigh(shrunk)
    if dim > num_dims or float(variances[0]) <= _MIN_RELATIVE_VARIANCE * float(variances[-1]):
        raise InputError(
            f"MODEL.HEADS.PROJECTION: {len(rows)} features of {num_dims} floats do not determine {dim} components; "
            "reduce MODEL.HEADS.EMBEDDING_DIM or raise MODEL.HEADS.SHRINKAGE"
        )
    whitening = directions / variances.sqrt()
    whitened = rows @ whitening
    _, components = torch.linalg.eigh(whitened.T @ whitened / len(rows))
    return _make_projection(whitening @ components.flip(1)[:, :dim], mean)


PROJECTIONS: Mapping[str, Callable[..., Projection]] = {
    PCA: fit_pca_whitening,
    WITHIN_CLASS: fit_within_class_whitening,
}


def set_projection(reduction: nn.Conv2d, projection: Projection) -> None:
    """Copy a projection into a reduction layer, a 1x1 convolution with bias.

    Raises:
        InputError: the layer has no bias.
    """
    if reduction.bias is None:
        raise InputError("MODEL.HEADS.PROJECTION needs a reduction layer with a bias; set MODEL.HEADS.EMBEDDING_BIAS")
    with torch.no_grad():
        reduction.weight.copy_(projection.matrix.T[:, :, None, None])
        reduction.bias.copy_(projection.bias)


def _center(features: Tensor) -> tuple[Tensor, Tensor]:
    """Return centered features and their mean, float64."""
    if not features.isfinite().all():
        raise NumericalError("features to fit a projection contain NaN or Inf")
    if len(features) < 2:
        raise InputError(f"fitting a projection needs at least 2 features, not {len(features)}")
    rows = features.double()
    mean = rows.mean(0)
    return rows - mean, mean


def _check_rank(variances: Tensor, dim: int, *, num_features: int) -> None:
    rank = int((variances > _MIN_RELATIVE_VARIANCE * float(variances[0])).sum())
    if dim > rank:
        raise InputError(
            f"MODEL.HEADS.EMBEDDING_DIM is {dim}, but {num_features} features have only {rank} components; reduce it"
        )


def _make_projection(matrix: Tensor, mean: Tensor) -> Projection:
    # The sign of an eigenvector is arbitrary; a positive largest entry makes the result reproducible.
    matrix = matrix * matrix.gather(0, matrix.abs().argmax(0, keepdim=True)).sign()
    return Projection(matrix.float(), (-mean @ matrix).float())
