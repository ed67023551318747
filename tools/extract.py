#!/usr/bin/env python3
"""Save features of drawings for later tests: tools/extract.py --config-file FILE MODEL.WEIGHTS FILE ..."""

import argparse
import shlex
import sys
from collections.abc import Sequence

from fastreid.cli.launcher import launch_command
from fastreid.engine import default_setup
from fastreid.engine.features import SPLITS, SavedSet, extract_sets
from fastreid.engine.setup import load_config
from fastreid.utils import comm
from fastreid.utils.cli import run_tool


def run(args: argparse.Namespace) -> None:
    """What each process of the run does."""
    cfg = load_config(args.config_file, args.opts)
    default_setup(cfg, args)
    for saved in extract_sets(cfg, split=args.split, output=args.output, random_weights=args.random_weights):
        if comm.is_main():
            print(_told(saved, args.config_file))


def _told(saved: SavedSet, config_file: str) -> str:
    """One line: where the features of a set lie, how many there are, and how to test them."""
    parts = saved.manifest.parts
    kind = f"wrote {' and '.join(saved.made)}" if saved.made else "nothing to do"
    holds = ", ".join(f"{entry.rows} x {entry.width} {name}" for name, entry in parts.items())
    command = shlex.join(["tools/test.py", "--config-file", config_file, "--features", str(saved.folder)])
    test = f"; to test: python {command}" if {"queries", "gallery"} <= parts.keys() else ""
    return f"{saved.folder}: {kind}; it holds {holds}{test}"


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--split",
        choices=SPLITS,
        default="test",
        help="test: queries and database of DATASETS.TESTS; train: the training drawings of DATASETS.NAMES (test)",
    )
    parser.add_argument("--output", metavar="DIR", help="gets a folder a set (OUTPUT_DIR/features)")


def main(argv: Sequence[str] | None = None) -> int:
    return launch_command(
        run, "Save the features of drawings, to be tested again and again.", argv=argv, options=_options
    )


def cli() -> int:
    return run_tool(main)


if __name__ == "__main__":
    sys.exit(cli())
