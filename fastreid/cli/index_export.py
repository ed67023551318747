"""fastreid index export: write the metadata and features of a collection to a file."""

import argparse

from fastreid.cli.command import Command
from fastreid.cli.index_options import add_collection, add_filter
from fastreid.utils.errors import InputError
from fastreid.utils.option_values import parse_path
from fastreid.utils.text import format_count, print_message

SUFFIXES = (".csv", ".parquet", ".npy")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `fastreid index export`."""
    add_collection(parser)
    parser.add_argument(
        "--output",
        required=True,
        type=parse_path,
        metavar="FILE",
        help=".csv: metadata; .parquet: metadata and features; .npy: features, float32 (N, D). All are ordered by id",
    )
    add_filter(parser, "only the drawings that fulfill a filter")


def run(args: argparse.Namespace) -> int:
    """Write the file."""
    from fastreid import index
    from fastreid.index.export import export_collection

    if args.output.suffix not in SUFFIXES:
        raise InputError(f"--output is {args.output}; the name must end in {', '.join(SUFFIXES)}")
    num = export_collection(index.open(args.collection), args.output, where=args.filter or "")
    print_message(f"{args.output}: {format_count(num, 'drawing')}")
    return 0


COMMAND = Command(
    "index export",
    "Write the metadata and features of a collection to a file.",
    "fastreid index export patents.index --output patents.parquet",
    add_options,
    run,
)
