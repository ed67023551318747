"""Datasets: lists of training, query and gallery drawings."""

from fastreid.data.datasets.base import Dataset, InvalidListError, RetrievalData, encode_labels, read_list
from fastreid.data.datasets.deeppatent import Patent, PatentTest
from fastreid.data.datasets.folder import Folder, ImageLists
from fastreid.data.datasets.generated import Generated
from fastreid.data.datasets.generated_stream import GeneratedStream

__all__ = [
    "Dataset",
    "Folder",
    "Generated",
    "GeneratedStream",
    "ImageLists",
    "InvalidListError",
    "Patent",
    "PatentTest",
    "RetrievalData",
    "encode_labels",
    "read_list",
]
