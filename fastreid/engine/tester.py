"""The test of a model on one set: features, ranking, scores; and pictures to look at."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torchvision.utils import make_grid

from fastreid.engine.inference import extract
from fastreid.evaluation.evaluator import Evaluation, Evaluator
from fastreid.evaluation.report import scores_table, write_results
from fastreid.evaluation.sheet import ranked_sheet
from fastreid.structures import Batch, Drawing
from fastreid.utils import comm
from fastreid.utils.files import atomic_write
from fastreid.utils.logger import get_logger


@dataclass(frozen=True)
class Tester:
    """Tests any model on one set of queries and database drawings.

    Args:
        name: the set's name.
        queries: drawings to search with.
        gallery: drawings to search among, the database.
        load: gives this process's batches of a list of drawings.
        read: gives a page, uint8 (H, W), of a path.
        evaluator: ranks and scores.
        device: where the model is.
        flip: average with the mirror image.
        sheet_queries: rows of the picture; 0 for none.
    """

    name: str
    queries: Sequence[Drawing]
    gallery: Sequence[Drawing]
    load: Callable[[Sequence[Drawing]], Iterable[Batch]]
    read: Callable[[str], np.ndarray]
    evaluator: Evaluator
    device: torch.device
    flip: bool = False
    sheet_queries: int = 12

    def test(self, model: nn.Module) -> Evaluation:
        """Rank and score; every process must call it, and every process gets the answer."""
        comm.share_buffers(model)
        queries = extract(model, self.load(self.queries), self.queries, device=self.device, flip=self.flip)
        gallery = extract(model, self.load(self.gallery), self.gallery, device=self.device, flip=self.flip)
        return self.evaluator(queries, gallery)

    def sheet(self, evaluation: Evaluation) -> Image.Image | None:
        """Queries and their first ranks; None if no picture is wanted."""
        if self.sheet_queries == 0:
            return None
        return ranked_sheet(
            self.queries, self.gallery, evaluation.ranking, read=self.read, num_queries=self.sheet_queries
        )

    def write(self, evaluation: Evaluation, folder: str | Path) -> None:
        """`result.npy`, `result.zip` and `ranks.png` in a folder."""
        write_results(evaluation.ranking, folder, num_gallery=len(self.gallery))
        sheet = self.sheet(evaluation)
        if sheet is not None:
            with atomic_write(Path(folder) / "ranks.png") as file:
                sheet.save(file, format="PNG")

    def tell(self, evaluation: Evaluation) -> None:
        """Log the scores, after each step of post-processing where there are several."""
        sizes = f"{len(self.queries)} queries, {len(self.gallery)} drawings in the database"
        if not evaluation.scores:
            get_logger().info(f"{self.name}: {sizes}; the patents are not told, so there are no scores")
            return
        get_logger().info(f"{self.name}: {sizes}\n{scores_table(evaluation.steps)}")


def input_sheet(batch: Batch, num_images: int = 32) -> Image.Image:
    """The first drawings of a batch as the network sees them, eight a row."""
    grid = make_grid(batch.images[:num_images].cpu(), nrow=8, padding=2, pad_value=128)
    return Image.fromarray(grid.round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy())
