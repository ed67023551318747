"""fastreid completion: print a script for the shell that completes commands and options."""

import argparse
import importlib
from collections.abc import Iterator
from typing import Any

from fastreid.cli.command import Command


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `fastreid completion`."""
    parser.add_argument("shell", choices=("bash", "zsh", "fish"), help="the shell: bash, zsh or fish")


def run(args: argparse.Namespace) -> int:
    """Print the script, generated from the parsers of the commands."""
    import shtab

    parser = importlib.import_module(
        "fastreid.cli.main"
    ).build_parser()  # imported here, since main imports this module
    for action in _actions_of(parser):
        if action.metavar in ("FILE", "IMAGE", "PATH"):
            action.complete = shtab.FILE
        elif action.metavar in ("DIR", "COLLECTION"):
            action.complete = shtab.DIRECTORY
    print(shtab.complete(parser, shell=args.shell))
    return 0


def _actions_of(parser: argparse.ArgumentParser) -> Iterator[Any]:
    """Yield the actions of a parser and of its sub-parsers."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                yield from _actions_of(child)


COMMAND = Command(
    "completion",
    "Print a completion script for bash, zsh or fish.",
    "fastreid completion bash > ~/.local/share/bash-completion/completions/fastreid",
    add_options,
    run,
)
