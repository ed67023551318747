"""The words that travel between the floors. Each checks itself when it is made and does not change after."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fastreid.utils.errors import InputError, NumericalError
from fastreid.utils.mapped_rows import MappedRows

SYNTHETIC_PREFIX = "generated:"  # how the path of a drawing without a file begins

_FLOATS_PER_CHECK = 1 << 20  # floats looked at together, so that a check needs a few MB whatever it checks


@dataclass(frozen=True)
class Drawing:
    """One drawing of a list: where its file lies and which patent it shows.

    Args:
        path: the file, absolute or from the working folder; or DRAWN and what it is drawn by.
        name: the path as the list has it, with forward slashes; unique within a list.
        patent: the patent's id as a word; drawings with the same word show the same object.
        camera: the viewpoint number some lists know; -1 where it is not known, as for patents.
        source: where the drawing was named, such as "train_patent_trn.txt:12", for messages.
    """

    path: str
    name: str
    patent: str
    camera: int = -1
    source: str = ""

    @property
    def is_synthetic(self) -> bool:
        """Whether it has no file and is drawn when it is read."""
        return self.path.startswith(SYNTHETIC_PREFIX)


@dataclass(frozen=True)
class Batch:
    """Drawings ready for the network.

    Args:
        images: float32 (B, 3, H, W), RGB, 0..255.
        targets: int64 (B,), class numbers when training, patent numbers when testing.
        rows: int64 (B,), positions in the list the loader was made from.
    """

    images: Tensor
    targets: Tensor
    rows: Tensor

    def __post_init__(self) -> None:
        num = len(self.images)
        if self.images.ndim != 4 or self.images.shape[1] != 3 or self.images.dtype != torch.float32:
            raise InputError(
                f"a batch holds float32 images (B, 3, H, W), not {self.images.dtype} {tuple(self.images.shape)}"
            )
        for label, values in (("targets", self.targets), ("rows", self.rows)):
            if values.shape != (num,) or values.dtype != torch.int64:
                raise InputError(
                    f"{label} of {num} images are int64 ({num},), not {values.dtype} {tuple(values.shape)}"
                )

    def to(self, device: torch.device | str) -> "Batch":
        """The batch with images and targets on a device; rows stay where they are."""
        images = self.images.to(device, non_blocking=True)
        return Batch(images, self.targets.to(device, non_blocking=True), self.rows)


@dataclass(frozen=True)
class Embeddings:
    """Features of a list of drawings, one row each, in the list's order.

    Args:
        features: float32 (N, D) with D at least 1, finite, no row all zero; in memory, or in their file.
        patents: the N patents' ids as words.
        names: the N drawings' names.
        cameras: the N drawings' viewpoint numbers, -1 where unknown; empty where none is known.
    """

    features: Tensor | MappedRows
    patents: tuple[str, ...]
    names: tuple[str, ...]
    cameras: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.features.ndim != 2 or self.features.dtype != torch.float32 or not self.features.shape[1]:
            raise InputError(
                f"features are float32 (N, D), D at least 1, not {self.features.dtype} {tuple(self.features.shape)}"
            )
        if not len(self.features) == len(self.patents) == len(self.names):
            raise InputError(
                f"{len(self.features)} features, {len(self.patents)} patents and {len(self.names)} names must be as many"
            )
        if self.cameras and len(self.cameras) != len(self.features):
            raise InputError(f"{len(self.features)} features have {len(self.cameras)} cameras; give as many, or none")
        bad = self._invalid_rows()
        if len(bad):
            named = ", ".join(self.names[row] for row in bad.tolist()[:20])
            raise NumericalError(
                f"{len(bad)} of {len(self.names)} features are NaN, Inf or zero: {named}; check weights and images"
            )

    @classmethod
    def of(cls, features: Tensor | MappedRows, drawings: Sequence[Drawing]) -> "Embeddings":
        """The features of a list of drawings, with what the list knows of them."""
        return cls(
            features,
            tuple(drawing.patent for drawing in drawings),
            tuple(drawing.name for drawing in drawings),
            cameras=tuple(drawing.camera for drawing in drawings),
        )

    def select(self, rows: Tensor) -> "Embeddings":
        """Those of some drawings, int64 (n,), in that order, in memory."""
        patents, names = (tuple(words[row] for row in rows.tolist()) for words in (self.patents, self.names))
        cameras = tuple(self.cameras[row] for row in rows.tolist()) if self.cameras else ()
        return Embeddings(self.features[rows], patents, names, cameras)

    def _invalid_rows(self) -> Tensor:
        """Rows with NaN or Inf, and rows all zero: int64, ascending. The largest size in a row tells all three."""
        step = max(1, _FLOATS_PER_CHECK // self.features.shape[1])
        sizes = torch.empty(len(self.features), device=self.features.device)
        for rows, found in zip(self.features.split(step), sizes.split(step)):
            found.copy_(torch.linalg.vector_norm(rows, ord=math.inf, dim=1))
        return (~torch.isfinite(sizes) | (sizes == 0)).nonzero().flatten()


@dataclass(frozen=True)
class Ranking:
    """For each query the rows of its nearest drawings, nearest first.

    Args:
        indices: int64 (Q, k), rows of the database; no row twice for one query.
        distances: float32 (Q, k), ascending along a row; equal distances stand in order of their rows.
    """

    indices: Tensor
    distances: Tensor

    def __post_init__(self) -> None:
        if self.indices.ndim != 2 or self.indices.dtype != torch.int64:
            raise InputError(
                f"a ranking's indices are int64 (Q, k), not {self.indices.dtype} {tuple(self.indices.shape)}"
            )
        if self.distances.shape != self.indices.shape or self.distances.dtype != torch.float32:
            raise InputError(
                f"a ranking's distances are float32 {tuple(self.indices.shape)}, not {self.distances.dtype} {tuple(self.distances.shape)}"
            )
        if torch.isnan(self.distances).any():
            raise NumericalError("a ranking's distances hold NaN; check the features")
