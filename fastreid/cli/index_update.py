"""fastreid index update: read the sources of a collection again."""

import argparse

from fastreid.cli.command import Command
from fastreid.cli.index_follow import STOPPING, Follower, add_follow_options
from fastreid.cli.index_options import add_collection, add_model
from fastreid.utils.termination import request_stop


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `fastreid index update`."""
    add_collection(parser)
    add_model(parser, "that of the collection")
    add_follow_options(parser)


def run(args: argparse.Namespace) -> int:
    """Add new and changed drawings, remove those that no longer exist, and print the counts."""
    from fastreid import index

    with request_stop(STOPPING) as stop:
        follower = Follower(args, stop)
        collection = index.open(args.collection, model=args.model)
        skip = follower.find_unfinished(collection.read_sources())
        follower.show_report(collection, collection.update(skip=skip, **follower.options))
        follower.follow(collection)
    return 0


COMMAND = Command(
    "index update",
    "Read all sources again: add new and changed drawings, remove missing ones.",
    "fastreid index update patents.index",
    add_options,
    run,
)
