"""Compare collections of drawings: distributions of the measures, and how hard retrieval is for a simple descriptor."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fastreid.data.datasets.deeppatent import Patent
from fastreid.data.io.image import read_drawing
from fastreid.evaluation import score_features
from fastreid.evaluation.scoring.ground_truth import GroundTruth
from fastreid.experiments.drawing_measures.hog import hog_features
from fastreid.experiments.drawing_measures.statistics import MEASURES, count_drawings_per_patent, measure_page

LONGEST_PX = 320  # larger pages are reduced to this size before they are measured
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
RANGES = {
    "ink": (0, 0.3),
    "stroke width": (0.9, 3),
    "components": (0, 800),
    "width / height": (0, 2.5),
    "drawings": (1, 17),
}  # of plots
NUM_BARS, BAR_PX, PLOT_PX, TEXT_PX = 16, 14, 90, 13


class CollectionReport(NamedTuple):
    """Measurements of one collection.

    Args:
        values: measure -> its values, float64; "drawings" has one value per patent, the others one per drawing.
        num_queries: number of queries.
        num_gallery: number of gallery drawings.
        scores: mAP and Rank-1 in percent of a search by HOG features.
    """

    values: dict[str, np.ndarray]
    num_queries: int
    num_gallery: int
    scores: Mapping[str, float]


def measure_collection(folder: Path) -> CollectionReport:
    """Measure all drawings of a folder in the DeepPatent layout.

    Raises:
        InputError: a list is missing or invalid, or a drawing cannot be read.
    """
    data = Patent(folder)
    training = data.train()
    queries, gallery = data.test()
    drawings = [*training, *queries, *gallery]
    pages = [read_drawing(drawing, longest_px=LONGEST_PX) for drawing in drawings]
    measured = [measure_page(page) for page in pages]
    values = {name: np.array([one[name] for one in measured]) for name in MEASURES}
    counts = [*count_drawings_per_patent(training), *count_drawings_per_patent([*queries, *gallery])]
    values["drawings"] = np.array(counts, dtype=float)
    features = hog_features(pages[len(training) :])
    truth = GroundTruth([one.patent for one in queries], [one.patent for one in gallery])
    scores = score_features(features[: len(queries)], features[len(queries) :], truth)
    return CollectionReport(values, len(queries), len(gallery), scores)


def tabulate_quantiles(reports: Mapping[str, CollectionReport]) -> tuple[list[str], list[list[str]]]:
    """Return head and rows of a table with the quantiles of each measure, one row per measure and collection."""
    head = ["measure", "of", *(f"{quantile:.0%}" for quantile in QUANTILES)]
    rows = [
        [measure, name, *(f"{value:.3g}" for value in np.quantile(report.values[measure], QUANTILES))]
        for measure in RANGES
        for name, report in reports.items()
    ]
    return head, rows


def plot_histograms(reports: Mapping[str, CollectionReport]) -> Image.Image:
    """Return an image of histograms: one column per measure, one row per collection."""
    width, height = NUM_BARS * BAR_PX + 30, PLOT_PX + 3 * TEXT_PX
    image = Image.new("L", (width * len(RANGES), height * len(reports) + TEXT_PX), 255)
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(TEXT_PX)
    for row, (name, report) in enumerate(reports.items()):
        for column, (measure, (low, high)) in enumerate(RANGES.items()):
            left, bottom = column * width + 15, row * height + PLOT_PX + TEXT_PX + 8
            values = np.clip(report.values[measure], low, high)
            counts = np.histogram(values, bins=NUM_BARS, range=(low, high))[0]
            for bar, share in enumerate(counts / counts.max()):
                x = left + bar * BAR_PX
                pen.rectangle((x, bottom - round(share * PLOT_PX), x + BAR_PX - 3, bottom), fill=96)
            pen.text((left, bottom + 3), f"{low:g} to {high:g}", fill=0, font=font)
            pen.text((left, bottom - PLOT_PX - TEXT_PX - 6), f"{name}: {measure}", fill=0, font=font)
    return image
