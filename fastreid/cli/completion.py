"""fastreid completion: print a script for the shell that completes commands and options."""

import argparse

from fastreid.cli.command import Command


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `fastreid completion`."""
    parser.add_argument("shell", choices=("bash", "zsh", "fish"), help="the shell: bash, zsh or fish")


def run(args: argparse.Namespace) -> int:
    """Print the script, generated from the parsers of all commands."""
    import importlib

    import shtab

    parser = importlib.import_module("fastreid.cli.main").build_parser()  # main imports this module
    print(shtab.complete(parser, shell=args.shell))
    return 0


COMMAND = Command(
    "completion",
    "Print a completion script for bash, zsh or fish.",
    "fastreid completion bash > ~/.local/share/bash-completion/completions/fastreid",
    add_options,
    run,
)
