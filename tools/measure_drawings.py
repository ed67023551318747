#!/usr/bin/env python3
"""Tell how alike collections of drawings are, and how hard: tools/measure_drawings.py NAME=DIR [NAME=DIR ...] [--plots FILE.png]"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from tabulate import tabulate

from fastreid.data.datasets.deeppatent import Patent
from fastreid.data.io.image import read_drawing
from fastreid.evaluation import score_features
from fastreid.evaluation.scoring.ground_truth import Truth
from fastreid.experiments.drawing_statistics import MEASURES, drawings_per_patent, measure_page
from fastreid.experiments.hog import hog_features
from fastreid.synthetic import png_bytes
from fastreid.utils.cli import CommandParser, run_tool
from fastreid.utils.errors import InputError
from fastreid.utils.files import atomic_write

LONGEST_PX = 320  # pages are measured at this size, or their own where that is smaller
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
# the axis of each plot: its measure, where it starts and ends, how many bars
AXES = {"ink": (0, 0.3), "stroke": (0.9, 3), "pieces": (0, 800), "aspect": (0, 2.5), "drawings": (1, 17)}
NUM_BARS, BAR_PX, PLOT_PX, TEXT_PX = 16, 14, 90, 13

Values = dict[str, np.ndarray]


def main(argv: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    collections = dict(_named(word) for word in args.folders)
    values, hardness = {}, []
    for name, folder in collections.items():
        data = Patent(folder)
        queries, gallery = data.test()
        listed = [*data.train(), *queries, *gallery]
        pages = [read_drawing(drawing, longest_px=LONGEST_PX) for drawing in listed]
        measured = [measure_page(page) for page in pages]
        values[name] = {key: np.array([one[key] for one in measured]) for key in MEASURES}
        counts = [*drawings_per_patent(data.train()), *drawings_per_patent([*queries, *gallery])]
        values[name]["drawings"] = np.array(counts, dtype=float)
        features = hog_features(pages[len(listed) - len(queries) - len(gallery) :])
        truth = Truth([one.patent for one in queries], [one.patent for one in gallery])
        scores = score_features(features[: len(queries)], features[len(queries) :], truth)
        hardness.append([name, len(queries), len(gallery), f"{scores['mAP']:.1f}", f"{scores['Rank-1']:.1f}"])
    print(_spreads(values))
    print(tabulate(hardness, headers=["HOG", "queries", "database", "mAP", "Rank-1"], tablefmt="github"))
    if args.plots is not None:
        with atomic_write(args.plots) as file:
            file.write(png_bytes(_plots(values)))
        print(f"{args.plots}: how often each value comes, one row a collection")
    return 0


def _named(word: str) -> tuple[str, Path]:
    name, found, folder = word.partition("=")
    if not found or not name:
        raise InputError(f"{word!r} is no NAME=DIR; give a name, '=' and the folder that holds train_data")
    return name, Path(folder).expanduser()


def _spreads(values: Mapping[str, Values]) -> str:
    rows = [
        [key, name, *(f"{value:.3g}" for value in np.quantile(values[name][key], QUANTILES))]
        for key in AXES
        for name in values
    ]
    return tabulate(rows, headers=["measure", "of", *(f"{q:.0%}" for q in QUANTILES)], tablefmt="github") + "\n"


def _plots(values: Mapping[str, Values]) -> Image.Image:
    """Bars of how often each value comes: one column a measure, one row a collection."""
    width, height = NUM_BARS * BAR_PX + 30, PLOT_PX + 3 * TEXT_PX
    page = Image.new("L", (width * len(AXES), height * len(values) + TEXT_PX), 255)
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(TEXT_PX)
    for row, (name, measured) in enumerate(values.items()):
        for column, (key, (low, high)) in enumerate(AXES.items()):
            left, foot = column * width + 15, row * height + PLOT_PX + TEXT_PX + 8
            shares = np.histogram(np.clip(measured[key], low, high), bins=NUM_BARS, range=(low, high))[0]
            for bar, share in enumerate(shares / shares.max()):
                x = left + bar * BAR_PX
                pen.rectangle((x, foot - round(share * PLOT_PX), x + BAR_PX - 3, foot), fill=96)
            pen.text((left, foot + 3), f"{low:g} to {high:g}", fill=0, font=font)
            pen.text((left, foot - PLOT_PX - TEXT_PX - 6), f"{name}: {key}", fill=0, font=font)
    return page


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(description="Measure collections of drawings in the DeepPatent layout, side by side.")
    parser.add_argument("folders", nargs="+", metavar="NAME=DIR", help="what to call it, and the folder of train_data/")
    parser.add_argument("--plots", type=Path, metavar="FILE", help="also draw how often each value comes, a PNG")
    return parser


def cli() -> int:
    return run_tool(main)


if __name__ == "__main__":
    sys.exit(cli())
