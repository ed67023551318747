#!/usr/bin/env python3
"""Decode all drawings of a config into the cache: tools/prepare.py --config-file FILE [KEY VALUE ...]"""

import argparse
import sys
from collections.abc import Sequence

from fastreid.data.build import build_datasets, build_test_datasets
from fastreid.data.io.build import build_cache, fill_cache
from fastreid.engine.setup import config_parser, load_config
from fastreid.utils.cli import run_tool


def main(argv: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    cfg = load_config(args.config_file, args.opts)
    train, tests = ((), build_test_datasets(cfg)) if args.split == "test" else build_datasets(cfg)
    tested = () if args.split == "train" else tests.values()
    cache = build_cache(cfg)
    if args.mend:
        print(f"{cache.path}: forgot {cache.mend()} files that are gone or whose pages were damaged")
    drawings = [drawing for data in tested for drawing in (*data.queries, *data.gallery)]
    filled = fill_cache(cfg, cache, drawings, training=train)
    num_pages, num_bytes = cache.size()
    if not num_pages:
        print(f"{cache.path}: none of these drawings has a file that can be read, so there is nothing to keep")
        return 0
    print(
        f"{cache.path}: made {filled.num_made} pages, {filled.num_kept} were there; it holds {num_pages} in "
        f"{num_bytes / 2**20:.1f} MiB, {num_bytes / num_pages / 1024:.1f} KiB each"
    )
    if not cfg.DATASETS.CACHE.ENABLED:
        print("to use it: DATASETS.CACHE.ENABLED True")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = config_parser(
        description="Decode the drawings of a config once, into the cache that training and test read."
    )
    parser.add_argument(
        "--split",
        choices=("all", "train", "test"),
        default="all",
        help="train: the drawings of DATASETS.NAMES; test: those of DATASETS.TESTS (all)",
    )
    parser.add_argument(
        "--mend", action="store_true", help="first forget files that are gone and pages that are damaged"
    )
    return parser


def cli() -> int:
    return run_tool(main)


if __name__ == "__main__":
    sys.exit(cli())
