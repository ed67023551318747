"""Data classes passed between packages. They validate themselves on creation and are immutable."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fastreid.utils.errors import InputError, NumericalError
from fastreid.utils.ids import Ids, to_id_array
from fastreid.utils.mapped_rows import MappedRows
from fastreid.utils.page_address import split_page_address

__all__ = ["SYNTHETIC_PREFIX", "Batch", "Drawing", "Embeddings", "Ranking"]

SYNTHETIC_PREFIX = "generated:"  # first characters of the path of a drawing without a file

_FLOATS_PER_CHECK = 1 << 20  # floats validated at a time, so that a check needs a few MB of memory for any size
_MAX_NAMED_DRAWINGS = 20


@dataclass(frozen=True)
class Drawing:
    """One drawing of an image list: its file and its patent.

    Args:
        path: the file, absolute or relative to the working folder, or the address of a page in it ("a.tif#page=2"); for
            a synthetic drawing SYNTHETIC_PREFIX followed by the parameters it is rendered from.
        name: the path as in the list, with forward slashes; unique within a list.
        patent: patent id; drawings with the same id show the same object. "" if unknown.
        camera: camera id, for lists that have one; -1 if unknown, as for patents.
        source: where the drawing is listed, such as "train_patent_trn.txt:12", for messages.
    """

    path: str
    name: str
    patent: str
    camera: int = -1
    source: str = ""

    @property
    def is_synthetic(self) -> bool:
        """Whether the drawing has no file and is rendered when it is read."""
        return self.path.startswith(SYNTHETIC_PREFIX)

    @property
    def file(self) -> str:
        """The file that contains the drawing."""
        return split_page_address(self.path)[0]

    @property
    def page(self) -> int:
        """The page of the file, counted from 0."""
        return split_page_address(self.path)[1]


@dataclass(frozen=True)
class Batch:
    """A batch of drawings, ready for the network.

    Args:
        images: float32 (B, 3, H, W), RGB, 0..255; or features (B, C), for a training of the head alone.
        targets: int64 (B,), class labels in training, patent indices in a test.
        rows: int64 (B,), positions in the image list of the loader.

    Raises:
        InputError: a wrong shape or dtype.
    """

    images: Tensor
    targets: Tensor
    rows: Tensor

    def __post_init__(self) -> None:
        num = len(self.images)
        is_valid = self.images.ndim == 2 or (self.images.ndim == 4 and self.images.shape[1] == 3)
        if not is_valid or self.images.dtype != torch.float32:
            raise InputError(
                f"images of a batch must be float32 (B, 3, H, W), not {self.images.dtype} {tuple(self.images.shape)}"
            )
        for label, values in (("targets", self.targets), ("rows", self.rows)):
            if values.shape != (num,) or values.dtype != torch.int64:
                raise InputError(
                    f"{label} of {num} images must be int64 ({num},), not {values.dtype} {tuple(values.shape)}"
                )

    def to(self, device: torch.device | str) -> "Batch":
        """Return the batch with images and targets on a device; rows keep theirs."""
        images = self.images.to(device, non_blocking=True)
        return Batch(images, self.targets.to(device, non_blocking=True), self.rows)


@dataclass(frozen=True)
class Embeddings:
    """Features of the drawings of an image list, one row each, in list order.

    Args:
        features: float32 (N, D) with D at least 1, finite, without all-zero rows; in memory, or mapped from a file.
        patents: patent ids of the N drawings, "" if unknown. A list, array, pandas Series or the like of strings or
            integers is converted to a tuple of strings.
        names: names of the N drawings, converted in the same way.
        cameras: camera ids of the N drawings, -1 if unknown; empty if all are unknown.

    Raises:
        InputError: a wrong shape or dtype, lengths that differ, or ids that are missing or of two types.
        NumericalError: a row contains NaN or Inf, or is all zero.
    """

    features: Tensor | MappedRows
    patents: tuple[str, ...]
    names: tuple[str, ...]
    cameras: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for field in ("patents", "names", "cameras"):
            values, kind = getattr(self, field), int if field == "cameras" else str
            if not (isinstance(values, tuple) and all(type(value) is kind for value in values)):
                object.__setattr__(self, field, _to_id_tuple(values, field))
        if self.features.ndim != 2 or self.features.dtype != torch.float32 or not self.features.shape[1]:
            raise InputError(
                "features must be float32 (N, D) with D at least 1, not "
                f"{self.features.dtype} {tuple(self.features.shape)}"
            )
        if not len(self.features) == len(self.patents) == len(self.names):
            raise InputError(
                f"{len(self.features)} features, {len(self.patents)} patents and {len(self.names)} names must have the "
                "same length"
            )
        if self.cameras and len(self.cameras) != len(self.features):
            raise InputError(
                f"{len(self.features)} features have {len(self.cameras)} cameras; give one per feature, or none"
            )
        invalid = self._invalid_rows()
        if len(invalid):
            names = ", ".join(self.names[row] for row in invalid.tolist()[:_MAX_NAMED_DRAWINGS])
            raise NumericalError(
                f"{len(invalid)} of {len(self.names)} features are NaN, Inf or zero: {names}; check weights and images"
            )

    @classmethod
    def from_drawings(cls, features: Tensor | MappedRows, drawings: Sequence[Drawing]) -> "Embeddings":
        """Create embeddings with the patents, names and cameras of an image list.

        Args:
            features: float32 (N, D).
            drawings: the N drawings, in the same order.
        """
        return cls(
            features,
            tuple(drawing.patent for drawing in drawings),
            tuple(drawing.name for drawing in drawings),
            cameras=tuple(drawing.camera for drawing in drawings),
        )

    def select(self, rows: Tensor) -> "Embeddings":
        """Return the embeddings of some rows, int64 (n,), in that order, in memory."""
        indices = rows.tolist()
        patents = tuple(self.patents[row] for row in indices)
        names = tuple(self.names[row] for row in indices)
        cameras = tuple(self.cameras[row] for row in indices) if self.cameras else ()
        return Embeddings(self.features[rows], patents, names, cameras)

    def _invalid_rows(self) -> Tensor:
        """Return the rows that contain NaN or Inf or are all zero, int64, ascending.

        The maximum norm of a row reveals all three.
        """
        step = max(1, _FLOATS_PER_CHECK // self.features.shape[1])
        norms = torch.empty(len(self.features), device=self.features.device)
        for start in range(0, len(self.features), step):
            rows = self.features[start : start + step]
            norms[start : start + step] = torch.linalg.vector_norm(rows, ord=math.inf, dim=1)
        return (~torch.isfinite(norms) | (norms == 0)).nonzero().flatten()


def _to_id_tuple(values: Ids, field: str) -> tuple[str, ...] | tuple[int, ...]:
    ids = to_id_array(values, field)
    if field != "cameras":
        return tuple(ids.astype(str).tolist())
    if ids.dtype.kind != "i":
        raise InputError(f"cameras must be integers, not {ids.dtype}")
    return tuple(ids.tolist())


@dataclass(frozen=True)
class Ranking:
    """The nearest gallery rows of each query, nearest first.

    Args:
        indices: int64 (Q, k), gallery rows; distinct within a query.
        distances: float32 (Q, k), ascending within a query; ties are ordered by row.

    Raises:
        InputError: a wrong shape or dtype.
        NumericalError: a distance is NaN.
    """

    indices: Tensor
    distances: Tensor

    def __post_init__(self) -> None:
        if self.indices.ndim != 2 or self.indices.dtype != torch.int64:
            raise InputError(
                f"indices of a ranking must be int64 (Q, k), not {self.indices.dtype} {tuple(self.indices.shape)}"
            )
        if self.distances.shape != self.indices.shape or self.distances.dtype != torch.float32:
            raise InputError(
                f"distances of a ranking must be float32 {tuple(self.indices.shape)}, not "
                f"{self.distances.dtype} {tuple(self.distances.shape)}"
            )
        if torch.isnan(self.distances).any():
            raise NumericalError("distances of a ranking contain NaN; check the features")
