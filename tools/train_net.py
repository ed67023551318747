#!/usr/bin/env python3
"""Train a network: tools/train_net.py --config-file FILE [--resume] [--eval-only] KEY VALUE ..."""

import argparse
import sys
from collections.abc import Sequence

from fastreid.cli.launcher import launch_command
from fastreid.engine import DefaultTrainer, default_setup
from fastreid.engine.evaluate import run_test
from fastreid.engine.setup import load_config
from fastreid.utils.cli import run_tool


def run(args: argparse.Namespace) -> None:
    """What each process of the run does."""
    cfg = load_config(args.config_file, args.opts)
    default_setup(cfg, args)
    if args.eval_only:
        run_test(cfg, random_weights=args.random_weights)
        return
    trainer = DefaultTrainer(cfg)
    trainer.resume_or_load(resume=args.resume)
    trainer.train()


def main(argv: Sequence[str] | None = None) -> int:
    return launch_command(run, "Train a network on patent drawings.", argv=argv)


def cli() -> int:
    return run_tool(main)


if __name__ == "__main__":
    sys.exit(cli())
