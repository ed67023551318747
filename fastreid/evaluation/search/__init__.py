"""Exact nearest-neighbor search within a memory budget."""

from fastreid.evaluation.search.distance_source import DistanceSource, FeatureDistances
from fastreid.evaluation.search.metric_space import CosineSpace, EuclideanSpace, InnerProductSpace, MetricSpace
from fastreid.evaluation.search.nearest import ENGINES, METRICS, build_metric_space, nearest

__all__ = [
    "ENGINES",
    "METRICS",
    "CosineSpace",
    "DistanceSource",
    "EuclideanSpace",
    "FeatureDistances",
    "InnerProductSpace",
    "MetricSpace",
    "build_metric_space",
    "nearest",
]
