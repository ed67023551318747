"""Backbones of timm (PyTorch Image Models), an optional dependency."""

import importlib
from types import ModuleType

from torch import Tensor, nn

from fastreid.utils.errors import EnvironmentSetupError, InputError


class TimmBackbone(nn.Module):
    """Wrap a timm network with feature maps (B, C, H, W), without its classifier and without pretrained weights.

    Args:
        name: timm model name, such as "convnext_tiny".

    Raises:
        EnvironmentSetupError: timm is not installed.
        InputError: the model is unknown; when called: its features are not such a map.
    """

    def __init__(self, name: str):
        super().__init__()
        timm = _timm()
        if not name or not timm.is_model(name):
            raise InputError(
                f"MODEL.BACKBONE.TIMM_NAME '{name}' is not a timm model; set it to one of timm.list_models()"
            )
        self.name = name
        self.body = timm.create_model(name, pretrained=False, num_classes=0, global_pool="")
        self.feature_dim: int = self.body.num_features

    def forward(self, images: Tensor) -> Tensor:
        maps: Tensor = self.body.forward_features(images)
        if maps.ndim != 4 or maps.shape[1] != self.feature_dim:
            raise InputError(
                f"{self.name} returns features {tuple(maps.shape)}, not a map (B, {self.feature_dim}, H, W); "
                "choose a convolutional network"
            )
        return maps


def _timm() -> ModuleType:
    try:
        return importlib.import_module("timm")
    except ImportError as error:
        raise EnvironmentSetupError("build_timm_backbone needs timm: pip install 'fastreid[timm]'") from error
