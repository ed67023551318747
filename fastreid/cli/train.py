"""fastreid train: train a model."""

import argparse

from fastreid.cli.command import Command
from fastreid.cli.launcher import launch_command
from fastreid.utils.arguments import add_config_options, add_process_options


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `fastreid train`."""
    add_config_options(parser)
    parser.add_argument("--resume", action="store_true", help="continue from the last checkpoint in OUTPUT_DIR")
    add_process_options(parser)


def train(args: argparse.Namespace) -> None:
    """Train in this process of the run."""
    from fastreid.engine.model.weights_source import check_initial_weights
    from fastreid.engine.setup import default_setup, load_config
    from fastreid.engine.trainer import DefaultTrainer

    cfg = load_config(args.config_file, args.opts)
    default_setup(cfg, args)
    check_initial_weights(cfg, resume=args.resume)
    trainer = DefaultTrainer(cfg)
    trainer.resume_or_load(resume=args.resume)
    trainer.train()


def run(args: argparse.Namespace) -> int:
    """Train in every process of the run."""
    return launch_command(train, args)


COMMAND = Command(
    "train",
    "Train a model and write checkpoints and metrics to OUTPUT_DIR.",
    "fastreid train --config-file demo/stage1.yml SOLVER.MAX_EPOCH 3",
    add_options,
    run,
)
