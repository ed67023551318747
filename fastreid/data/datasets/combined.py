"""Several training sets as one, and the overlap of training and test sets."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace

from fastreid.data.datasets.base import Dataset, RetrievalData
from fastreid.structures import Drawing
from fastreid.utils.errors import InputError


def join_datasets(datasets: Mapping[str, Dataset], *, include_tests: bool = False) -> tuple[Drawing, ...]:
    """Concatenate the training drawings of datasets.

    A single dataset keeps its patent ids. Those of several become "<dataset>_<id>", since each dataset has its own ids;
    with `include_tests`, the ids of test drawings become "<dataset>_test_<id>".

    Args:
        datasets: name -> dataset.
        include_tests: train on the queries and galleries too, except on drawings with an unknown id.

    Raises:
        InputError: a dataset has no training drawings, or its drawings have no ids.
    """
    drawings: list[Drawing] = []
    for name, dataset in datasets.items():
        train = dataset.train()
        drawings += _prefix_patents(train, f"{name}_") if len(datasets) > 1 or include_tests else train
        if include_tests:
            tested = dict.fromkeys(drawing for part in dataset.test() for drawing in part if drawing.patent)
            drawings += _prefix_patents(tested, f"{name}_test_")
        if not train:
            raise InputError(f"{name}: the training list is empty; choose a dataset with training drawings")
        if any(not drawing.patent for drawing in train):
            raise InputError(f"{name}: its drawings have no ids, which training needs; choose another dataset")
    return tuple(drawings)


def find_overlap(train: Iterable[Drawing], data: RetrievalData) -> list[tuple[Drawing, Drawing]]:
    """Return the test drawings whose file, under any path, is also a training drawing, each with that drawing."""
    train_files = {get_file_id(drawing): drawing for drawing in train if not drawing.is_synthetic}
    twins = ((drawing, train_files.get(get_file_id(drawing))) for drawing in data.queries + data.gallery)
    return [(drawing, twin) for drawing, twin in twins if twin is not None]


def _prefix_patents(drawings: Iterable[Drawing], prefix: str) -> list[Drawing]:
    return [replace(drawing, patent=prefix + drawing.patent) for drawing in drawings]


def get_file_id(drawing: Drawing) -> tuple[int, int, int]:
    """Return device, inode and page; the first two are equal for two spellings of a path and for links, unlike paths.

    Raises:
        InputError: the file no longer exists.
    """
    try:
        status = os.stat(drawing.file)
    except OSError as error:
        raise InputError(f"{drawing.source}: {drawing.path} no longer exists ({error.strerror}); update the list")
    return status.st_dev, status.st_ino, drawing.page
