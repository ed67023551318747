"""fastreid index add: add drawings to a collection, which is created if it does not exist."""

import argparse

from fastreid.cli.command import Command
from fastreid.cli.index_options import add_collection, add_model
from fastreid.cli.index_report import print_report
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
    from fastreid.index.sources import find_source

    options = {"images": args.images or "", "metadata": args.metadata or ""}
    for path in args.paths:  # before a collection is created
        find_source(path, **options)
    if index.exists(args.collection):
        collection = index.open(args.collection, model=args.model)
    else:
        collection = index.create(args.collection, model=args.model or DEFAULT_MODEL)
    report = collection.add(args.paths, **options)
    print_report(collection, report)
    return 0


COMMAND = Command(
    "index add",
    "Add drawings of folders, files and lists to a collection.",
    "fastreid index add patents.index drawings --metadata patents.csv",
    add_options,
    run,
)
