"""Whitening: rotate features to their principal components and scale these to equal variance."""

import json
import os
from dataclasses import dataclass, replace

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from fastreid.evaluation.features import FeatureArray, as_features, check_count, iter_slices, row_norms
from fastreid.utils.errors import InputError, NumericalError, StorageError, WeightsError
from fastreid.utils.files import atomic_write, read_file_bytes

_CHUNK_ROWS = 4096
_RELEARN_HINT = "learn a new one with TEST.WHITEN.LEARN_FROM gallery or train"
_MIN_VARIANCE = 1e-12  # of unit features; a smaller variance is a rounding error of equal features
_MIN_RELATIVE_VARIANCE = 1e-9  # of the largest variance; components with less are rounding errors and are dropped


@dataclass(frozen=True)
class WhiteningSettings:
    """Settings of a whitening.

    Args:
        dim: number of components to keep, those of the largest variance; 0: all.
        power: a component is divided by its variance to this power: 0.5 gives equal variances (whitening), 0 keeps the
            variances (PCA only).

    Raises:
        InputError: a value is outside its range.
    """

    dim: int = 0
    power: float = 0.5

    def __post_init__(self) -> None:
        check_count("dim (TEST.WHITEN.DIM)", self.dim, minimum=0)
        if not (isinstance(self.power, (int, float)) and 0 <= self.power <= 0.5):
            raise InputError(f"power (TEST.WHITEN.POWER) must be a number from 0 to 0.5, not {self.power!r}")

    def check(self, *, width: int, num_features: int) -> None:
        """Check that features of this width and number have enough components.

        Args:
            width: floats per feature; 0: unknown.
            num_features: number of features to learn from; 0: unknown.

        Raises:
            InputError: `dim` exceeds the number of components.
        """
        max_dim = min([number for number in (width, num_features - 1) if number > 0], default=self.dim)
        if self.dim > max_dim:
            source = f"{num_features} features of {width} floats" if num_features else f"features of {width} floats"
            raise InputError(f"dim (TEST.WHITEN.DIM) is {self.dim}, but {source} have at most {max_dim} components")


@dataclass(frozen=True)
class Whitening:
    """A learned whitening: a feature x becomes the unit vector of (x / |x| - mean) @ matrix.

    Source: Jegou and Chum, Negative evidences and co-occurrences in image retrieval (ECCV 2012), section 3.

    Args:
        mean: float32 (D,), mean of the unit features.
        matrix: float32 (D, d).
        power: of the variance that components were divided by.
        model: sha256 of the weights that computed the features it was learned from; "" if unknown.
    """

    mean: Tensor
    matrix: Tensor
    power: float = 0.5
    model: str = ""

    def check(self, *, width: int, model: str) -> None:
        """Check that the whitening fits features.

        Args:
            width: floats per feature; 0: unknown.
            model: sha256 of the weights that computed the features; "" if unknown.

        Raises:
            InputError: it was learned from features of another width or of other weights.
        """
        if width and width != len(self.mean):
            raise InputError(
                f"the whitening was learned from features of {len(self.mean)} floats, not {width}; {_RELEARN_HINT}"
            )
        if self.model and model and self.model != model:
            raise InputError(
                f"the whitening was learned with other weights (sha256 {self.model[:12]}) than those of the features "
                f"({model[:12]}); {_RELEARN_HINT}"
            )

    def with_settings(self, settings: WhiteningSettings) -> "Whitening":
        """Return the whitening that would have been learned with these settings: the `dim` largest components.

        Raises:
            InputError: another power, or more components than this whitening has.
        """
        num_components = self.matrix.shape[1]
        if settings.power != self.power:
            raise InputError(
                f"the whitening was learned with power (TEST.WHITEN.POWER) {self.power:g}, not {settings.power:g}; "
                f"{_RELEARN_HINT}"
            )
        if settings.dim > num_components:
            raise InputError(
                f"the whitening has {num_components} components, not {settings.dim} (TEST.WHITEN.DIM); {_RELEARN_HINT}"
            )
        return replace(self, matrix=self.matrix[:, : settings.dim or num_components])

    def __call__(self, features: FeatureArray) -> Tensor:
        """Return whitened unit features, float32 (N, d).

        Args:
            features: floats (N, D).

        Raises:
            InputError: features of another width.
            NumericalError: a row contains NaN or Inf, or is all zero, before or after whitening.
        """
        rows = as_features(features, "features")
        self.check(width=rows.shape[1], model="")
        norms = row_norms(rows, "features")
        mean, matrix = self.mean.to(norms), self.matrix.to(norms)
        whitened = torch.empty(len(rows), matrix.shape[1], device=norms.device)
        for part in iter_slices(len(rows), _CHUNK_ROWS):
            projected = (rows[part].double() / norms[part, None] - mean) @ matrix
            whitened[part] = (projected / projected.norm(dim=1, keepdim=True)).float()
        row_norms(whitened, "whitened features")  # rejects features equal to the mean, which have no direction left
        return whitened


def learn_whitening(features: FeatureArray, settings: WhiteningSettings, *, model: str = "") -> Whitening:
    """Learn a whitening from features; it needs no labels.

    Components without variance are dropped, so fewer than D components remain if there are few features.

    Args:
        features: floats (N, D), N at least 2.
        settings: number of components and power.
        model: sha256 of the weights that computed the features, stored in the result; "" if unknown.

    Raises:
        InputError: fewer than 2 features, or fewer components than requested.
        NumericalError: a row contains NaN or Inf, or is all zero, or all features are equal.
    """
    rows = as_features(features, "features to learn whitening from")
    if len(rows) < 2:
        raise InputError("learning a whitening needs at least 2 features, not 1")
    norms = row_norms(rows, "features to learn whitening from")
    sums = torch.zeros(rows.shape[1], dtype=norms.dtype, device=norms.device)
    squares = torch.zeros(rows.shape[1], rows.shape[1], dtype=norms.dtype, device=norms.device)
    for part in iter_slices(len(rows), _CHUNK_ROWS):
        unit = rows[part].double() / norms[part, None]
        sums += unit.sum(0)
        squares += unit.T @ unit
    mean = sums / len(rows)
    variances, components = torch.linalg.eigh(squares / len(rows) - torch.outer(mean, mean))
    variances, components = variances.flip(0), components.flip(1)
    num_components = int((variances > max(_MIN_VARIANCE, _MIN_RELATIVE_VARIANCE * float(variances[0]))).sum())
    if num_components == 0:
        raise NumericalError(f"{len(rows)} features to learn whitening from are all equal; use features that differ")
    if settings.dim > num_components:
        raise InputError(
            f"dim (TEST.WHITEN.DIM) is {settings.dim}, but {len(rows)} features have only {num_components} components; "
            "reduce it"
        )
    kept = slice(settings.dim or num_components)
    matrix = components[:, kept] / variances[kept].pow(settings.power)
    # The sign of an eigenvector is arbitrary; a positive largest entry makes the result reproducible.
    matrix = matrix * matrix.gather(0, matrix.abs().argmax(0, keepdim=True)).sign()
    return Whitening(mean.float(), matrix.float(), settings.power, model)


def save_whitening(path: str | os.PathLike[str], whitening: Whitening) -> None:
    """Write a whitening atomically as a safetensors file."""
    tensors = {"mean": whitening.mean.cpu().contiguous(), "matrix": whitening.matrix.cpu().contiguous()}
    # A single metadata entry: safetensors writes several in an order that changes from call to call.
    metadata = json.dumps({"model": whitening.model, "power": whitening.power})
    with atomic_write(path) as file:
        file.write(safetensors.torch.save(tensors, metadata={"learnt_as": metadata}))


def load_whitening(path: str | os.PathLike[str]) -> Whitening:
    """Load a whitening written by `save_whitening`.

    Raises:
        InputError: the file does not exist.
        WeightsError: the file is damaged or is not a whitening.
        StorageError: the file cannot be read.
    """
    try:
        content = read_file_bytes(path)
    except FileNotFoundError:
        raise InputError(
            f"TEST.WHITEN.LEARN_FROM must be gallery, train or a whitening file, but there is no file {path}"
        )
    except OSError as error:
        raise StorageError(f"{path}: cannot be read ({error.strerror})")
    try:
        tensors = safetensors.torch.load(content)
        mean, matrix = tensors["mean"], tensors["matrix"]
        length = int.from_bytes(content[:8], "little")
        metadata = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["learnt_as"])
        model, power = str(metadata["model"]), float(metadata["power"])
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError):
        raise WeightsError(f"{path}: not a whitening file, or damaged; {_RELEARN_HINT}")
    # With 0 columns all features would be equal.
    has_shape = mean.ndim == 1 and matrix.ndim == 2 and len(matrix) == len(mean) and matrix.numel() > 0
    if not has_shape or not matrix.isfinite().all() or not mean.isfinite().all():
        raise WeightsError(
            f"{path}: mean {tuple(mean.shape)} and matrix {tuple(matrix.shape)} are empty, do not match or "
            f"are not finite; {_RELEARN_HINT}"
        )
    return Whitening(mean.float(), matrix.float(), power, model)
