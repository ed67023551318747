"""Several training sets as one, and what training and test have in common."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace

from fastreid.data.datasets.base import Dataset, RetrievalData
from fastreid.structures import Drawing
from fastreid.utils.errors import InputError


def joined(sets: Mapping[str, Dataset], *, with_tests: bool = False) -> tuple[Drawing, ...]:
    """The training drawings of data sets, one after the other.

    One set keeps its patents' words. Those of several become "<set>_<word>", as each numbers its patents for itself;
    with their test drawings taken in, these become "<set>_test_<word>".

    Args:
        sets: name -> data set.
        with_tests: train on the queries and databases too.

    Raises:
        InputError: a set has no training drawings, or its drawings no ids.
    """
    drawings: list[Drawing] = []
    for name, dataset in sets.items():
        own = dataset.train()
        drawings += _renamed(own, f"{name}_") if len(sets) > 1 or with_tests else own
        if with_tests:
            for part in dataset.test():
                drawings += _renamed(part, f"{name}_test_")
        if not own:
            raise InputError(f"{name}: the training list is empty; name a set that has training drawings")
        if any(not drawing.patent for drawing in own):
            raise InputError(f"{name}: its drawings have no ids, so there is nothing to learn; name another set")
    return tuple(drawings)


def overlap(train: Iterable[Drawing], data: RetrievalData) -> list[str]:
    """Names of the test drawings whose file, whatever its path, is among the training drawings."""
    seen = {file_of(drawing) for drawing in train if not drawing.is_synthetic}
    return [drawing.name for drawing in data.queries + data.gallery if file_of(drawing) in seen]


def _renamed(drawings: Iterable[Drawing], prefix: str) -> list[Drawing]:
    return [replace(drawing, patent=prefix + drawing.patent) for drawing in drawings]


def file_of(drawing: Drawing) -> tuple[int, int]:
    """Device and inode: two spellings, two lists or a link give one file, which comparing paths would miss.

    Raises:
        InputError: the file is gone.
    """
    try:
        status = os.stat(drawing.path)
    except OSError as error:
        raise InputError(f"{drawing.source}: {drawing.path} is gone ({error.strerror}); make the list anew")
    return status.st_dev, status.st_ino
