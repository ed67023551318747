"""fastreid data measure: compare collections of drawings."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from fastreid.cli.command import Command
from fastreid.utils.errors import InputError
from fastreid.utils.option_values import parse_path, parse_png_path
from fastreid.utils.text import print_message


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `fastreid data measure`."""
    parser.add_argument(
        "folders", nargs="+", metavar="NAME=DIR", help="name of a collection, and the folder that contains train_data/"
    )
    parser.add_argument(
        "--plots", type=parse_png_path, metavar="FILE", help="also write a PNG with a histogram of each measure"
    )


def run(args: argparse.Namespace) -> int:
    """Print two tables and, if asked, write the histograms."""
    collections = _parse_collections(args.folders)
    from tabulate import tabulate

    from fastreid.experiments.drawing_measures.report import measure_collection, plot_histograms, tabulate_quantiles
    from fastreid.synthetic import png_bytes
    from fastreid.utils.files import atomic_write, check_writable

    if args.plots is not None:
        check_writable(args.plots)
    reports = {name: measure_collection(folder) for name, folder in collections.items()}
    head, rows = tabulate_quantiles(reports)
    print_message(tabulate(rows, headers=head, tablefmt="github") + "\n")
    scores = [
        [name, one.num_queries, one.num_gallery, f"{one.scores['mAP']:.1f}", f"{one.scores['Rank-1']:.1f}"]
        for name, one in reports.items()
    ]
    print_message(tabulate(scores, headers=["HOG", "queries", "gallery", "mAP", "Rank-1"], tablefmt="github"))
    if args.plots is not None:
        with atomic_write(args.plots) as file:
            file.write(png_bytes(plot_histograms(reports)))
        print_message(f"{args.plots}: histograms, one row per collection")
    return 0


def _parse_collections(words: Sequence[str]) -> dict[str, Path]:
    """Return name -> folder, and check that each folder has the lists of a collection."""
    from fastreid.data.datasets.deeppatent import find_missing_lists

    collections: dict[str, Path] = {}
    for word in words:
        name, _, path = word.partition("=")
        if not name or not path:
            raise InputError(
                f"'{word}' is not NAME=DIR; write a name, '=' and the folder that contains train_data, such as "
                "real=/data/deeppatent"
            )
        folder = parse_path(path)
        if name in collections:
            raise InputError(f"'{name}' names two folders, {collections[name]} and {folder}; choose another name")
        if not folder.is_dir():
            raise InputError(f"{word}: there is no folder {folder}; give the folder that contains train_data")
        missing = find_missing_lists(folder)
        if missing:
            raise InputError(
                f"{word}: {missing[0]} is missing; give the folder of DeepPatent or of `fastreid data synth`, which "
                "contains it"
            )
        collections[name] = folder
    return collections


COMMAND = Command(
    "data measure",
    "Compare collections of drawings: ink, strokes, patent sizes, difficulty.",
    "fastreid data measure real=/data/deeppatent synthetic=datasets/synthetic --plots measures.png",
    add_options,
    run,
)
