"""fastreid configs copy: copy shipped configs to a folder to edit them."""

import argparse
from pathlib import Path

from fastreid.cli.command import Command
from fastreid.config.locate import (
    find_shipped_config,
    get_config_folder,
    list_configs,
    list_variant_files,
    suggest_nearest_file,
)
from fastreid.config.reader import list_base_files
from fastreid.utils.errors import InputError
from fastreid.utils.files import write_text
from fastreid.utils.option_values import parse_path
from fastreid.utils.text import print_message


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `fastreid configs copy`."""
    parser.add_argument("folder", type=parse_path, metavar="DIR", help="folder for the copies; created if missing")
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="names from `fastreid configs list`, or their folders such as own (default: all); bases are included",
    )


def run(args: argparse.Namespace) -> int:
    """Copy the configs and the files they are based on; existing files are never overwritten."""
    source = get_config_folder()
    files = [file for name in args.names or _list_names() for file in _find(name)]
    files = sorted({file for first in files for file in (first, *list_base_files(first))})
    copies = {file: args.folder / file.relative_to(source) for file in files}
    existing = [str(copy) for copy in copies.values() if copy.exists()]
    if len(existing) == 1:
        raise InputError(f"{existing[0]}: exists and is not overwritten; choose another folder or delete it")
    if existing:
        raise InputError(
            f"{args.folder}: contains {len(existing)} of the {len(copies)} files, such as {existing[0]}, and files are "
            "not overwritten; choose another folder"
        )
    for file, copy in copies.items():
        write_text(copy, file.read_text(encoding="utf-8"))
        print_message(str(copy))
    return 0


def _find(name: str) -> list[Path]:
    """Return the config of a name, or all configs of a folder."""
    in_folder = [known for known in _list_names() if known.startswith(f"{name.rstrip('/')}/")]
    if in_folder:
        return [file for known in in_folder for file in _find(known)]
    path = find_shipped_config(name)
    if path is None:
        hint = suggest_nearest_file(name, _list_names())
        raise InputError(f"there is no shipped config '{name}'.{hint} `fastreid configs list` prints their names")
    return [path]


def _list_names() -> list[str]:
    return [*list_configs(), *list_variant_files()]


COMMAND = Command(
    "configs copy",
    "Copy shipped configs to a folder to edit them.",
    "fastreid configs copy my_configs demo/stage1.yml",
    add_options,
    run,
)
