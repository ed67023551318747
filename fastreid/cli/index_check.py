"""fastreid index check: verify that a collection is consistent."""

import argparse

from fastreid.cli.command import Command
from fastreid.cli.index_options import add_collection
from fastreid.utils.errors import StorageError
from fastreid.utils.text import format_count, format_faults, print_message


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `fastreid index check`."""
    add_collection(parser)


def run(args: argparse.Namespace) -> int:
    """Read all rows and print the inconsistencies."""
    from fastreid import index

    report = index.open(args.collection).check()
    for note in report.notes:
        print_message(note)
    if report.faults:
        raise StorageError(format_faults(report.faults, args.collection))
    print_message(f"{args.collection}: {format_count(report.num_drawings, 'drawing')}, no fault")
    return 0


COMMAND = Command(
    "index check",
    "Verify the features, ids, thumbnails and files of a collection.",
    "fastreid index check patents.index",
    add_options,
    run,
)
