"""Compute features of any drawings from Python."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from fastreid.data.loading.batches import Transform
from fastreid.data.transforms.build import build_test_transforms
from fastreid.engine.evaluate import build_page_reader
from fastreid.engine.inference import compute_features, eval_mode
from fastreid.engine.model import build_model_with_weights
from fastreid.engine.precision import inference_dtype, warn_if_dtype_is_slow
from fastreid.engine.setup import load_config, resolve_device
from fastreid.utils.errors import InputError

Page = str | Path | np.ndarray


class Predictor:
    """Compute features of drawings, read and resized as in a test.

    Args:
        model: returns features (B, D) in evaluation mode.
        transform: converts a page to an image.
        read: returns the page of a path, uint8 (H, W).
        device: device of the model.
        batch_size: drawings per batch.
        flip: average the features of each drawing and its mirror image, as TEST.FLIP.ENABLED.
        dtype: dtype of the network's matrix products, as TEST.NETWORK_PRECISION; None: float32.
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
        """Build the predictor of a config file and a checkpoint.

        Args:
            config_file: path of the config.
            weights: path of the checkpoint; None: MODEL.WEIGHTS of the config.
            opts: KEY VALUE pairs that override the config.

        Raises:
            InputError: no weights are given, or the config is invalid.
            WeightsError: the weights do not fit the config.
        """
        overrides = [*opts] if weights is None else [*opts, "MODEL.WEIGHTS", str(weights)]
        cfg = load_config(config_file, overrides)
        device = resolve_device(cfg)
        warn_if_dtype_is_slow(cfg.TEST.NETWORK_PRECISION, device, setting="TEST.NETWORK_PRECISION")
        return cls(
            build_model_with_weights(cfg),
            build_test_transforms(cfg),
            read=build_page_reader(cfg),
            device=device,
            batch_size=cfg.TEST.IMS_PER_BATCH,
            flip=cfg.TEST.FLIP.ENABLED,
            dtype=inference_dtype(cfg.TEST.NETWORK_PRECISION, device),
        )

    def __call__(self, pages: Iterable[Page]) -> Tensor:
        """Return features float32 (N, D) on the CPU, one row per path or page (uint8 (H, W), white background)."""
        pages = list(pages)
        if not pages:
            raise InputError("no drawings given; pass at least one path or page")
        parts = []
        with eval_mode(self.model):
            for start in range(0, len(pages), self.batch_size):
                ready = [
                    self.transform.prepare(self._load_page(page)) for page in pages[start : start + self.batch_size]
                ]
                levels, aug_params = (torch.stack(part).to(self.device) for part in zip(*ready))
                images = self.transform.to_images(levels, aug_params)
                parts.append(compute_features(self.model, images, flip=self.flip, dtype=self.dtype))
        return torch.cat(parts).clone()

    def _load_page(self, page: Page) -> np.ndarray:
        if not isinstance(page, np.ndarray):
            return self.read(str(page))
        if page.dtype != np.uint8 or page.ndim != 2:
            raise InputError(f"page is {page.dtype} {page.shape}; it must be uint8 (H, W), as read_image returns it")
        return page
