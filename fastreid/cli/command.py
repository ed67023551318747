"""A sub-command of `fastreid`: its name, help, options and function."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Command:
    """A sub-command.

    Modules of commands import torch and other heavy packages inside `run`, so that help and completion are fast.

    Args:
        name: one or two words, such as "train" or "data check".
        help: one line on what the command does.
        example: a complete command line.
        add_options: adds the options that `run` uses, and no others.
        run: receives the parsed arguments and returns the exit code.
    """

    name: str
    help: str
    example: str
    add_options: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]
