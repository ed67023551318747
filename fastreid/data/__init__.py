"""Data loading: from image files and lists to batches."""

from fastreid.data.build import DATASETS, SAMPLERS
from fastreid.data.datasets import Dataset, RetrievalData, read_list
from fastreid.data.image import read_image
from fastreid.data.loading import TestLoader, TrainLoader, Workers

__all__ = [
    "DATASETS",
    "SAMPLERS",
    "Dataset",
    "RetrievalData",
    "TestLoader",
    "TrainLoader",
    "Workers",
    "read_image",
    "read_list",
]
