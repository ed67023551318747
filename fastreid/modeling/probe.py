"""Find what a backbone does with images of a size, by one forward and backward pass without its data.

The pass runs on torch's meta device, which computes shapes only, or, if an operation does not support it, on the
backbone's own device. It uses a copy, so the backbone, its statistics and torch's random numbers do not change.
"""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fastreid.modeling.backbones.timm_backbone import TimmBackbone
from fastreid.utils.errors import InputError
from fastreid.utils.logger import get_logger
from fastreid.utils.text import summarize_error

NUM_IMAGES = 2  # the minimum for batch norm over maps of one pixel


def find_unreached_parameters(backbone: nn.Module, size_px: Sequence[int]) -> list[str]:
    """Return the names of the trainable parameters that get no gradient from the backbone's output.

    These are usually the remains of a classifier. `DistributedDataParallel` would wait for their gradients, and weight
    decay could change them.

    Args:
        backbone: images (B, 3, H, W) -> feature map; any device and mode.
        size_px: (H, W) of the images.

    Returns:
        The names, in the order of the backbone; none if a network other than those of timm cannot process such images.

    Raises:
        InputError: a timm network does not accept images of this size.
    """
    try:
        return _probe(backbone, size_px)
    except (InputError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        reason = summarize_error(error)[:160]
        if not isinstance(backbone, TimmBackbone):  # a user's network may need other inputs
            get_logger().debug(f"unused parameters of the backbone are not searched: it needs other inputs ({reason})")
            return []
        height, width = size_px
        raise InputError(
            f"MODEL.BACKBONE.TIMM_NAME {backbone.name} does not accept images of {height} x {width} px ({reason}); "
            f"{_suggest_size(backbone, size_px)}"
        ) from error


def _suggest_size(backbone: TimmBackbone, size_px: Sequence[int]) -> str:
    own_px = backbone.own_size_px
    if own_px is None or own_px == tuple(size_px):
        return "choose another network"
    try:
        _probe(backbone, own_px)
    except Exception:  # the size is not the cause
        return "choose another network"
    return f"set INPUT.SIZE_TRAIN and INPUT.SIZE_TEST to [{own_px[0]}, {own_px[1]}]"


def _probe(backbone: nn.Module, size_px: Sequence[int]) -> list[str]:
    try:
        return _find_without_gradient(copy.deepcopy(backbone).to("meta"), size_px)
    except Exception:  # operations without a meta implementation fail in many ways; the real device decides
        return _find_without_gradient(copy.deepcopy(backbone), size_px)


def _find_without_gradient(backbone: nn.Module, size_px: Sequence[int]) -> list[str]:
    backbone.train()
    parameters = {name: parameter for name, parameter in backbone.named_parameters() if parameter.requires_grad}
    device = next((tensor.device for tensor in backbone.parameters()), torch.device("cpu"))
    with torch.random.fork_rng([device] if device.type == "cuda" else []), torch.enable_grad():
        maps: Tensor | list[Tensor] = backbone(torch.zeros(NUM_IMAGES, 3, *size_px, device=device))
        if not parameters:
            return []
        total = maps.sum() if isinstance(maps, Tensor) else torch.stack([part.sum() for part in maps]).sum()
        gradients = torch.autograd.grad(total, list(parameters.values()), allow_unused=True)
    return [name for name, gradient in zip(parameters, gradients, strict=True) if gradient is None]
