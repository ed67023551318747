"""Backbones of timm (PyTorch Image Models), an optional dependency."""

import importlib
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from fastreid.utils.errors import EnvironmentSetupError, InputError, suggest_nearest
from fastreid.utils.text import summarize_error


class TimmBackbone(nn.Module):
    """Wrap a timm network without its classifier and without pretrained weights; returns maps (B, C, H, W).

    A transformer that returns tokens (B, N, C) gives its class token as a map (B, C, 1, 1), as in fast-reid, or without
    a class token all patches as a map (B, C, N, 1). Networks with channels last, such as Swin, are permuted.

    Args:
        name: timm model name, such as "convnext_tiny".

    Attributes:
        feature_dim: C.

    Raises:
        EnvironmentSetupError: timm is not installed.
        InputError: the model is unknown or cannot be created; when called: its features are neither maps nor tokens.
    """

    def __init__(self, name: str):
        super().__init__()
        timm = _timm()
        if not name or not timm.is_model(name):
            hint = suggest_nearest(name, timm.list_models()) if name else ""
            raise InputError(
                f"MODEL.BACKBONE.TIMM_NAME '{name}' is not a timm model; set it to one of timm.list_models().{hint}"
            )
        self.name = name
        self.body = _create_network(timm, name)
        self.feature_dim: int = self.body.num_features

    @property
    def own_size_px(self) -> tuple[int, int] | None:
        """Size (H, W) for which timm designed the network; None if unknown."""
        size = (getattr(self.body, "default_cfg", None) or {}).get("input_size")
        return (int(size[-2]), int(size[-1])) if size else None

    def forward(self, images: Tensor) -> Tensor:
        output = self.body.forward_features(images)
        if isinstance(output, Tensor) and output.ndim == 4 and output.shape[1] == self.feature_dim:
            return output
        if isinstance(output, Tensor) and output.ndim == 4 and output.shape[3] == self.feature_dim:
            return output.permute(0, 3, 1, 2)
        if isinstance(output, Tensor) and output.ndim == 3 and output.shape[2] == self.feature_dim:
            return self._select_tokens(output).transpose(1, 2).unsqueeze(3)
        given = str(tuple(output.shape)) if isinstance(output, Tensor) else f"a {type(output).__name__}"
        raise InputError(
            f"MODEL.BACKBONE.TIMM_NAME {self.name} returns features {given}, neither a map (B, {self.feature_dim}, H, "
            f"W) nor tokens (B, N, {self.feature_dim}); choose another network"
        )

    def _select_tokens(self, tokens: Tensor) -> Tensor:
        if getattr(self.body, "cls_token", None) is not None:
            return tokens[:, :1]
        return tokens[:, getattr(self.body, "num_prefix_tokens", 0) :]


def _create_network(timm: ModuleType, name: str) -> Any:
    options = {"pretrained": False, "num_classes": 0}
    try:
        return timm.create_model(name, **options, global_pool="")
    except (AssertionError, TypeError, ValueError, RuntimeError, KeyError):
        pass  # families such as CoaT accept only their own pooling, which forward_features does not use
    try:
        return timm.create_model(name, **options)
    except Exception as error:  # networks of timm fail in many ways, for example if a package is missing
        reason = summarize_error(error)[:160]
        raise InputError(
            f"MODEL.BACKBONE.TIMM_NAME {name}: timm cannot create the network ({reason}); choose another one"
        ) from error


def _timm() -> ModuleType:
    try:
        return importlib.import_module("timm")
    except ImportError as error:
        raise EnvironmentSetupError("build_timm_backbone needs timm: pip install timm") from error
