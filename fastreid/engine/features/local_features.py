"""Local features: the values of a map inside the network at each position of an image."""

import functools
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fastreid.engine.features.inference import eval_mode
from fastreid.engine.model.onnx_network import OnnxNetwork
from fastreid.engine.precision import autocast
from fastreid.utils.errors import InputError

STRIDE_PX = 16  # wanted distance of two positions
_MAX_PREFIX_TOKENS = 8  # class and register tokens in front of the patches of a transformer
_MIN_POSITIONS = 2  # of each side of a map


class LocalFeatureExtractor:
    """Computes the map inside a network whose positions are nearest to 16 px apart.

    The map is the last output of this stride among the largest parts of the network, such as a stage; for a transformer
    it has the patch tokens.

    Args:
        model: the network, images float32 (B, 3, H, W), 0..255 -> features; its `backbone` is searched for the map.
        size_px: (H, W) of the images.
        device: device of the network.
        dtype: dtype of the network's matrix products; None: float32.
    """

    def __init__(
        self, model: nn.Module, size_px: tuple[int, int], *, device: torch.device, dtype: torch.dtype | None = None
    ):
        self.model, self.size_px, self.device, self.dtype = model, size_px, device, dtype

    def compute(self, levels: Sequence[Tensor]) -> Tensor:
        """Return the local features of images, float32 (B, C, H', W').

        Args:
            levels: of each image, uint8 (1, H, W), gray, or (3, H, W), RGB.

        Raises:
            InputError: the network has no map.
        """
        images = torch.stack(list(levels)).to(self.device).float().expand(-1, 3, -1, -1)
        with eval_mode(self.model):
            found = self._run(images, [self.module])[self.module]
        maps = arrange_map(found, self.size_px)
        if maps is None:
            raise InputError(f"the module {self.module} of the network returns no map of {self.size_px} px images")
        return maps.float().cpu().clone()  # not an inference tensor

    @functools.cached_property
    def module(self) -> str:
        """Name of the module that returns the map.

        Raises:
            InputError: the network has no map.
        """
        with eval_mode(self.model):
            outputs = self._run(torch.zeros(1, 3, *self.size_px, device=self.device), list(self._modules))
        best: tuple[float, int] | None = None
        chosen = ""
        for name, output in outputs.items():  # in the order of the computation
            maps = arrange_map(output, self.size_px)
            if maps is None:
                continue
            deviation = abs(math.log2(self.size_px[0] / maps.shape[2] / STRIDE_PX))
            key = (round(deviation, 3), name.count("."))
            if best is None or key <= best:
                best, chosen = key, name
        if best is None:
            raise InputError(
                "the network has no map inside, so parts of drawings cannot be compared; use another model"
            )
        return chosen

    @functools.cached_property
    def _modules(self) -> dict[str, nn.Module]:
        return {name: module for name, module in find_backbone(self.model).named_modules() if name}

    def _run(self, images: Tensor, names: Sequence[str]) -> dict[str, Any]:
        """Return the outputs of modules, in the order of the computation."""
        outputs: dict[str, Any] = {}

        def store(name: str, _module: nn.Module, _inputs: Any, output: Any) -> None:
            outputs.pop(name, None)
            outputs[name] = output

        handles = [self._modules[name].register_forward_hook(functools.partial(store, name)) for name in names]
        try:
            with autocast(self.device, self.dtype):
                self.model(images)
        finally:
            for handle in handles:
                handle.remove()
        return outputs


def find_backbone(model: nn.Module) -> nn.Module:
    """Return the backbone of a network, or the network itself if it has none.

    Raises:
        InputError: the network was exported, so its layers are not accessible.
    """
    if isinstance(model, OnnxNetwork):
        raise InputError(
            "this model was exported to onnxruntime, so parts of drawings cannot be compared; use the network in torch "
            "(TEST.RUNTIME torch)"
        )
    backbone: nn.Module = getattr(model, "backbone", model)
    return backbone


def arrange_map(output: Any, size_px: tuple[int, int]) -> Tensor | None:
    """Return the output of a module as a map (B, C, H', W') of images of a size, or None if it is none.

    Args:
        output: of any module. Maps may have their channels last, and tokens (B, N, C) are in rows of patches.
        size_px: (H, W) of the images.
    """
    if not isinstance(output, Tensor) or output.ndim not in (3, 4) or not output.is_floating_point():
        return None
    if output.ndim == 4:
        if _fits(output.shape[2], output.shape[3], size_px):
            return output
        return output.permute(0, 3, 1, 2) if _fits(output.shape[1], output.shape[2], size_px) else None
    height, width = size_px
    for num_prefix in range(_MAX_PREFIX_TOKENS + 1):
        num = output.shape[1] - num_prefix
        rows = round(math.sqrt(max(num, 0) * height / width))
        if rows and num % rows == 0 and _fits(rows, num // rows, size_px):
            patches = output[:, num_prefix:].transpose(1, 2)
            return patches.reshape(*patches.shape[:2], rows, num // rows)
    return None


def _fits(rows: int, columns: int, size_px: tuple[int, int]) -> bool:
    """Return whether a map has about the same stride in both directions."""
    if min(rows, columns) < _MIN_POSITIONS or rows > size_px[0] or columns > size_px[1]:
        return False
    return abs(columns - rows * size_px[1] / size_px[0]) < 1
