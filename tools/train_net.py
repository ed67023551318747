#!/usr/bin/env python3
"""Train or evaluate a model: tools/train_net.py --config-file FILE [--resume | --eval-only] KEY VALUE ...

It takes the arguments of fast-reid's script; `fastreid train` and `fastreid test` do the same.
"""

import argparse
import sys
from collections.abc import Sequence

from fastreid.cli.launcher import launch_command
from fastreid.cli.test import evaluate_to_output_folder
from fastreid.cli.train import train
from fastreid.engine import default_argument_parser
from fastreid.utils.cli import run_tool
from fastreid.utils.errors import InputError


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    args = default_argument_parser("Train or evaluate a model.").parse_args(argv)
    if args.eval_only and args.resume:
        raise InputError("--resume continues a training and --eval-only does not train; use only one of them")
    if not args.eval_only:
        return launch_command(train, args)
    test_args = argparse.Namespace(**vars(args), features=None, random_weights=False)
    return launch_command(evaluate_to_output_folder, test_args)


if __name__ == "__main__":
    sys.exit(run_tool(main))
