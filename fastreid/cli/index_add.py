"""fastreid index add: add drawings to a collection, which is created if it does not exist."""

import argparse

from fastreid.cli.command import Command
from fastreid.cli.index_options import add_collection, add_model
from fastreid.cli.index_report import print_report
from fastreid.utils.errors import InputError
from fastreid.utils.files import expand_home


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
    parser.add_argument(
        "--metadata",
        type=expand_home,
        metavar="FILE",
        help=".csv or .parquet file with a column path or patent, and one column for each kind of metadata",
    )
    parser.add_argument(
        "--images",
        type=expand_home,
        metavar="DIR",
        help="folder of the paths in lists (default: the folder of the list; of a DeepPatent list its patent_data)",
    )


def run(args: argparse.Namespace) -> int:
    """Add the drawings and print the counts."""
    from fastreid import index
    from fastreid.engine.model_directory import DEFAULT_MODEL
    from fastreid.index.sources import check_sources, find_source

    options = {"images": args.images or "", "metadata": args.metadata or ""}
    sources = [find_source(path, **options) for path in args.paths]
    if index.exists(args.collection):
        collection = index.open(args.collection, model=args.model)
    else:
        check_sources(sources)  # before a collection is created
        try:
            collection = index.create(args.collection, model=args.model or DEFAULT_MODEL)
        except InputError:
            if not index.exists(args.collection):  # otherwise another process created it
                raise
            collection = index.open(args.collection, model=args.model)
    report = collection.add(args.paths, **options)
    print_report(collection, report)
    if report.faults and not report.num_embedded + report.num_relabeled + report.num_unchanged:
        raise InputError(f"{args.collection}: none of the drawings can be read; check the paths")
    return 0


COMMAND = Command(
    "index add",
    "Add drawings of folders, files and lists to a collection.",
    "fastreid index add patents.index drawings --metadata patents.csv",
    add_options,
    run,
)
