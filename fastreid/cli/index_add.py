"""fastreid index add: add drawings to a collection, which is created if it does not exist."""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fastreid.cli.command import Command
from fastreid.cli.index_follow import STOPPING, Follower, add_follow_options
from fastreid.cli.index_options import add_collection, add_model
from fastreid.utils.errors import InputError
from fastreid.utils.files import expand_home
from fastreid.utils.termination import request_stop

if TYPE_CHECKING:
    from fastreid.index import Collection
    from fastreid.index.manifest import Source


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `fastreid index add`."""
    add_collection(parser)
    parser.add_argument(
        "paths",
        nargs="+",
        type=expand_home,
        metavar="PATH",
        help="folders, searched with their subfolders; image, TIFF and PDF files; lists: .txt, .csv, .parquet",
    )
    add_model(parser, "that of the collection, or the default model for a new one")
    table = parser.add_mutually_exclusive_group()
    table.add_argument(
        "--metadata",
        type=expand_home,
        metavar="FILE",
        help=".csv or .parquet file with a column path or patent, and one column for each kind of metadata",
    )
    table.add_argument(
        "--no-metadata", action="store_true", help="no longer use the table that an earlier addition of the path named"
    )
    parser.add_argument(
        "--images",
        type=expand_home,
        metavar="DIR",
        help="folder of the paths in lists (default: the folder of the list; of a DeepPatent list its patent_data)",
    )
    add_follow_options(parser)


def run(args: argparse.Namespace) -> int:
    """Add the drawings and print the counts; with --watch, follow the sources."""
    from fastreid import index
    from fastreid.index.sources import find_source

    sources = [find_source(path, images=args.images or "", metadata=args.metadata or "") for path in args.paths]
    with request_stop(STOPPING) as stop:
        follower = Follower(args, stop)
        skip = follower.find_unfinished(sources)
        is_new = not index.exists(args.collection)
        collection = open_or_create(args, sources)
        metadata = None if args.no_metadata else args.metadata or ""
        options = {"images": args.images or "", "metadata": metadata, **follower.options}
        try:
            report = collection.add(args.paths, skip=skip, allow_empty=bool(args.watch), **options)
        except InputError:  # such as a filter of a saved query that names no column
            if is_new:
                collection.discard()
            raise
        follower.show_report(collection, report)
        num_read = report.num_embedded + report.num_relabeled + report.num_unchanged
        if report.faults and not num_read and not report.is_stopped and not args.watch:
            raise InputError(f"{args.collection}: none of the drawings can be read; check the paths")
        follower.follow(collection)
    return 0


def open_or_create(args: argparse.Namespace, sources: "Sequence[Source]") -> "Collection":
    """Return the collection; a new one is created if one of the drawings can be read, or if more are waited for."""
    from fastreid import index
    from fastreid.engine.model.directory import DEFAULT_MODEL
    from fastreid.index.sources import check_sources

    if not index.exists(args.collection):
        if not args.watch:
            check_sources(sources)  # before a collection is created
        try:
            return index.create(args.collection, model=args.model or DEFAULT_MODEL)
        except InputError:
            if not index.exists(args.collection):  # otherwise another process created it
                raise
    return index.open(args.collection, model=args.model)


COMMAND = Command(
    "index add",
    "Add drawings of folders, files and lists to a collection.",
    "fastreid index add patents.index drawings --metadata patents.csv",
    add_options,
    run,
)
