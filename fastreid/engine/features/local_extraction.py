"""Local features of drawings, which re-ranking compares, as features of another network: one row per drawing."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from fastreid.config import CfgNode
from fastreid.engine.features.local_features import LocalFeatureExtractor, arrange_map, find_backbone
from fastreid.engine.features.options import get_test_size
from fastreid.engine.setup import resolve_device
from fastreid.evaluation.storage.manifest import LOCAL_SUFFIX
from fastreid.evaluation.storage.saved_features import list_fingerprint
from fastreid.structures import Drawing
from fastreid.utils.errors import InputError, describe_unknown

WHITE = 255.0
_TIMM = "body."  # of the names inside the backbone of a timm network; may be left out, as in OUT_MODULES


class LocalNetwork(nn.Module):
    """A network whose features are the positions of a map inside another network.

    Args:
        model: the network; its `backbone` has the map.
        module: module of the backbone that returns the map, such as "layer3", or "blocks.3" of a timm network; "": that
            of `LocalFeatureExtractor`.
        grid: positions per side, to which the map is averaged.
        size_px: (H, W) of the images.
        device: device of the network.

    Raises:
        InputError: there is no such module, or the network has no map.
    """

    def __init__(self, model: nn.Module, *, module: str, grid: int, size_px: tuple[int, int], device: torch.device):
        super().__init__()
        self.model, self.grid = model, grid
        backbone = find_backbone(model)
        known = dict(backbone.named_modules())
        module = f"{_TIMM}{module}" if f"{_TIMM}{module}" in known else module
        if module and module not in known:
            names = [name.removeprefix(_TIMM) for name in known if name and f"{name}." != _TIMM]
            shallow = [name for name in names if name.count(".") < 2]
            raise InputError(describe_unknown("TEST.LOCAL.MODULE", module, shallow))
        self.module = module or LocalFeatureExtractor(model, size_px, device=device).module
        self._source = [known[self.module]]  # in a list, as it is not another part of this network

    def forward(self, images: Tensor) -> Tensor:
        """Return a row for each drawing (B, 1 + P + P * C), P = grid * grid, as for `LocalFeatures`.

        Args:
            images: (B, 3, H, W), 0..255.

        Raises:
            InputError: the module returns no map.
        """
        outputs: list[Any] = []
        handle = self._source[0].register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
        try:
            self.model(images)
        finally:
            handle.remove()
        size_px = (images.shape[2], images.shape[3])
        maps = arrange_map(outputs[-1], size_px) if outputs else None
        if maps is None:
            raise InputError(
                f"TEST.LOCAL.MODULE {self.module} returns no map of {size_px} px images; choose another module"
            )
        values = adaptive_avg_pool2d(maps.float(), self.grid).flatten(2).transpose(1, 2).flatten(1)
        ink = adaptive_avg_pool2d((WHITE - images.float().mean(dim=1, keepdim=True)).clamp(min=0) / WHITE, self.grid)
        return torch.cat([torch.ones(len(images), 1, device=images.device), ink.flatten(1), values], dim=1)


def build_local_network(cfg: CfgNode, model: nn.Module) -> LocalNetwork:
    """Return the network whose features are the local features of a network, as TEST.LOCAL describes.

    Raises:
        InputError: TEST.LOCAL.MODULE does not fit the network.
    """
    options = cfg.TEST.LOCAL
    return LocalNetwork(
        model, module=options.MODULE, grid=options.GRID, size_px=get_test_size(cfg), device=resolve_device(cfg)
    )


def without_averages(cfg: CfgNode) -> CfgNode:
    """Return a config without the options of a test that average or compile features; local features have none."""
    local = cfg.clone()
    local.merge_from_list(["TEST.FLIP.ENABLED", False, "TEST.SCALES", [1.0], "TEST.GEM_POWER", 0.0])
    local.merge_from_list(["MODEL.COMPILE", False])  # hooks inside a compiled network are not called
    local.freeze()
    return local


def count_positions(cfg: CfgNode) -> int:
    """Return the number of positions of a drawing with local features."""
    grid: int = cfg.TEST.LOCAL.GRID
    return grid * grid


def describe_local_settings(cfg: CfgNode) -> str:
    """Return the settings that determine local features, in addition to those of other features."""
    return f"TEST.LOCAL.MODULE {cfg.TEST.LOCAL.MODULE or repr('')} TEST.LOCAL.GRID {cfg.TEST.LOCAL.GRID}"


def is_local(part: str) -> bool:
    """Return whether a part of a dataset contains local features."""
    return part.endswith(LOCAL_SUFFIX)


def fingerprint_part(cfg: CfgNode, part: str, drawings: Sequence[Drawing]) -> str:
    """Return the fingerprint of the list of a part of a dataset; of local features, followed by their settings.

    Raises:
        InputError: a file is missing.
    """
    fingerprint = list_fingerprint(drawings)
    return f"{fingerprint} {describe_local_settings(cfg)}" if is_local(part) else fingerprint
