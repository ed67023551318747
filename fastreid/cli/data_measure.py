"""fastreid data measure: compare collections of drawings."""

import argparse
from pathlib import Path

from fastreid.cli.command import Command
from fastreid.utils.errors import InputError


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `fastreid data measure`."""
    parser.add_argument(
        "folders", nargs="+", metavar="NAME=DIR", help="name of a collection, and the folder that contains train_data/"
    )
    parser.add_argument("--plots", type=Path, metavar="FILE", help="also write a PNG with a histogram of each measure")


def run(args: argparse.Namespace) -> int:
    """Print two tables and, if asked, write the histograms."""
    collections = dict(_parse_collection(word) for word in args.folders)
    from tabulate import tabulate

    from fastreid.experiments.drawing_measures.report import measure_collection, plot_histograms, tabulate_quantiles
    from fastreid.synthetic import png_bytes
    from fastreid.utils.files import atomic_write

    reports = {name: measure_collection(folder) for name, folder in collections.items()}
    head, rows = tabulate_quantiles(reports)
    print(tabulate(rows, headers=head, tablefmt="github") + "\n")
    scores = [
        [name, one.num_queries, one.num_gallery, f"{one.scores['mAP']:.1f}", f"{one.scores['Rank-1']:.1f}"]
        for name, one in reports.items()
    ]
    print(tabulate(scores, headers=["HOG", "queries", "gallery", "mAP", "Rank-1"], tablefmt="github"))
    if args.plots is not None:
        with atomic_write(args.plots) as file:
            file.write(png_bytes(plot_histograms(reports)))
        print(f"{args.plots}: histograms, one row per collection")
    return 0


def _parse_collection(word: str) -> tuple[str, Path]:
    name, separator, folder = word.partition("=")
    if not separator or not name:
        raise InputError(f"{word!r} is not NAME=DIR; write a name, '=' and the folder that contains train_data")
    return name, Path(folder).expanduser()


COMMAND = Command(
    "data measure",
    "Compare collections of drawings: ink, strokes, patent sizes, difficulty.",
    "fastreid data measure real=/data/deeppatent synthetic=datasets/synthetic --plots measures.png",
    add_options,
    run,
)
