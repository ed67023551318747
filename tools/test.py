#!/usr/bin/env python3
"""Test a network and write result.npy: tools/test.py --config-file FILE --eval-only MODEL.WEIGHTS FILE ..."""

import argparse
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from fastreid.cli.launcher import launch_command
from fastreid.engine import default_setup
from fastreid.engine.evaluate import run_test
from fastreid.engine.evaluate_saved import run_saved_test
from fastreid.engine.setup import load_config
from fastreid.utils import comm
from fastreid.utils.cli import run_tool
from fastreid.utils.errors import EnvironmentSetupError, InputError
from fastreid.utils.files import atomic_write


def run(args: argparse.Namespace) -> None:
    """What each process of the run does."""
    cfg = load_config(args.config_file, args.opts)
    if not os.access(Path.cwd(), os.W_OK):
        raise EnvironmentSetupError(
            f"the working folder {Path.cwd()} cannot be written, and result.npy goes there; change to another"
        )
    if args.features is not None and args.random_weights:
        raise InputError("--features ranks what is saved and --random-weights a new network; leave one of them out")
    default_setup(cfg, args)
    if args.features is not None:
        run_saved_test(cfg, args.features, weights_asked="MODEL.WEIGHTS" in args.opts[::2])
    else:
        run_test(cfg, random_weights=args.random_weights)
    if comm.is_main():
        found = Path(cfg.OUTPUT_DIR, "result.npy")
        if found.resolve() != Path("result.npy").resolve():
            with found.open("rb") as source, atomic_write("result.npy") as target:
                shutil.copyfileobj(source, target)
        print(f"ranked drawings: result.npy and {found}; to submit: {found.with_suffix('.zip')}")
        if found.with_name("ranks.png").is_file():
            print(f"to look at: {found.with_name('ranks.png')}")


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--features", metavar="DIR", help="rank the features that tools/extract.py saved there; no network is built"
    )


def main(argv: Sequence[str] | None = None) -> int:
    return launch_command(run, "Rank the database for every query and write result.npy.", argv=argv, options=_options)


def cli() -> int:
    return run_tool(main)


if __name__ == "__main__":
    sys.exit(cli())
