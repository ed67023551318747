"""The `fastreid` command with a tiny backbone, started by a script that registers a new network, as users do.

    python tests/end_to_end/tiny_backbone.py train --config-file tests/end_to_end/tiny.yml

Processes started by a command (`--num-gpus 2`) import this script as well, so they know the backbone too.
"""

import sys

from torch import Tensor, nn

from fastreid.cli.main import main_entry
from fastreid.layers.norm import NORMS, NormFactory
from fastreid.modeling.build import BACKBONES

NUM_CHANNELS = 32


class TinyBackbone(nn.Module):
    """Two convolutions with normalization: feature maps (B, 32, H/8, W/8)."""

    feature_dim = NUM_CHANNELS

    def __init__(self, norm: NormFactory = nn.BatchNorm2d) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 4, stride=4, bias=False)
        self.bn1 = norm(16)
        self.conv2 = nn.Conv2d(16, NUM_CHANNELS, 3, stride=2, padding=1, bias=False)
        self.bn2 = norm(NUM_CHANNELS)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.bn1(self.conv1(images)).relu()
        return self.bn2(self.conv2(maps)).relu()


BACKBONES.register("tiny_backbone")(lambda cfg: TinyBackbone(NORMS.get(cfg.MODEL.BACKBONE.NORM)))

if __name__ == "__main__":
    sys.exit(main_entry())
