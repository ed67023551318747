"""Measures of drawing collections: statistics of the pages, and the scores of a search without learning."""

from fastreid.experiments.drawing_measures.hog import hog_features
from fastreid.experiments.drawing_measures.statistics import MEASURES, count_drawings_per_patent, measure_page

__all__ = ["MEASURES", "count_drawings_per_patent", "hog_features", "measure_page"]
