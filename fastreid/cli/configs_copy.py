"""fastreid configs copy: copy shipped configs to a folder to edit them."""

import argparse
from pathlib import Path

from fastreid.cli.command import Command
from fastreid.config.locate import find_shipped_config, get_config_folder, list_configs
from fastreid.config.reader import list_base_files
from fastreid.utils.errors import InputError, suggest_and_list
from fastreid.utils.files import write_text


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `fastreid configs copy`."""
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder for the copies; created if missing")
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="names from `fastreid configs list` (default: all); bases are included"
    )


def run(args: argparse.Namespace) -> int:
    """Copy the configs and the files they are based on; existing files are never overwritten."""
    source = get_config_folder()
    files = [_find(name) for name in args.names or list_configs()]
    files = sorted({file for first in files for file in (first, *list_base_files(first))})
    copies = {file: args.folder / file.relative_to(source) for file in files}
    existing = [str(copy) for copy in copies.values() if copy.exists()]
    if existing:
        raise InputError(f"{', '.join(existing)}: exists and is not overwritten; choose another folder or delete it")
    for file, copy in copies.items():
        write_text(copy, file.read_text(encoding="utf-8"))
        print(copy)
    return 0


def _find(name: str) -> Path:
    path = find_shipped_config(name)
    if path is None:
        raise InputError(f"there is no shipped config '{name}'.{suggest_and_list(name, list_configs())}")
    return path


COMMAND = Command(
    "configs copy",
    "Copy shipped configs to a folder to edit them.",
    "fastreid configs copy my_configs demo/stage1.yml",
    add_options,
    run,
)
