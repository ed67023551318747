"""ResNet with IBN-a, squeeze-and-excitation, non-local blocks and a configurable last stride.

He, Zhang, Ren, Sun: Deep residual learning for image recognition (2016). Names, shapes and order of the tensors match
fast-reid's checkpoints.
"""

import abc
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn

from fastreid.layers.attention import NonLocal, SqueezeExcitation
from fastreid.layers.gradient_checkpointing import checkpoint_block
from fastreid.layers.norm import IBN, NormFactory
from fastreid.layers.weight_init import init_convs
from fastreid.utils.errors import InputError, describe_unknown

NUM_STEM_CHANNELS = 64
STAGE_WIDTHS = (64, 128, 256, 512)
NUM_IBN_STAGES = 3  # the first three; the last stage uses only batch norm, as in IBN-Net


class _Block(nn.Module, abc.ABC):
    """Base class of the residual blocks: shortcut and final sum."""

    expansion: ClassVar[int]
    relu: nn.Module
    se: nn.Module
    downsample: nn.Module | None

    @abc.abstractmethod
    def residual(self, maps: Tensor) -> Tensor:
        """Return the residual, which is added to the shortcut."""

    def forward(self, maps: Tensor) -> Tensor:
        shortcut = maps if self.downsample is None else self.downsample(maps)
        output: Tensor = self.relu(self.se(self.residual(maps)) + shortcut)
        return output

    def _add_shortcut(
        self, in_channels: int, out_channels: int, *, norm: NormFactory, stride: int, with_se: bool
    ) -> None:
        self.relu = nn.ReLU(inplace=True)
        self.se = SqueezeExcitation(out_channels) if with_se else nn.Identity()
        self.downsample = None
        if stride != 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(_conv(in_channels, out_channels, 1, stride=stride), norm(out_channels))


class BasicBlock(_Block):
    """Residual block of two 3x3 convolutions."""

    expansion = 1

    def __init__(
        self, in_channels: int, width: int, *, norm: NormFactory, stride: int = 1, ibn: bool = False, se: bool = False
    ):
        super().__init__()
        self.conv1 = _conv(in_channels, width, 3, stride=stride)
        self.bn1 = IBN(width, norm) if ibn else norm(width)
        self.conv2 = _conv(width, width, 3)
        self.bn2 = norm(width)
        self._add_shortcut(in_channels, width, norm=norm, stride=stride, with_se=se)

    def residual(self, maps: Tensor) -> Tensor:
        maps = self.relu(self.bn1(self.conv1(maps)))
        residual: Tensor = self.bn2(self.conv2(maps))
        return residual


class Bottleneck(_Block):
    """Residual block of 1x1, 3x3 and 1x1 convolutions with expansion 4; the 3x3 convolution has the stride."""

    expansion = 4

    def __init__(
        self, in_channels: int, width: int, *, norm: NormFactory, stride: int = 1, ibn: bool = False, se: bool = False
    ):
        super().__init__()
        out_channels = width * self.expansion
        self.conv1 = _conv(in_channels, width, 1)
        self.bn1 = IBN(width, norm) if ibn else norm(width)
        self.conv2 = _conv(width, width, 3, stride=stride)
        self.bn2 = norm(width)
        self.conv3 = _conv(width, out_channels, 1)
        self.bn3 = norm(out_channels)
        self._add_shortcut(in_channels, out_channels, norm=norm, stride=stride, with_se=se)

    def residual(self, maps: Tensor) -> Tensor:
        maps = self.relu(self.bn1(self.conv1(maps)))
        maps = self.relu(self.bn2(self.conv2(maps)))
        residual: Tensor = self.bn3(self.conv3(maps))
        return residual


@dataclass(frozen=True)
class ResNetSpec:
    """Architecture of a depth: block class, blocks per stage, non-local blocks at the end of each stage."""

    block: type[BasicBlock] | type[Bottleneck]
    num_blocks: tuple[int, int, int, int]
    num_non_local: tuple[int, int, int, int]


RESNET_SPECS = {
    "18x": ResNetSpec(BasicBlock, (2, 2, 2, 2), (0, 0, 0, 0)),
    "34x": ResNetSpec(BasicBlock, (3, 4, 6, 3), (0, 0, 0, 0)),
    "50x": ResNetSpec(Bottleneck, (3, 4, 6, 3), (0, 2, 3, 0)),
    "101x": ResNetSpec(Bottleneck, (3, 4, 23, 3), (0, 2, 9, 0)),
}


def get_resnet_spec(depth: str) -> ResNetSpec:
    """Return the architecture of a depth.

    Raises:
        InputError: the depth is unknown.
    """
    if depth not in RESNET_SPECS:
        raise InputError(describe_unknown("MODEL.BACKBONE.DEPTH", depth, RESNET_SPECS))
    return RESNET_SPECS[depth]


class ResNet(nn.Module):
    """Compute feature maps (B, feature_dim, H/16, W/16) of normalized images (B, 3, H, W); H/32 for last stride 2.

    Args:
        depth: 18x, 34x, 50x or 101x.
        last_stride: stride of the last stage, 1 or 2.
        norm: factory of the norms.
        with_ibn: IBN-a as the first norm of every block of stages 1 to 3.
        with_se: squeeze-and-excitation at the end of every block.
        with_nl: non-local blocks at the end of stages 2 and 3; none for 18x and 34x.
        nl_wide: inner width C / 2 of the non-local blocks, as in the paper, instead of 1.
        gradient_checkpointing: recompute blocks in the backward pass instead of keeping their activations.

    Raises:
        InputError: the depth is unknown, the stride is not 1 or 2, or `nl_wide` is set without non-local blocks.
    """

    def __init__(
        self,
        depth: str,
        *,
        last_stride: int = 1,
        norm: NormFactory = nn.BatchNorm2d,
        with_ibn: bool = False,
        with_se: bool = False,
        with_nl: bool = False,
        nl_wide: bool = False,
        gradient_checkpointing: bool = False,
    ):
        super().__init__()
        spec = get_resnet_spec(depth)
        if last_stride not in (1, 2):
            raise InputError(f"MODEL.BACKBONE.LAST_STRIDE must be 1 or 2, not {last_stride}")
        if nl_wide and not (with_nl and any(spec.num_non_local)):
            raise InputError(
                "MODEL.BACKBONE.NL_WIDE needs WITH_NL True and DEPTH 50x or 101x; others have no non-local blocks"
            )
        self.conv1 = nn.Conv2d(3, NUM_STEM_CHANNELS, 7, stride=2, padding=3, bias=False)
        self.bn1 = norm(NUM_STEM_CHANNELS)
        self.relu = nn.ReLU(inplace=True)
        # fast-reid uses no padding and ceil_mode, so windows start at the edge; torchvision pads by one pixel.
        self.maxpool = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        channels = NUM_STEM_CHANNELS
        for stage, (width, num_blocks) in enumerate(zip(STAGE_WIDTHS, spec.num_blocks, strict=True), start=1):
            build_block = partial(
                spec.block, width=width, norm=norm, ibn=with_ibn and stage <= NUM_IBN_STAGES, se=with_se
            )
            first = build_block(channels, stride=(1, 2, 2, last_stride)[stage - 1])
            channels = width * spec.block.expansion
            self.add_module(
                f"layer{stage}", nn.Sequential(first, *(build_block(channels) for _ in range(num_blocks - 1)))
            )
        self.feature_dim = channels
        init_convs(self)
        self.gradient_checkpointing = gradient_checkpointing
        self.num_blocks = spec.num_blocks
        self.num_non_local = spec.num_non_local if with_nl else (0, 0, 0, 0)
        # Added after init_convs, as non-local blocks keep torch's default initialization.
        for stage, num in enumerate(self.num_non_local, start=1):
            if num:
                channels = STAGE_WIDTHS[stage - 1] * spec.block.expansion
                inner = channels // 2 if nl_wide else 1
                blocks = (NonLocal(channels, inner, norm=norm) for _ in range(num))
                self.add_module(f"NL_{stage}", nn.ModuleList(blocks))

    @property
    def stages(self) -> dict[str, tuple[str, ...]]:
        """Stage name -> names of its children, in order from the input, including non-local blocks."""
        children = {name for name, _ in self.named_children()}
        stages: dict[str, tuple[str, ...]] = {"stem": ("conv1", "bn1")}
        for index in range(1, len(STAGE_WIDTHS) + 1):
            stages[f"layer{index}"] = tuple(name for name in (f"layer{index}", f"NL_{index}") if name in children)
        return stages

    def forward(self, images: Tensor) -> Tensor:
        use_checkpointing = self.gradient_checkpointing and self.training and torch.is_grad_enabled()
        maps: Tensor = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        for stage, (num_blocks, num_non_local) in enumerate(zip(self.num_blocks, self.num_non_local), start=1):
            first = num_blocks - num_non_local
            for index, block in enumerate(self.get_submodule(f"layer{stage}").children()):
                maps = checkpoint_block(block, maps) if use_checkpointing else block(maps)
                if index >= first:
                    maps = self.get_submodule(f"NL_{stage}.{index - first}")(maps)
        return maps


def _conv(in_channels: int, out_channels: int, kernel_px: int, *, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, kernel_px, stride=stride, padding=kernel_px // 2, bias=False)
