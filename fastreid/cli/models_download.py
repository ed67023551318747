"""fastreid models download: store the weights of a model in the cache."""

import argparse

from fastreid.cli.command import Command
from fastreid.utils.text import print_message


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the name of a model."""
    parser.add_argument("name", metavar="NAME", help="shipped model, model directory, or timm network")


def run(args: argparse.Namespace) -> int:
    """Load the weights of a model once, which stores downloaded files in the cache."""
    from fastreid.engine.model.zoo import create_model

    model = create_model(args.name)
    num_parameters = sum(parameter.numel() for parameter in model.parameters())
    print_message(f"{args.name}: ready, {num_parameters / 1e6:.1f} M parameters")
    return 0


COMMAND = Command(
    "models download",
    "Store the weights of a model in the cache and check that they load.",
    "fastreid models download lines-mobilenetv2",
    add_options,
    run,
)
