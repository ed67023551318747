"""Settings that a backbone determines itself: pixel statistics and image size."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fastreid.config import CfgNode
from fastreid.modeling.backbones.timm_network import read_timm_description


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

    Raises:
        EnvironmentSetupError: timm is needed and not installed.
        InputError: timm has no network of this name.
    """
    find = _FINDERS.get(cfg.MODEL.BACKBONE.NAME)
    return IMAGENET if find is None else find(cfg.MODEL.BACKBONE.TIMM_NAME)


def resolve_network_settings(cfg: CfgNode) -> CfgNode:
    """Return a copy of a config in which empty pixel statistics and image sizes are those of the backbone.

    Args:
        cfg: settings; it is not modified.

    Raises:
        EnvironmentSetupError: as `find_network_settings`.
        InputError: as `find_network_settings`.
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


def _find_timm(name: str) -> NetworkSettings:
    description = read_timm_description(name)
    mean, std, size = (description.get(key) for key in ("mean", "std", "input_size"))
    return NetworkSettings(
        tuple(round(255 * value, 4) for value in mean) if mean else IMAGENET.pixel_mean,
        tuple(round(255 * value, 4) for value in std) if std else IMAGENET.pixel_std,
        (int(size[-2]), int(size[-1])) if size else IMAGENET.size_px,
    )


_FINDERS: dict[str, Callable[[str], NetworkSettings]] = {"build_timm_backbone": _find_timm}
