"""Compute features of any drawings from Python."""

import functools
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor, nn

from fastreid.config import CfgNode
from fastreid.data.io.image import decode_page
from fastreid.data.loading.batches import Transform
from fastreid.data.transforms.build import build_test_transforms
from fastreid.engine.evaluate import build_page_reader, get_page_options
from fastreid.engine.features.image_scales import ONE_SCALE
from fastreid.engine.features.inference import compute_features, eval_mode
from fastreid.engine.features.options import check_feature_options, check_network_options, get_feature_options
from fastreid.engine.model.directory import DEFAULT_MODEL, ModelCard, save_model_directory
from fastreid.engine.model.network import build_model_with_weights
from fastreid.engine.model.onnx_network import OnnxNetwork
from fastreid.engine.model.zoo import load_model_config
from fastreid.engine.precision import inference_dtype, warn_if_dtype_is_slow
from fastreid.engine.predictor_inputs import Page, encode_image, list_pages
from fastreid.engine.setup import load_test_config, resolve_device
from fastreid.utils.errors import InputError


class Predictor:
    """Compute features of drawings, read and resized as in a test.

    Args:
        model: returns features (B, D) in evaluation mode.
        transform: converts a page to an image.
        read: returns the page of a path, uint8 (H, W), or (H, W, 3) if the transform has color.
        device: device of the model.
        batch_size: drawings per batch.
        flip: average the features of each drawing and its mirror image, as TEST.FLIP.ENABLED.
        scales: average the unit features at these scales of the image, as TEST.SCALES.
        gem_power: power of the network's generalized-mean pooling, as TEST.GEM_POWER; 0: as trained.
        dtype: dtype of the network's matrix products, as TEST.NETWORK_PRECISION; None: float32.
        decode: returns the page of an open image file; the second argument is its name, for messages.

    Attributes:
        cfg: settings that it was built from; None if it was built from parts.
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
        scales: Sequence[float] = ONE_SCALE,
        gem_power: float = 0.0,
        dtype: torch.dtype | None = None,
        decode: Callable[[BinaryIO, str], np.ndarray] = decode_page,
    ):
        self.model = model.to(device)
        self.transform = transform
        self.read = read
        self.device = device
        self.batch_size = batch_size
        self.flip = flip
        self.scales = tuple(scales)
        self.gem_power = gem_power
        self.dtype = dtype
        self.decode = decode
        self.cfg: CfgNode | None = None

    @classmethod
    def from_config(
        cls, config_file: str | Path | None, weights: str | Path | None = None, opts: Sequence[str] = ()
    ) -> "Predictor":
        """Build the predictor of a config file and a checkpoint.

        Args:
            config_file: path of the config; None: the defaults, or those of a model directory.
            weights: path of the checkpoint; None: MODEL.WEIGHTS of the config.
            opts: KEY VALUE pairs that override the config.

        Raises:
            InputError: no weights are given, or the config is invalid.
            WeightsError: the weights do not fit the config.
        """
        overrides = [*opts] if weights is None else [*opts, "MODEL.WEIGHTS", str(weights)]
        return cls.from_cfg(load_test_config(config_file, overrides))

    @classmethod
    def from_pretrained(
        cls, name: str | Path = DEFAULT_MODEL, opts: Sequence[Any] = (), *, runtime: str | None = None
    ) -> "Predictor":
        """Build the predictor of a shipped model, a model directory, or a timm network with pretrained weights.

        Args:
            name: as for `fastreid.create_model`.
            opts: KEY VALUE pairs that override the settings of the model.
            runtime: torch, or onnxruntime for a folder that `fastreid export` wrote; None: as the folder says.

        Raises:
            InputError: there is no such model.
            EnvironmentSetupError: a package is not installed.
            WeightsError: the weights are damaged or do not match.
        """
        overrides = [] if runtime is None else ["TEST.RUNTIME", runtime]
        return cls.from_cfg(load_model_config(str(name), [*opts, *overrides]))

    def save_pretrained(self, folder: str | Path, card: ModelCard) -> Path:
        """Write the network and its settings as a model directory, which every command accepts as MODEL.WEIGHTS.

        Args:
            folder: is created.
            card: the model card.

        Raises:
            InputError: the folder exists and is not a model directory, or the predictor was not built from settings.
        """
        if self.cfg is None:
            raise InputError("save_pretrained needs a predictor of settings: from_cfg, from_config or from_pretrained")
        if isinstance(self.model, OnnxNetwork):
            raise InputError("save_pretrained needs a network in torch, not an exported one; use TEST.RUNTIME torch")
        return save_model_directory(folder, self.cfg, self.model, card)

    @classmethod
    def from_cfg(cls, cfg: CfgNode) -> "Predictor":
        """Build the predictor of settings; MODEL.WEIGHTS is the checkpoint.

        Raises:
            InputError: MODEL.WEIGHTS is empty or does not exist.
            WeightsError: the weights do not fit the settings.
        """
        device = resolve_device(cfg)
        warn_if_dtype_is_slow(cfg.TEST.NETWORK_PRECISION, device, setting="TEST.NETWORK_PRECISION")
        check_feature_options(cfg)
        model = build_model_with_weights(cfg)
        check_network_options(cfg, model)
        predictor = cls(
            model,
            build_test_transforms(cfg),
            read=build_page_reader(cfg),
            device=device,
            batch_size=cfg.TEST.IMS_PER_BATCH,
            **get_feature_options(cfg),
            dtype=inference_dtype(cfg.TEST.NETWORK_PRECISION, device),
            decode=functools.partial(decode_page, **get_page_options(cfg)),
        )
        predictor.cfg = cfg
        return predictor

    def __call__(self, pages: Page | Iterable[Page]) -> Tensor:
        """Compute the features of one or more drawings.

        Args:
            pages: one drawing, or a list or other iterable of drawings. A drawing is a path (str or Path, also
                "a.tif#page=2"), a Pillow image, an array (H, W), (H, W, 3) RGB or (H, W, 4) RGBA, or a tensor (H, W) or
                (C, H, W). Arrays and tensors are uint8, 0 ink to 255 paper, or bool, False ink and True paper. A
                tensor (N, C, H, W) is N drawings.

        Returns:
            Features float32 (N, D) on the CPU, one row per drawing, also for a single one.

        Raises:
            TypeError: a value has a type that is never a drawing, such as None, bytes or a nested list.
            InputError: there is no drawing, a file cannot be read, or an array has a wrong shape or dtype.
        """
        return self._compute(list_pages(pages), faults=None)

    def compute_readable(self, pages: Page | Iterable[Page]) -> tuple[Tensor, dict[int, str]]:
        """Compute the features of the drawings that can be read.

        Args:
            pages: as for `__call__`.

        Returns:
            Features float32 (M, D) of the M readable drawings in their order, (0, 0) if there are none; and the reason
            for each of the other drawings by its position in `pages`.

        Raises:
            TypeError: a value has a type that is never a drawing, such as None, bytes or a nested list.
            InputError: there is no drawing.
            StorageError: the disk cannot be read.
        """
        faults: dict[int, str] = {}
        return self._compute(list_pages(pages), faults=faults), faults

    def compute_prepared(self, ready: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        """Compute the features of pages that `transform.prepare` returned, in one batch, float32 (N, D)."""
        with eval_mode(self.model, gem_power=self.gem_power):
            features = self._compute_batch(ready)
        return features.clone()  # not an inference tensor

    def _compute(self, pages: Sequence[Page], *, faults: dict[int, str] | None) -> Tensor:
        """Return the features of drawings; add unreadable ones to `faults`, or raise an InputError if it is None."""
        parts = []
        with eval_mode(self.model, gem_power=self.gem_power):
            for start in range(0, len(pages), self.batch_size):
                ready = []
                for position, page in enumerate(pages[start : start + self.batch_size], start):
                    try:
                        ready.append(self.transform.prepare(self.load_page(page)))
                    except InputError as error:
                        if faults is None:
                            raise
                        faults[position] = str(error)
                if ready:
                    parts.append(self._compute_batch(ready))
        return torch.cat(parts).clone() if parts else torch.empty(0, 0)

    def _compute_batch(self, ready: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        levels, aug_params = (torch.stack(part).to(self.device) for part in zip(*ready))
        images = self.transform.to_images(levels, aug_params)
        return compute_features(self.model, images, flip=self.flip, scales=self.scales, dtype=self.dtype)

    def load_page(self, page: Page) -> np.ndarray:
        """Return the pixels of a drawing before they are resized, uint8 (H, W), or (H, W, 3) with color.

        Raises:
            InputError: the file cannot be read, or an array has a wrong shape or dtype.
        """
        if isinstance(page, (str, os.PathLike)):
            return self.read(os.fspath(page))
        return self.decode(encode_image(page), "drawing in memory")
