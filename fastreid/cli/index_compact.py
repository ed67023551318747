"""fastreid index compact: merge the files of a collection and build its index."""

import argparse

from fastreid.cli.command import Command
from fastreid.cli.index_options import add_collection
from fastreid.utils.text import print_message


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `fastreid index compact`."""
    add_collection(parser)


def run(args: argparse.Namespace) -> int:
    """Compact the collection and print its size."""
    from fastreid import index
    from fastreid.utils.logger import get_logger
    from fastreid.utils.resources import format_bytes
    from fastreid.utils.text import escape_unprintable

    collection = index.open(args.collection)
    before = collection.info()["bytes"]
    for fault in collection.compact():
        get_logger().warning(escape_unprintable(fault))
    info = collection.info()
    sizes = "size unknown, on the server"
    if before is not None:
        sizes = f"{format_bytes(before)} before, {format_bytes(info['bytes'])} now"
    print_message(f"{args.collection}: {sizes}; search: {info['search']}")
    return 0


COMMAND = Command(
    "index compact",
    "Merge small files, build the index of a large collection, remove what is unused.",
    "fastreid index compact patents.index",
    add_options,
    run,
)
