"""Data loading: from image files and lists to batches."""

from fastreid.data.build import DATASETS, SAMPLERS, SamplerOptions
from fastreid.data.datasets import Dataset, RetrievalData, read_list
from fastreid.data.datasets.image_dataset import ImageDataset, read_image_dataset
from fastreid.data.image import read_image
from fastreid.data.loading import TestLoader, TrainLoader, Workers

__all__ = [
    "DATASETS",
    "SAMPLERS",
    "Dataset",
    "ImageDataset",
    "RetrievalData",
    "SamplerOptions",
    "TestLoader",
    "TrainLoader",
    "Workers",
    "read_image",
    "read_image_dataset",
    "read_list",
]
