"""fastreid batch-size: find the largest batch that fits into memory."""

import argparse

from fastreid.cli.command import Command
from fastreid.utils.arguments import add_config_options
from fastreid.utils.errors import InputError
from fastreid.utils.option_values import NumberParser
from fastreid.utils.text import print_message


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `fastreid batch-size`."""
    add_config_options(parser)
    size, steps = NumberParser(int, 1, example="512"), NumberParser(int, 1, example="3")
    parser.add_argument("--max-size", type=size, default=4096, metavar="N", help="largest batch to try, in drawings")
    parser.add_argument("--steps", type=steps, default=3, metavar="N", help="timed iterations per batch size")
    parser.add_argument(
        "--memory-mb",
        type=NumberParser(float, 0, example="8000", exclusive=True),
        metavar="MIB",
        help="memory limit of a run in MiB (default: 90 %% of the free memory)",
    )


def run(args: argparse.Namespace) -> int:
    """Train on random images with increasing batch sizes and print the speed and memory of each."""
    from fastreid.engine.setup import load_config
    from fastreid.experiments.batch_size import try_batch_sizes
    from fastreid.utils.logger import setup_logger

    cfg = load_config(args.config_file, args.opts)
    setup_logger()
    largest = 0
    for trial in try_batch_sizes(cfg, max_size=args.max_size, num_steps=args.steps, memory_mb=args.memory_mb):
        if trial.fits:
            largest = trial.size
            speed = f"{trial.drawings_per_second:.1f} drawings per second"
            print_message(f"batch of {trial.size}: {speed}, {trial.memory_mb:.0f} MiB")
        else:
            needed = f": it needs {trial.memory_mb:.0f} MiB" if trial.memory_mb else ""
            print_message(f"batch of {trial.size} does not fit{needed}")
    if not largest:
        raise InputError(
            "no batch size fits; reduce INPUT.SIZE_TRAIN or DATALOADER.NUM_INSTANCE, "
            "or set MODEL.BACKBONE.GRADIENT_CHECKPOINTING True"
        )
    print_message(f"largest batch that fits: SOLVER.IMS_PER_BATCH {largest}")
    return 0


COMMAND = Command(
    "batch-size",
    "Find the largest training batch that fits into memory.",
    "fastreid batch-size --config-file patent/sbs_R101-ibn_patent_256.yml --max-size 512",
    add_options,
    run,
)
