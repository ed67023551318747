"""A door to the networks of timm (PyTorch Image Models), an extra."""

import importlib
from types import ModuleType

from torch import Tensor, nn

from fastreid.utils.errors import EnvironmentSetupError, InputError


class TimmBackbone(nn.Module):
    """Any timm network whose features are a map (B, C, H, W), without its classifier and without weights.

    Args:
        name: as timm knows it, such as "convnext_tiny".

    Raises:
        EnvironmentSetupError: timm is not installed.
        InputError: timm knows no such network, or its features are no such map.
    """

    def __init__(self, name: str):
        super().__init__()
        timm = _timm()
        if not name or not timm.is_model(name):
            raise InputError(
                f"timm knows no network called '{name}'; set MODEL.BACKBONE.TIMM_NAME to one of timm.list_models()"
            )
        self.name = name
        self.body = timm.create_model(name, pretrained=False, num_classes=0, global_pool="")
        self.feature_dim: int = self.body.num_features

    def forward(self, images: Tensor) -> Tensor:
        maps = self.body.forward_features(images)
        if maps.ndim != 4 or maps.shape[1] != self.feature_dim:
            raise InputError(
                f"{self.name} gives features {tuple(maps.shape)}, not a map (B, {self.feature_dim}, H, W); "
                "choose a convolutional network"
            )
        return maps


def _timm() -> ModuleType:
    try:
        return importlib.import_module("timm")
    except ImportError as error:
        raise EnvironmentSetupError("build_timm_backbone needs timm: pip install 'fastreid[timm]'") from error
