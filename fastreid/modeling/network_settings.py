"""Settings that a backbone determines itself: pixel statistics and image size."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastreid.config import CfgNode
from fastreid.modeling.backbones import hub, packages
from fastreid.modeling.backbones.timm_network import read_timm_description
from fastreid.utils.errors import InputError


@dataclass(frozen=True)
class NetworkSettings:
    """What a backbone was designed and pretrained for.

    Args:
        pixel_mean: mean of each channel, levels 0..255.
        pixel_std: standard deviation of each channel, levels 0..255.
        size_px: (height, width) of its images.
    """

    pixel_mean: tuple[float, ...] = (123.675, 116.28, 103.53)
    pixel_std: tuple[float, ...] = (58.395, 57.12, 57.375)
    size_px: tuple[int, int] = (224, 224)


IMAGENET = NetworkSettings()


def find_network_settings(cfg: CfgNode) -> NetworkSettings:
    """Return what the backbone of a config was designed for; those of ImageNet if it is not a timm network.

    If MODEL.BACKBONE.PRETRAIN_PATH is a repository of the Hugging Face hub or a package, it is what its weights were
    trained with.

    Raises:
        EnvironmentSetupError: timm is needed and not installed.
        InputError: timm has no network of this name, there is no such package, or a repository does not have the needed
            pixel statistics.
        StorageError: the description of a repository is neither in the cache nor can it be downloaded.
    """
    backbone = cfg.MODEL.BACKBONE
    if backbone.NAME != "build_timm_backbone":
        return IMAGENET
    description = read_timm_description(backbone.TIMM_NAME)
    if backbone.PRETRAIN_PATH.startswith(hub.SCHEME):
        own = hub.read_repository_description(backbone.PRETRAIN_PATH)
        missing = [
            key for key, name in (("PIXEL_MEAN", "mean"), ("PIXEL_STD", "std")) if not (own.get(name) or cfg.MODEL[key])
        ]
        if missing:
            raise InputError(
                f"{backbone.PRETRAIN_PATH} has no pixel statistics of timm (config.json); set "
                f"{' and '.join(f'MODEL.{key}' for key in missing)} to those with which its weights were trained"
            )
        description |= {key: value for key, value in own.items() if value}
    settings = _convert_description(description)
    if backbone.PRETRAIN_PATH.startswith(packages.SCHEME):
        package = packages.find_package(backbone.PRETRAIN_PATH)
        return NetworkSettings(
            package.pixel_mean or settings.pixel_mean, package.pixel_std or settings.pixel_std, settings.size_px
        )
    return settings


def resolve_network_settings(cfg: CfgNode) -> CfgNode:
    """Return a copy of a config in which empty pixel statistics and image sizes are those of the backbone.

    Args:
        cfg: settings; it is not modified.

    Raises:
        FastreidError: as `find_network_settings`.
    """
    if all((cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD, cfg.INPUT.SIZE_TRAIN, cfg.INPUT.SIZE_TEST)):
        return cfg
    own = find_network_settings(cfg)
    resolved = cfg.clone()
    _fill(resolved.MODEL, "PIXEL_MEAN", own.pixel_mean)
    _fill(resolved.MODEL, "PIXEL_STD", own.pixel_std)
    _fill(resolved.INPUT, "SIZE_TRAIN", own.size_px)
    _fill(resolved.INPUT, "SIZE_TEST", own.size_px)
    if cfg.is_frozen():
        resolved.freeze()
    return resolved


def _fill(node: CfgNode, key: str, value: Sequence[float]) -> None:
    node[key] = list(node[key]) or list(value)


def _convert_description(description: Mapping[str, Any]) -> NetworkSettings:
    mean, std, size = (description.get(key) for key in ("mean", "std", "input_size"))
    return NetworkSettings(
        tuple(round(255 * value, 4) for value in mean) if mean else IMAGENET.pixel_mean,
        tuple(round(255 * value, 4) for value in std) if std else IMAGENET.pixel_std,
        (int(size[-2]), int(size[-1])) if size else IMAGENET.size_px,
    )
