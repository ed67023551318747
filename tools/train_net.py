#!/usr/bin/env python3
"""Train or evaluate a model: tools/train_net.py --config-file FILE [--resume | --eval-only] KEY VALUE ...

It takes the arguments of fast-reid's script; `fastreid train` and `fastreid test` do the same.
"""

import argparse
import sys
from collections.abc import Sequence

from fastreid.cli.launcher import launch_command
from fastreid.cli.train import train
from fastreid.engine import default_argument_parser, default_setup
from fastreid.engine.evaluate import run_test
from fastreid.engine.setup import load_config
from fastreid.utils.cli import run_tool
from fastreid.utils.errors import InputError


def evaluate(args: argparse.Namespace) -> None:
    """Evaluate MODEL.WEIGHTS in this process of the run."""
    cfg = load_config(args.config_file, args.opts)
    default_setup(cfg, args)
    run_test(cfg)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    args = default_argument_parser("Train or evaluate a model.").parse_args(argv)
    if args.eval_only and args.resume:
        raise InputError("--resume continues a training and --eval-only does not train; use only one of them")
    return launch_command(evaluate if args.eval_only else train, args)


if __name__ == "__main__":
    sys.exit(run_tool(main))
