"""fastreid data cache: decode all drawings of a config into the cache."""

import argparse

from fastreid.cli.command import Command
from fastreid.utils.arguments import add_config_options
from fastreid.utils.text import print_message


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `fastreid data cache`."""
    add_config_options(parser)
    parser.add_argument(
        "--split",
        choices=("all", "train", "test"),
        default="all",
        help="train: drawings of DATASETS.NAMES; test: drawings of DATASETS.TESTS; all: both",
    )
    parser.add_argument(
        "--repair", action="store_true", help="first remove the entries of missing files and damaged pages"
    )


def run(args: argparse.Namespace) -> int:
    """Fill the cache and print its size."""
    from fastreid.data.build import build_cache, fill_cache
    from fastreid.engine.data import build_datasets, build_test_datasets
    from fastreid.engine.setup import load_config

    cfg = load_config(args.config_file, args.opts)
    train, tests = ((), build_test_datasets(cfg)) if args.split == "test" else build_datasets(cfg)
    tested = () if args.split == "train" else tests.values()
    cache = build_cache(cfg)
    if args.repair:
        print_message(f"{cache.path}: removed {cache.repair()} entries of missing files and damaged pages")
    drawings = [drawing for data in tested for drawing in (*data.queries, *data.gallery)]
    filled = fill_cache(cfg, cache, drawings, training=train)
    num_pages, num_bytes = cache.size()
    if not num_pages:
        print_message(f"{cache.path}: empty, because none of these drawings has a readable file")
        return 0
    print_message(
        f"{cache.path}: decoded {filled.num_decoded} pages, {filled.num_reused} were in the cache; it has {num_pages} "
        f"in {num_bytes / 2**20:.1f} MiB, {num_bytes / num_pages / 1024:.1f} KiB per page"
    )
    if not cfg.DATASETS.CACHE.ENABLED:
        print_message("to use the cache, set DATASETS.CACHE.ENABLED True")
    return 0


COMMAND = Command(
    "data cache",
    "Decode all drawings of a config once, into the cache of training and test.",
    "fastreid data cache --config-file own/folder.yml --split train DATASETS.FOLDER.PATH /data/my-patents",
    add_options,
    run,
)
