"""fastreid extract: save the features of drawings for later tests."""

import argparse
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fastreid.cli.command import Command
from fastreid.cli.launcher import launch_command
from fastreid.utils.arguments import add_config_options, add_process_options
from fastreid.utils.files import expand_home
from fastreid.utils.text import print_message

if TYPE_CHECKING:
    from fastreid.engine.features.extract import SavedDataset


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `fastreid extract`."""
    add_config_options(parser)
    parser.add_argument(
        "--split",
        choices=("test", "train", "all"),
        default="test",
        help="test: queries and gallery of DATASETS.TESTS; train: training drawings of DATASETS.NAMES; all: both",
    )
    parser.add_argument(
        "--output",
        type=expand_home,
        metavar="DIR",
        help="one subfolder per dataset is written there (default: OUTPUT_DIR/features)",
    )
    parser.add_argument("--random-weights", action="store_true", help="extract with an untrained network")
    add_process_options(parser)


def extract(args: argparse.Namespace) -> None:
    """Extract in this process of the run."""
    from fastreid.engine.features.extract import extract_datasets
    from fastreid.engine.setup import default_setup, load_config, load_test_config
    from fastreid.utils import comm

    load = load_config if args.random_weights else load_test_config
    cfg = load(args.config_file, args.opts)
    default_setup(cfg, args)
    for saved in extract_datasets(cfg, split=args.split, output=args.output, random_weights=args.random_weights):
        if comm.is_main_process():
            print_message(_format_summary(saved, args.config_file, args.opts))


def _format_summary(saved: "SavedDataset", config_file: str, opts: Sequence[str]) -> str:
    """Return one line: the folder, its new and all its parts, and the command that evaluates it with these settings."""
    parts = saved.manifest.parts
    action = f"wrote {' and '.join(saved.extracted_parts)}" if saved.extracted_parts else "already up to date"
    contents = ", ".join(f"{entry.num_rows} x {entry.dim} {name}" for name, entry in parts.items())
    command = shlex.join(["fastreid", "test", "--config-file", config_file, "--features", str(saved.folder), *opts])
    test = f"; to evaluate: {command}" if {"queries", "gallery"} <= parts.keys() else ""
    return f"{saved.folder}: {action}; contains {contents}{test}"


def run(args: argparse.Namespace) -> int:
    """Extract in every process of the run."""
    return launch_command(extract, args)


COMMAND = Command(
    "extract",
    "Save the features of drawings, so that tests need no network.",
    "fastreid extract --config-file demo/test.yml --split all MODEL.WEIGHTS logs/demo/stage2/model_best.pth",
    add_options,
    run,
)
