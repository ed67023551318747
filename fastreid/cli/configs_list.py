"""fastreid configs list: print the shipped configs."""

import argparse

from fastreid.cli.command import Command
from fastreid.config.locate import get_config_folder, list_configs


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add nothing: `fastreid configs list` has no options."""


def run(args: argparse.Namespace) -> int:
    """Print name and first comment line of each config."""
    folder = get_config_folder()
    names = list_configs()
    width = max(map(len, names)) + 2
    for name in names:
        lines = (folder / name).read_text(encoding="utf-8").splitlines()
        comment = next((line.lstrip("# ") for line in lines if line.startswith("#")), "")
        print(f"{name:{width}}{comment}".rstrip())
    print(f"folder: {folder}; `fastreid configs copy DIR NAME` copies one to edit it")
    return 0


COMMAND = Command(
    "configs list", "Print the shipped configs, each with a description.", "fastreid configs list", add_options, run
)
