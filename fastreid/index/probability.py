"""Add the probability that a result shows the object of the query, from the calibration of the model."""

from collections.abc import Sequence
from dataclasses import replace

from fastreid.engine.model.directory import find_model_directory
from fastreid.evaluation.calibration import Calibration, read_calibration
from fastreid.index.backends.base import Backend
from fastreid.index.manifest import ModelIdentity
from fastreid.index.search import Hit


class ProbabilityEstimator:
    """Estimates probabilities for a collection.

    The probability before the comparison is one divided by the number of patents: the query shows the object of one of
    them, each equally likely. If the object is not in the collection, all probabilities are too high. A drawing without
    a patent counts as a patent. With a single one, there is nothing to estimate.

    Args:
        model: the model of the features.
        backend: the table.
    """

    def __init__(self, model: ModelIdentity, backend: Backend):
        self._model, self._backend = model, backend
        self._calibration: Calibration | None = None
        self._is_read = False
        self._num_patents: tuple[tuple[int, int], int] = ((-1, -1), 0)  # version and size of the table when counted

    def add_probabilities(self, hits: Sequence[Hit]) -> list[Hit]:
        """Return the results with their probabilities, or unchanged if the model has no calibration for its weights.

        Raises:
            StorageError: the calibration is damaged.
        """
        calibration = self._read_calibration()
        if calibration is None or not hits:
            return list(hits)
        num_patents = self._count_patents()
        if num_patents < 2:
            return list(hits)
        values = calibration.compute_probabilities([hit.score for hit in hits], prior=1 / num_patents)
        return [replace(hit, probability=round(float(value), 6)) for hit, value in zip(hits, values, strict=True)]

    def has_calibration(self) -> bool:
        """Return whether the model has a calibration for its weights.

        Raises:
            StorageError: the calibration is damaged.
        """
        return self._read_calibration() is not None

    def _read_calibration(self) -> Calibration | None:
        if not self._is_read:
            directory = find_model_directory(self._model.name)
            found = read_calibration(directory) if directory is not None else None
            if found is not None and found.weights_sha256 == self._model.weights_sha256:
                self._calibration = found
            self._is_read = True
        return self._calibration

    def _count_patents(self) -> int:
        state = self._backend.read_version(), self._backend.count()
        if self._num_patents[0] != state:
            patents = [row["patent"] for block in self._backend.scan(["patent"]) for row in block]
            self._num_patents = state, len(set(patents) - {None}) + patents.count(None)
        return self._num_patents[1]
