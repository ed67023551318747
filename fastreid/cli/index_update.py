"""fastreid index update: read the sources of a collection again."""

import argparse

from fastreid.cli.command import Command
from fastreid.cli.index_options import add_collection, add_model
from fastreid.cli.index_report import print_report


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `fastreid index update`."""
    add_collection(parser)
    add_model(parser, "that of the collection")


def run(args: argparse.Namespace) -> int:
    """Add new and changed drawings, remove those that no longer exist, and print the counts."""
    from fastreid import index

    collection = index.open(args.collection, model=args.model)
    print_report(collection, collection.update())
    return 0


COMMAND = Command(
    "index update",
    "Read all sources again: add new and changed drawings, remove missing ones.",
    "fastreid index update patents.index",
    add_options,
    run,
)
