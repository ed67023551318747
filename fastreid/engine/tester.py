"""Test a model on one dataset, and write the ranking, the scores and images of them."""

import datetime
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from fastreid.evaluation.evaluator import Evaluation, Evaluator
from fastreid.evaluation.postprocess.local_rerank import LocalFeatures
from fastreid.evaluation.postprocess.whitening import save_whitening
from fastreid.evaluation.reporting.ranking_plot import plot_rankings
from fastreid.evaluation.reporting.results import (
    check_table_path,
    format_scores,
    write_per_query_table,
    write_results,
    write_scores,
)
from fastreid.evaluation.scoring.bootstrap import Intervals
from fastreid.structures import Batch, Drawing, Embeddings
from fastreid.utils.errors import InputError
from fastreid.utils.files import atomic_write
from fastreid.utils.logger import RESULT, get_logger


@dataclass(frozen=True, kw_only=True)
class ResultWriter:
    """Log and write the results of one dataset.

    Args:
        name: name of the dataset.
        queries: query drawings.
        gallery: gallery drawings.
        read: returns the page of a path, uint8 (H, W) or (H, W, 3).
        num_visualized_queries: queries in the image of rankings; 0: no image.
        num_bootstrap_samples: samples for the 95 % intervals of the scores; 0: no intervals.
        per_query_file: file name of the table with the scores of every query, .csv or .parquet; "": no table.
        origin: entries of `scores.json` that describe where the scores are from.
        require_files: raise if a drawing of the image is unreadable; if False, warn and write no image.
    """

    name: str
    queries: Sequence[Drawing]
    gallery: Sequence[Drawing]
    read: Callable[[str], np.ndarray]
    num_visualized_queries: int = 12
    num_bootstrap_samples: int = 0
    per_query_file: str = ""
    origin: Mapping[str, Any] = field(default_factory=dict)
    require_files: bool = True

    def __post_init__(self) -> None:
        if self.per_query_file:
            check_table_path(self.per_query_file)

    def plot_rankings(self, evaluation: Evaluation) -> Image.Image | None:
        """Return an image of queries with the top of their rankings; None if it is disabled or not possible."""
        if self.num_visualized_queries == 0:
            return None
        try:
            return plot_rankings(
                self.queries,
                self.gallery,
                evaluation.ranking,
                read_image=self.read,
                num_queries=self.num_visualized_queries,
            )
        except InputError as error:
            if self.require_files:
                raise
            get_logger().warning(f"{self.name}: ranks.png is not written: {error}")
            return None

    def write(self, evaluation: Evaluation, folder: str | Path) -> None:
        """Write `result.npy`, `result.zip`, `scores.json`, `ranks.png` and optional outputs.

        Those of an earlier ranking are deleted. A whitening file of an earlier test is kept; it records the weights it
        was fitted on.
        """
        write_results(evaluation.ranking, folder, num_gallery=len(self.gallery))
        self.write_scores(evaluation, folder)
        if evaluation.whitening is not None:
            save_whitening(Path(folder) / "whitening.safetensors", evaluation.whitening)
        if self.per_query_file and evaluation.per_query is not None:
            names, patents = ([getattr(drawing, key) for drawing in self.queries] for key in ("name", "patent"))
            write_per_query_table(
                Path(folder) / self.per_query_file, evaluation.per_query, names=names, patents=patents
            )
        elif self.per_query_file:
            (Path(folder) / self.per_query_file).unlink(missing_ok=True)
        path, image = Path(folder) / "ranks.png", self.plot_rankings(evaluation)
        if image is None:
            path.unlink(missing_ok=True)
            return
        with atomic_write(path) as file:
            image.save(file, format="PNG")

    def write_scores(self, evaluation: Evaluation, folder: str | Path, **origin: str | int | float) -> None:
        """Write `scores.json`.

        Args:
            evaluation: the evaluation.
            folder: its folder, created if missing.
            origin: further entries on the origin of the scores.
        """
        date = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
        write_scores(
            folder,
            evaluation.steps,
            counts={"num_queries": len(self.queries), "num_gallery": len(self.gallery)},
            intervals=self._intervals(evaluation),
            origin={"dataset": self.name, **self.origin, **origin, "date": date},
        )

    def _intervals(self, evaluation: Evaluation) -> Intervals | None:
        if evaluation.per_query is None or not self.num_bootstrap_samples:
            return None
        return evaluation.per_query.intervals(num_resamples=self.num_bootstrap_samples)

    def log_scores(self, evaluation: Evaluation) -> None:
        """Log the scores after each post-processing step, with the intervals of the last step."""
        sizes = f"{len(self.queries)} queries, {len(self.gallery)} drawings in the gallery"
        if not evaluation.scores:
            get_logger().log(RESULT, f"{self.name}: {sizes}; the list has no patents, so there are no scores")
            return
        table = format_scores(evaluation.steps, self._intervals(evaluation))
        get_logger().log(RESULT, f"{self.name}: {sizes}\n{table}")


@dataclass(frozen=True, kw_only=True)
class Tester(ResultWriter):
    """Test a model on one dataset.

    Args:
        extract: returns the features of a list of drawings; every process calls it.
        evaluator: ranks and scores.
        extract_training: returns the features of the training drawings, for post-processing steps that learn from them;
            None if there are none.
        weights_sha256: sha256 of the tested weights; "" if unknown.
        on_gallery: called with the gallery's features in each test, before the search.
        extract_local: returns the local features of a list of drawings, for a post-processing step that compares them;
            None: there is no such step. Every process calls it.
        num_local_positions: positions of a drawing with local features.
    """

    extract: Callable[[nn.Module, Sequence[Drawing]], Embeddings]
    evaluator: Evaluator
    extract_training: Callable[[nn.Module], Embeddings] | None = None
    weights_sha256: str = ""
    on_gallery: Callable[[Embeddings], None] | None = None
    extract_local: Callable[[nn.Module, Sequence[Drawing]], Embeddings] | None = None
    num_local_positions: int = 0

    def test(self, model: nn.Module) -> Evaluation:
        """Rank and score; every process must call this method, and every process receives the evaluation."""
        extract_training, extract_local = self.extract_training, self.extract_local
        queries = self.extract(model, self.queries)
        gallery = queries if self.gallery is self.queries else self.extract(model, self.gallery)
        if self.on_gallery is not None:
            self.on_gallery(gallery)
        return self.evaluator(
            queries,
            gallery,
            training=None if extract_training is None else (lambda: extract_training(model).features),
            model=self.weights_sha256,
            local=None if extract_local is None else (lambda: self._compute_local(partial(extract_local, model))),
        )

    def _compute_local(self, extract: Callable[[Sequence[Drawing]], Embeddings]) -> LocalFeatures:
        queries = extract(self.queries).features
        gallery = queries if self.gallery is self.queries else extract(self.gallery).features
        return LocalFeatures(queries, gallery, self.num_local_positions)


def make_input_grid(batch: Batch, num_images: int = 32) -> Image.Image:
    """Return an image of the first `num_images` drawings of a batch as the network receives them, eight per row."""
    from torchvision.utils import make_grid  # slow to import

    grid = make_grid(batch.images[:num_images].cpu(), nrow=8, padding=2, pad_value=128)
    return Image.fromarray(grid.round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy())
