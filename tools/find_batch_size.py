#!/usr/bin/env python3
"""How many drawings a step fit in memory: tools/find_batch_size.py --config-file FILE [KEY VALUE ...]"""

import argparse
import sys
from collections.abc import Sequence

from fastreid.engine.build import batch_size_trials
from fastreid.engine.setup import config_parser, load_config
from fastreid.utils.cli import run_tool
from fastreid.utils.errors import InputError
from fastreid.utils.logger import setup_logger


def main(argv: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    if args.steps < 1 or args.most < 1:
        raise InputError(f"--steps {args.steps} --most {args.most}: both are at least 1")
    cfg = load_config(args.config_file, args.opts)
    setup_logger()
    largest = 0
    for trial in batch_size_trials(cfg, most=args.most, num_steps=args.steps, memory_mb=args.memory_mb):
        if trial.fits:
            largest = trial.size
            print(f"{trial.size} drawings a step: {trial.per_second:.1f} a second, {trial.memory_mb:.0f} MiB")
        else:
            asked = f": it would take {trial.memory_mb:.0f} MiB" if trial.memory_mb else ""
            print(f"{trial.size} drawings a step do not fit{asked}")
    if not largest:
        raise InputError(
            "no size fits; try a smaller INPUT.SIZE_TRAIN or DATALOADER.NUM_INSTANCE, or MODEL.BACKBONE.GRADIENT_CHECKPOINTING True"
        )
    print(f"the most that was tried and fits: SOLVER.IMS_PER_BATCH {largest}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = config_parser(description="Train on noise with ever larger batches until memory runs out.")
    parser.add_argument("--most", type=int, default=4096, metavar="N", help="drawings a step at the most (4096)")
    parser.add_argument("--steps", type=int, default=3, metavar="N", help="steps that are timed of each size (3)")
    parser.add_argument(
        "--memory-mb", type=float, metavar="MIB", help="that a run may hold (nine tenths of what is free)"
    )
    return parser


def cli() -> int:
    return run_tool(main)


if __name__ == "__main__":
    sys.exit(cli())
