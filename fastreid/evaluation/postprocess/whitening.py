"""Whitening: features turned to their principal directions, so that none of them drowns the others."""

import json
import os
from dataclasses import dataclass, replace

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from fastreid.evaluation.features import Features, as_features, check_count, row_norms, slices
from fastreid.utils.errors import InputError, NumericalError, StorageError, WeightsError
from fastreid.utils.files import atomic_write, read_whole

_ROWS_AT_A_TIME = 4096
_ANEW = "learn it anew: TEST.WHITEN.LEARN_FROM database or train"
_LEAST_VARIANCE = 1e-12  # of unit features; what is below is the rounding of equal ones
_LEAST_SHARE = 1e-9  # of the largest variance: directions with less are noise of the sums, and are left out


@dataclass(frozen=True)
class WhiteningSettings:
    """The choices of whitening, refused when they are made and not hours later.

    Args:
        dim: directions kept, those of the largest variance first; 0: all there are.
        power: of the variance that a direction is divided by: 0.5 makes all of them equal (whitening), 0 leaves them
            as they are (principal components alone).
    """

    dim: int = 0
    power: float = 0.5

    def __post_init__(self) -> None:
        check_count("dim (TEST.WHITEN.DIM)", self.dim, least=0)
        if not (isinstance(self.power, (int, float)) and 0 <= self.power <= 0.5):
            raise InputError(f"power (TEST.WHITEN.POWER) is a number 0..0.5, not {self.power!r}")

    def check(self, *, width: int, num_features: int) -> None:
        """Refuse more directions than features so wide, and so many of them, can vary in; 0: not known."""
        most = min([number for number in (width, num_features - 1) if number > 0], default=self.dim)
        if self.dim > most:
            told = f"{num_features} features of {width} floats" if num_features else f"features of {width} floats"
            raise InputError(f"dim (TEST.WHITEN.DIM) is {self.dim}, but {told} vary in {most} directions at most")


@dataclass(frozen=True)
class Whitening:
    """What was learnt: a feature x becomes the unit vector along (x / |x| - mean) @ matrix.

    Source: Jegou and Chum, Negative evidences and co-occurrences in image retrieval (ECCV 2012), section 3.

    Args:
        mean: float32 (D,), of features of length 1.
        matrix: float32 (D, d).
        power: of the variance that directions were divided by.
        model: the sha256 of the weights that gave the features it was learnt from; "" where that is not known.
    """

    mean: Tensor
    matrix: Tensor
    power: float = 0.5
    model: str = ""

    def check(self, *, width: int, model: str) -> None:
        """Refuse features of another width (0: not known) or of other weights than it was learnt with ("": not known)."""
        if width and width != len(self.mean):
            raise InputError(f"whitening was learnt from {len(self.mean)} floats a row, not {width}; {_ANEW}")
        if self.model and model and self.model != model:
            raise InputError(
                f"the whitening was learnt with other weights (sha256 {self.model[:12]}) than the features are made "
                f"with ({model[:12]}); {_ANEW}"
            )

    def with_settings(self, settings: WhiteningSettings) -> "Whitening":
        """As if learnt with these settings: with their `dim` largest directions.

        Raises:
            InputError: another power, or more directions than were kept.
        """
        kept = self.matrix.shape[1]
        if settings.power != self.power:
            raise InputError(
                f"the whitening was learnt with power (TEST.WHITEN.POWER) {self.power:g}, not {settings.power:g}; {_ANEW}"
            )
        if settings.dim > kept:
            raise InputError(f"the whitening has {kept} directions, not {settings.dim} (TEST.WHITEN.DIM); {_ANEW}")
        return replace(self, matrix=self.matrix[:, : settings.dim or kept])

    def __call__(self, features: Features | np.ndarray) -> Tensor:
        """Whitened features, float32 (N, d) of length 1.

        Raises:
            InputError: features of another width.
            NumericalError: a row is NaN, Inf or zero, before or after.
        """
        rows = as_features(features, "features")
        self.check(width=rows.shape[1], model="")
        norms = row_norms(rows, "features")
        mean, matrix = self.mean.to(norms), self.matrix.to(norms)
        whitened = torch.empty(len(rows), matrix.shape[1], device=norms.device)
        for part in slices(len(rows), _ROWS_AT_A_TIME):
            turned = (rows[part].double() / norms[part, None] - mean) @ matrix
            whitened[part] = (turned / turned.norm(dim=1, keepdim=True)).float()
        row_norms(whitened, "whitened features")  # a feature at the mean has no direction left, and is named
        return whitened


def learn_whitening(features: Features | np.ndarray, settings: WhiteningSettings, *, model: str = "") -> Whitening:
    """Learn whitening from features without their patents.

    Directions along which the features do not vary are left out, so a few features give fewer directions than floats.

    Args:
        features: floats (N, D), at least 2.
        settings: the choices.
        model: kept in what is learnt.

    Raises:
        InputError: fewer than 2 features, or more directions asked for than the features have.
        NumericalError: a row is NaN, Inf or zero.
    """
    rows = as_features(features, "features to learn whitening from")
    if len(rows) < 2:
        raise InputError("whitening is learnt from 2 features or more; it was given 1")
    norms = row_norms(rows, "features to learn whitening from")
    sums = torch.zeros(rows.shape[1], dtype=norms.dtype, device=norms.device)
    squares = torch.zeros(rows.shape[1], rows.shape[1], dtype=norms.dtype, device=norms.device)
    for part in slices(len(rows), _ROWS_AT_A_TIME):
        unit = rows[part].double() / norms[part, None]
        sums += unit.sum(0)
        squares += unit.T @ unit
    mean = sums / len(rows)
    variances, directions = torch.linalg.eigh(squares / len(rows) - torch.outer(mean, mean))
    variances, directions = variances.flip(0), directions.flip(1)
    num = int((variances > max(_LEAST_VARIANCE, _LEAST_SHARE * float(variances[0]))).sum())
    if num == 0:
        raise NumericalError(f"{len(rows)} features to learn whitening from are all the same; nothing can be learnt")
    if settings.dim > num:
        raise InputError(
            f"dim (TEST.WHITEN.DIM) is {settings.dim}, but {len(rows)} features vary in {num} directions; ask for fewer"
        )
    kept = slice(settings.dim or num)
    matrix = directions[:, kept] / variances[kept].pow(settings.power)
    # An eigenvector may point either way; its largest entry is made positive, so that a run gives the same file again.
    matrix = matrix * matrix.gather(0, matrix.abs().argmax(0, keepdim=True)).sign()
    return Whitening(mean.float(), matrix.float(), settings.power, model)


def save_whitening(path: str | os.PathLike, whitening: Whitening) -> None:
    """Write what was learnt as safetensors, whole or not at all."""
    tensors = {"mean": whitening.mean.cpu().contiguous(), "matrix": whitening.matrix.cpu().contiguous()}
    # One word of metadata: safetensors writes several in an order that changes from call to call.
    learnt_as = json.dumps({"model": whitening.model, "power": whitening.power})
    with atomic_write(path) as file:
        file.write(safetensors.torch.save(tensors, metadata={"learnt_as": learnt_as}))


def load_whitening(path: str | os.PathLike) -> Whitening:
    """Read what `save_whitening` wrote.

    Raises:
        InputError: no such file.
        WeightsError: the file is damaged or holds something else.
        StorageError: the file cannot be read.
    """
    try:
        content = read_whole(path)
    except FileNotFoundError:
        raise InputError(
            f"TEST.WHITEN.LEARN_FROM is database, train or a file of whitening, and there is no file {path}"
        )
    except OSError as error:
        raise StorageError(f"{path}: cannot be read ({error.strerror})")
    try:
        tensors = safetensors.torch.load(content)
        mean, matrix = tensors["mean"], tensors["matrix"]
        length = int.from_bytes(content[:8], "little")
        noted = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["learnt_as"])
        model, power = str(noted["model"]), float(noted["power"])
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError):
        raise WeightsError(f"{path}: not a whitening file, or damaged; {_ANEW}")
    fits = mean.ndim == 1 and matrix.ndim == 2 and len(matrix) == len(mean) and matrix.isfinite().all()
    if not fits or not mean.isfinite().all():
        raise WeightsError(f"{path}: mean {tuple(mean.shape)} and matrix {tuple(matrix.shape)} do not fit; {_ANEW}")
    return Whitening(mean.float(), matrix.float(), power, model)
