"""Features of any drawings, from Python in two lines."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from fastreid.data.loading.batches import Transform
from fastreid.engine.inference import evaluating, features_of
from fastreid.utils.errors import InputError

Page = str | Path | np.ndarray


class Predictor:
    """Turns drawings into features, read and resized as in the test.

    Args:
        model: gives (B, D) features in evaluation mode.
        transform: page to image.
        read: path to page.
        device: where the model is.
        batch_size: drawings at a time.
        flip: average with the mirror image, as TEST.FLIP.ENABLED.
        dtype: of the network's products, as TEST.NETWORK_PRECISION; None: float32.
    """

    def __init__(
        self,
        model: nn.Module,
        transform: Transform,
        *,
        read: Callable[[str], np.ndarray],
        device: torch.device,
        batch_size: int = 64,
        flip: bool = False,
        dtype: torch.dtype | None = None,
    ):
        self.model = model.to(device)
        self.transform = transform
        self.read = read
        self.device = device
        self.batch_size = batch_size
        self.flip = flip
        self.dtype = dtype

    @classmethod
    def from_config(
        cls, config_file: str | Path, weights: str | Path | None = None, opts: Sequence[str] = ()
    ) -> "Predictor":
        """The predictor of a config file and a checkpoint (MODEL.WEIGHTS of the config when None).

        Raises:
            InputError: no weights are given, or the config is wrong.
            WeightsError: the weights do not fit the config.
        """
        from fastreid.engine.evaluate import build_predictor  # build.py makes predictors, so it imports this file

        return build_predictor(config_file, weights=weights, opts=opts)

    def __call__(self, pages: Iterable[Page]) -> Tensor:
        """Features float32 (N, D) on the CPU, one row for each path or page (uint8 (H, W), white paper)."""
        pages = list(pages)
        if not pages:
            raise InputError("no drawings were given")
        parts = []
        with evaluating(self.model):
            for start in range(0, len(pages), self.batch_size):
                ready = [self.transform.prepare(self._page(page)) for page in pages[start : start + self.batch_size]]
                levels, numbers = (torch.stack(part).to(self.device) for part in zip(*ready))
                images = self.transform.finish(levels, numbers)
                parts.append(features_of(self.model, images, flip=self.flip, dtype=self.dtype))
        return torch.cat(parts).clone()

    def _page(self, page: Page) -> np.ndarray:
        if not isinstance(page, np.ndarray):
            return self.read(str(page))
        if page.dtype != np.uint8 or page.ndim != 2:
            raise InputError(f"a page is uint8 (H, W), not {page.dtype} {page.shape}; read_image gives one")
        return page
