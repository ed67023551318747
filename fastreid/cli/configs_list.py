"""fastreid configs list: print the shipped configs."""

import argparse
from collections.abc import Sequence

from fastreid.cli.command import Command
from fastreid.config.locate import get_config_folder, list_configs, list_variant_files
from fastreid.utils.text import print_message


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add nothing: `fastreid configs list` has no options."""


def run(args: argparse.Namespace) -> int:
    """Print name and first comment line of each config and of each file of variants."""
    _print_files(list_configs())
    print_message("\nvariants for `fastreid ablate --variants`:")
    _print_files(list_variant_files())
    print_message(f"\nfolder: {get_config_folder()}; `fastreid configs copy DIR NAME` copies one to edit it")
    return 0


def _print_files(names: Sequence[str]) -> None:
    width = max(map(len, names)) + 2
    for name in names:
        lines = (get_config_folder() / name).read_text(encoding="utf-8").splitlines()
        comment = next((line.lstrip("# ") for line in lines if line.startswith("#")), "")
        print_message(f"{name:{width}}{comment}".rstrip())


COMMAND = Command(
    "configs list", "Print the shipped configs, each with a description.", "fastreid configs list", add_options, run
)
