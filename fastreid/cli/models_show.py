"""fastreid models show: print a model card, or the properties of a timm network."""

import argparse

from fastreid.cli.command import Command
from fastreid.utils.text import print_message


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the name of a model."""
    parser.add_argument("name", metavar="NAME", help="shipped model, model directory, or timm network")


def run(args: argparse.Namespace) -> int:
    """Print the model card, or the settings of a timm network."""
    from fastreid.engine.model.directory import CARD_FILE, find_model_directory
    from fastreid.engine.model.zoo import load_model_config

    directory = find_model_directory(args.name)
    if directory is not None:
        card = directory / CARD_FILE
        print_message(
            card.read_text(encoding="utf-8").rstrip() if card.is_file() else f"{directory}: has no {CARD_FILE}"
        )
        return 0
    cfg = load_model_config(args.name)
    from fastreid.modeling.build import build_backbone

    backbone = build_backbone(cfg)
    num_parameters = sum(parameter.numel() for parameter in backbone.parameters())
    print_message(
        f"{args.name}: timm network, {backbone.feature_dim} output channels, {num_parameters / 1e6:.1f} M parameters, "
        f"images of {' x '.join(map(str, cfg.INPUT.SIZE_TEST))} px\n"
        f"MODEL.PIXEL_MEAN {cfg.MODEL.PIXEL_MEAN}, PIXEL_STD {cfg.MODEL.PIXEL_STD}"
    )
    return 0


COMMAND = Command(
    "models show",
    "Print the model card of a model, or the properties of a timm network.",
    "fastreid models show lines-mobilenetv2",
    add_options,
    run,
)
