"""The test of a model on one set: features, ranking, scores; and pictures to look at."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torchvision.utils import make_grid

from fastreid.evaluation.evaluator import Evaluation, Evaluator
from fastreid.evaluation.postprocess.whitening import save_whitening
from fastreid.evaluation.reporting.ranking_plot import ranked_sheet
from fastreid.evaluation.reporting.results import check_table, scores_table, write_query_table, write_results
from fastreid.structures import Batch, Drawing, Embeddings
from fastreid.utils.errors import InputError
from fastreid.utils.files import atomic_write
from fastreid.utils.logger import RESULT, get_logger


@dataclass(frozen=True, kw_only=True)
class Results:
    """What is told and written of the ranking of one set.

    Args:
        name: the set's name.
        queries: drawings to search with.
        gallery: drawings to search among, the database.
        read: gives a page, uint8 (H, W), of a path.
        sheet_queries: rows of the picture; 0 for none.
        num_draws: of the 95 % intervals beside the scores; 0 for none.
        query_table: file name of the table of every query's scores, .csv or .parquet; "" for none.
        files_needed: refuse to go on when a drawing cannot be shown; else the picture is left out, with a warning.
    """

    name: str
    queries: Sequence[Drawing]
    gallery: Sequence[Drawing]
    read: Callable[[str], np.ndarray]
    sheet_queries: int = 12
    num_draws: int = 0
    query_table: str = ""
    files_needed: bool = True

    def __post_init__(self) -> None:
        if self.query_table:
            check_table(self.query_table)

    def sheet(self, evaluation: Evaluation) -> Image.Image | None:
        """Queries and their first ranks; None if no picture is wanted."""
        if self.sheet_queries == 0:
            return None
        try:
            return ranked_sheet(
                self.queries, self.gallery, evaluation.ranking, read=self.read, num_queries=self.sheet_queries
            )
        except InputError as error:
            if self.files_needed:
                raise
            get_logger().warning(f"{self.name}: the ranks are written without their picture: {error}")
            return None

    def write(self, evaluation: Evaluation, folder: str | Path) -> None:
        """`result.npy`, `result.zip`, `ranks.png` and what else was asked for; what tells of other ranks does not stay.

        Whitening that another test learnt does stay: it is no result, and knows the weights it goes with.
        """
        write_results(evaluation.ranking, folder, num_gallery=len(self.gallery))
        if evaluation.whitening is not None:
            save_whitening(Path(folder) / "whitening.safetensors", evaluation.whitening)
        if self.query_table and evaluation.per_query is not None:
            names, patents = ([getattr(drawing, key) for drawing in self.queries] for key in ("name", "patent"))
            write_query_table(Path(folder) / self.query_table, evaluation.per_query, names=names, patents=patents)
        elif self.query_table:
            (Path(folder) / self.query_table).unlink(missing_ok=True)
        path, sheet = Path(folder) / "ranks.png", self.sheet(evaluation)
        if sheet is None:
            path.unlink(missing_ok=True)
            return
        with atomic_write(path) as file:
            sheet.save(file, format="PNG")

    def tell(self, evaluation: Evaluation) -> None:
        """Log the scores after each step of post-processing, with the intervals of the last."""
        sizes = f"{len(self.queries)} queries, {len(self.gallery)} drawings in the database"
        if not evaluation.scores:
            get_logger().log(RESULT, f"{self.name}: {sizes}; the patents are not told, so there are no scores")
            return
        judged = evaluation.per_query
        intervals = judged.intervals(num_draws=self.num_draws) if judged is not None and self.num_draws else None
        get_logger().log(RESULT, f"{self.name}: {sizes}\n{scores_table(evaluation.steps, intervals)}")


@dataclass(frozen=True, kw_only=True)
class Tester(Results):
    """Tests any model on one set of queries and database drawings.

    Args:
        embed: gives the features of a list of drawings; every process calls it.
        evaluator: ranks and scores.
        embed_training: gives those of the training drawings, for steps that learn from them; None where there are none.
        weights_sha256: of the weights under test; "" where that is not known.
        on_gallery: is shown the database's features in each test, before they are searched.
    """

    embed: Callable[[nn.Module, Sequence[Drawing]], Embeddings]
    evaluator: Evaluator
    embed_training: Callable[[nn.Module], Embeddings] | None = None
    weights_sha256: str = ""
    on_gallery: Callable[[Embeddings], None] | None = None

    def test(self, model: nn.Module) -> Evaluation:
        """Rank and score; every process must call it, and every process gets the answer."""
        learn = self.embed_training
        queries, gallery = self.embed(model, self.queries), self.embed(model, self.gallery)
        if self.on_gallery is not None:
            self.on_gallery(gallery)
        return self.evaluator(
            queries,
            gallery,
            training=None if learn is None else (lambda: learn(model).features),
            model=self.weights_sha256,
        )


def input_sheet(batch: Batch, num_images: int = 32) -> Image.Image:
    """The first drawings of a batch as the network sees them, eight a row."""
    grid = make_grid(batch.images[:num_images].cpu(), nrow=8, padding=2, pad_value=128)
    return Image.fromarray(grid.round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy())
