"""ResNet with the parts patent retrieval uses: IBN-a, squeeze-and-excitation, non-local blocks, last stride.

He, Zhang, Ren, Sun: Deep residual learning for image recognition (2016). Names, shapes and order of the tensors are
those of fast-reid's checkpoints.
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
from fastreid.utils.errors import InputError, suggest_from_known

NUM_STEM_CHANNELS = 64
STAGE_WIDTHS = (64, 128, 256, 512)
NUM_IBN_STAGES = 3  # the first three: the last is left to batch norm, as IBN-Net's weights are


class _Block(nn.Module, abc.ABC):
    """What both kinds of block share: the way past, and the sum at the end."""

    expansion: ClassVar[int]
    relu: nn.Module
    se: nn.Module
    downsample: nn.Module | None

    @abc.abstractmethod
    def residual(self, maps: Tensor) -> Tensor:
        """What the block adds to the way past."""

    def forward(self, maps: Tensor) -> Tensor:
        past = maps if self.downsample is None else self.downsample(maps)
        return self.relu(self.se(self.residual(maps)) + past)

    def _add_shortcut(self, in_channels: int, out_channels: int, *, norm: NormFactory, stride: int, with_se: bool) -> None:
        self.relu = nn.ReLU(inplace=True)
        self.se = SqueezeExcitation(out_channels) if with_se else nn.Identity()
        self.downsample = None
        if stride != 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(_conv(in_channels, out_channels, 1, stride=stride), norm(out_channels))


class BasicBlock(_Block):
    """Two 3x3 convolutions."""

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
        return self.bn2(self.conv2(maps))


class Bottleneck(_Block):
    """1x1, 3x3, 1x1, four times as wide at the end; the stride is at the 3x3."""

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
        return self.bn3(self.conv3(maps))


@dataclass(frozen=True)
class ResNetSpec:
    """How a depth is built: its block, blocks a stage, and non-local blocks after the last ones of each stage."""

    block: type[BasicBlock] | type[Bottleneck]
    num_blocks: tuple[int, int, int, int]
    num_non_local: tuple[int, int, int, int]


RESNET_SPECS = {
    "18x": ResNetSpec(BasicBlock, (2, 2, 2, 2), (0, 0, 0, 0)),
    "34x": ResNetSpec(BasicBlock, (3, 4, 6, 3), (0, 0, 0, 0)),
    "50x": ResNetSpec(Bottleneck, (3, 4, 6, 3), (0, 2, 3, 0)),
    "101x": ResNetSpec(Bottleneck, (3, 4, 23, 3), (0, 2, 9, 0)),
}


class ResNet(nn.Module):
    """Images (B, 3, H, W), normalised -> map (B, feature_dim, H/16, W/16), or H/32 with last stride 2.

    Args:
        depth: 18x, 34x, 50x or 101x.
        last_stride: stride of the last stage, 1 or 2.
        norm: maker of the norms.
        with_ibn: IBN-a in the first norm of every block of stages 1 to 3.
        with_se: squeeze-and-excitation at the end of every block.
        with_nl: non-local blocks late in stages 2 and 3; 18x and 34x have none to add.
        nl_wide: give those the paper's inner width C / 2, not 1.
        recompute: work blocks out again in the backward pass instead of keeping their maps.

    Raises:
        InputError: an unknown depth, a stride other than 1 or 2, or wide non-local blocks where there are none.
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
        if depth not in RESNET_SPECS:
            raise InputError(f"no ResNet has the depth '{depth}'.{suggest_from_known(depth, RESNET_SPECS)}")
        if last_stride not in (1, 2):
            raise InputError(f"the last stride of a ResNet is 1 or 2, not {last_stride}")
        plan = RESNET_SPECS[depth]
        if nl_wide and not (with_nl and any(plan.num_non_local)):
            raise InputError("NL_WIDE widens non-local blocks: it needs WITH_NL True and a DEPTH of 50x or 101x")
        self.conv1 = nn.Conv2d(3, NUM_STEM_CHANNELS, 7, stride=2, padding=3, bias=False)
        self.bn1 = norm(NUM_STEM_CHANNELS)
        self.relu = nn.ReLU(inplace=True)
        # No padding, rounded up: fast-reid's windows start at the edge, torchvision's one pixel outside it.
        self.maxpool = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        channels = NUM_STEM_CHANNELS
        for stage, (width, num_blocks) in enumerate(zip(STAGE_WIDTHS, plan.num_blocks, strict=True), start=1):
            make = partial(plan.block, width=width, norm=norm, ibn=with_ibn and stage <= NUM_IBN_STAGES, se=with_se)
            first = make(channels, stride=(1, 2, 2, last_stride)[stage - 1])
            channels = width * plan.block.expansion
            self.add_module(f"layer{stage}", nn.Sequential(first, *(make(channels) for _ in range(num_blocks - 1))))
        self.feature_dim = channels
        init_convs(self)
        self.gradient_checkpointing = gradient_checkpointing
        self.num_blocks = plan.num_blocks
        self.num_non_local = plan.num_non_local if with_nl else (0, 0, 0, 0)
        # After the convolutions' start, since those of the non-local blocks keep torch's own.
        for stage, num in enumerate(self.num_non_local, start=1):
            if num:
                channels = STAGE_WIDTHS[stage - 1] * plan.block.expansion
                inner = channels // 2 if nl_wide else 1
                blocks = (NonLocal(channels, inner, norm=norm) for _ in range(num))
                self.add_module(f"NL_{stage}", nn.ModuleList(blocks))

    @property
    def stages(self) -> dict[str, tuple[str, ...]]:
        """Stage -> its children, from the image on; the non-local blocks of a stage are part of it."""
        own = {name for name, _ in self.named_children()}
        later = {f"layer{number}": (f"layer{number}", f"NL_{number}") for number in range(1, len(STAGE_WIDTHS) + 1)}
        return {"stem": ("conv1", "bn1"), **{name: tuple(c for c in both if c in own) for name, both in later.items()}}

    def forward(self, images: Tensor) -> Tensor:
        keep_inputs_only = self.gradient_checkpointing and self.training and torch.is_grad_enabled()
        maps = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        for stage, (num_blocks, num_non_local) in enumerate(zip(self.num_blocks, self.num_non_local), start=1):
            first = num_blocks - num_non_local
            for index, block in enumerate(self.get_submodule(f"layer{stage}").children()):
                maps = checkpoint_block(block, maps) if keep_inputs_only else block(maps)
                if index >= first:
                    maps = self.get_submodule(f"NL_{stage}.{index - first}")(maps)
        return maps


def _conv(in_channels: int, out_channels: int, kernel_px: int, *, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, kernel_px, stride=stride, padding=kernel_px // 2, bias=False)
