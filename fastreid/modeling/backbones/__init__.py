"""Backbones: images (B, 3, H, W) -> feature map (B, C, H', W'), with C = `feature_dim`."""

from fastreid.modeling.backbones.resnet import ResNet
from fastreid.modeling.backbones.timm_backbone import TimmBackbone

__all__ = ["ResNet", "TimmBackbone"]
