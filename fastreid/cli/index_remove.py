"""fastreid index remove: remove drawings or sources from a collection."""

import argparse
import os

from fastreid.cli.command import Command
from fastreid.cli.index_options import add_collection, add_filter
from fastreid.utils.errors import InputError
from fastreid.utils.files import expand_home
from fastreid.utils.option_values import ListParser
from fastreid.utils.text import format_count, print_message


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `fastreid index remove`."""
    add_collection(parser)
    ids = ListParser("0c1f3a5e7b9d2468")
    parser.add_argument("--id", type=ids, default=[], metavar="ID,...", help="ids of drawings, as a search prints them")
    add_filter(parser, "remove the drawings that fulfill a filter")
    parser.add_argument(
        "--source", type=expand_home, metavar="PATH", help="remove an added path with all of its drawings"
    )


def run(args: argparse.Namespace) -> int:
    """Remove the drawings and print their number."""
    from fastreid import index

    if not (args.id or args.filter or args.source):
        raise InputError("fastreid index remove: nothing to remove; add --id, --filter or --source")
    collection = index.open(args.collection)
    if args.source:  # before anything is removed
        collection.manifest.check_source(os.path.abspath(args.source), where=collection.uri)
    num = collection.remove(ids=args.id, where=args.filter or "") if args.id or args.filter else 0
    if args.source:
        num += collection.remove_source(args.source)
    left = format_count(collection.count(), "drawing")
    print_message(f"{args.collection}: {format_count(num, 'drawing')} removed; {left} in the collection")
    return 0


COMMAND = Command(
    "index remove",
    "Remove drawings by id, by filter, or with their source.",
    'fastreid index remove patents.index --filter "patent = D0801234"',
    add_options,
    run,
)
