"""Small networks and pages for the tests of exported networks."""

import tiny_backbone
import torch
from PIL import Image, ImageDraw
from torch import nn

from fastreid.engine.export import onnx_graph
from fastreid.engine.model.directory import ModelCard
from fastreid.engine.setup import load_config
from fastreid.modeling import build_model
from fastreid.modeling.build import BACKBONES

SIZE_PX = 64
CARD = ModelCard(title="lines")
HEAD = (
    *("MODEL.DEVICE", "cpu", "MODEL.HEADS.POOL_LAYER", "GeneralizedMeanPoolingP", "MODEL.HEADS.WITH_BNNECK", True),
    *("INPUT.SIZE_TEST", [SIZE_PX, SIZE_PX]),
)
SMALL = (*HEAD, "MODEL.BACKBONE.NAME", "tiny_backbone", "MODEL.BACKBONE.FEAT_DIM", tiny_backbone.NUM_CHANNELS)
RESNET = (
    *(*HEAD, "MODEL.BACKBONE.NAME", "build_resnet_backbone", "MODEL.BACKBONE.DEPTH", "18x"),
    *("MODEL.BACKBONE.WITH_IBN", True, "MODEL.BACKBONE.WITH_NL", True, "MODEL.BACKBONE.FEAT_DIM", 512),
    *("MODEL.BACKBONE.PRETRAIN", False),
)
FIXED = (*HEAD, "MODEL.BACKBONE.NAME", "fixed_size", "MODEL.BACKBONE.FEAT_DIM", 8, "MODEL.HEADS.WITH_BNNECK", False)
TIMM = (
    *("MODEL.DEVICE", "cpu", "MODEL.BACKBONE.NAME", "build_timm_backbone", "MODEL.BACKBONE.PRETRAIN", False),
    *("INPUT.SIZE_TEST", [160, 160]),
)


class FixedSizeBackbone(nn.Sequential):
    """A linear layer on all pixels: vectors (B, 8) of images of one size."""

    feature_dim = 8

    def __init__(self):
        super().__init__(nn.AvgPool2d(8), nn.Flatten(), nn.Linear(3 * (SIZE_PX // 8) ** 2, 8))


BACKBONES.register("fixed_size")(lambda cfg: FixedSizeBackbone())


def write_pages(folder, num=4):
    folder.mkdir()
    for number in range(num):
        page = Image.new("L", (90, 70 + 10 * number), 255)
        ImageDraw.Draw(page).ellipse((10, 10, 40 + 12 * number, 60), outline=0, width=2)
        page.save(folder / f"{number}.png")
    return [str(path) for path in sorted(folder.iterdir())]


def save_weights(path, settings):
    """Save a network with random weights, and statistics of batch norm that are not the initial ones."""
    torch.manual_seed(0)
    model = build_model(load_config(None, settings), num_classes=1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.8, 1.2)
    torch.save({"model": model.state_dict()}, path)
    return load_config(None, [*settings, "MODEL.WEIGHTS", str(path)])


def change(cfg, *settings):
    copy = cfg.clone()
    copy.merge_from_list(list(settings))
    copy.freeze()
    return copy


def relative(features, reference):
    return onnx_graph.measure_difference(torch.as_tensor(features), torch.as_tensor(reference))
