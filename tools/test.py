#!/usr/bin/env python3
"""Evaluate a model and write result.npy: tools/test.py --config-file FILE --eval-only MODEL.WEIGHTS FILE ...

It takes the arguments of the challenge's script; `fastreid test` does the same and has more options.
"""

import argparse
import sys
from collections.abc import Sequence

from fastreid.cli.launcher import launch_command
from fastreid.cli.test import evaluate
from fastreid.engine import default_argument_parser
from fastreid.utils.cli import run_tool
from fastreid.utils.errors import InputError


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    args = default_argument_parser("Rank the gallery for every query and write result.npy.").parse_args(argv)
    if not args.eval_only:
        raise InputError("tools/test.py only evaluates; add --eval-only, or train with tools/train_net.py")
    if args.resume:
        raise InputError("--resume continues a training and --eval-only does not train; use only one of them")
    return launch_command(evaluate, argparse.Namespace(**vars(args), features=None, random_weights=False))


if __name__ == "__main__":
    sys.exit(run_tool(main))
