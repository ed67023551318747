"""Datasets written for fast-reid: classes with lists of (path, identity, camera)."""

from pathlib import Path

import numpy as np
import pytest

from fastreid.config import get_cfg
from fastreid.data import DATASETS, ImageDataset, read_image_dataset
from fastreid.data.datasets.base import encode_labels
from fastreid.utils.errors import InputError

TRAIN = [("/data/cars/a.jpg", "cars_7", "cars_1"), ("/data/cars/b.jpg", "cars_10", "cars_0")]
QUERY = [("/data/cars/q.jpg", 7, 2)]
GALLERY = [("/data/cars/g.jpg", 7, 3), ("/other/junk.jpg", -1, 0)]


class Cars(ImageDataset):
    """A dataset as in fast-reid, with a list that is created only when it is needed."""

    def __init__(self, root="datasets", **kwargs):
        self.root = root
        super().__init__(TRAIN, QUERY, lambda: GALLERY, verbose=False, **kwargs)


class Lists:
    """An object with the attributes of a dataset, without its base class."""

    train, query, gallery = TRAIN, QUERY, GALLERY

    def __init__(self, root):
        pass


def read(dataset_class):
    return read_image_dataset(dataset_class)(get_cfg(), Path("/data"))


@pytest.mark.parametrize("dataset_class", [Cars, Lists])
def test_lists_become_drawings(dataset_class):
    dataset = read(dataset_class)
    train, (queries, gallery) = dataset.train(), dataset.test()
    assert [(one.path, one.name, one.patent, one.camera) for one in train] == [
        ("/data/cars/a.jpg", "cars/a.jpg", "cars_7", 1),
        ("/data/cars/b.jpg", "cars/b.jpg", "cars_10", 0),
    ]
    assert encode_labels(train) == ([1, 0], ("cars_10", "cars_7"))  # sorted as text, as in fast-reid
    assert [(one.patent, one.camera, one.source) for one in queries] == [("7", 2, f"{dataset_class.__name__}.query[0]")]
    assert [(one.name, one.patent) for one in gallery] == [("cars/g.jpg", "7"), ("/other/junk.jpg", "")]


def test_class_is_registered_under_its_name_and_gets_the_root(monkeypatch):
    monkeypatch.setattr(DATASETS, "_builders", dict(DATASETS._builders))
    roots = []

    class Vans(Cars):
        def __init__(self, root="datasets", **kwargs):
            roots.append(root)
            super().__init__(root, **kwargs)

    DATASETS.register()(read_image_dataset(Vans))
    assert DATASETS.get("Vans")(get_cfg(), Path("/data")).train()[0].patent == "cars_7"
    assert roots == ["/data"]
    with pytest.raises(InputError, match="'Vans' already exists"):
        DATASETS.register()(read_image_dataset(Vans))


@pytest.mark.parametrize(
    ("part", "items", "message"),
    [
        ("train", None, r"train is NoneType; it must be a list of \(path, identity, camera\)"),
        ("train", "a.jpg", "train is str"),
        ("train", [("/a.jpg", 1)], r"train\[0\] is \('/a.jpg', 1\)"),
        ("train", [(3, 1, 0)], r"train\[0\] is \(3, 1, 0\)"),
        ("train", [("/a.jpg", 1.5, 0)], r"train\[0\] is"),
        ("train", [("/a.jpg", None, 0), "b"], r"2 faults\n  train\[0\] is .*\n  train\[1\] is 'b'"),
        ("train", [("/a.jpg", -1, 0)], r"train\[0\] has no identity"),
        ("train", [("/a.jpg", 1, 0), ("/a.jpg", 2, 0)], r"train\[0\] and train\[1\] are the same image, /a.jpg"),
        ("train", [("/a.jpg", 1, 0)] * 3, r"2 faults\n  train\[0\] and train\[1\] .*\n  train\[0\] and train\[2\]"),
        ("train", [("/a.jpg", 1, 0), ("/b.jpg", 2, "c")], "cameras are texts, such as 'c', and integers"),
        ("query", [("/a.jpg", 1)], r"query\[0\]"),
    ],
)
def test_invalid_lists_are_explained(part, items, message):
    class Wrong(Cars):
        def __init__(self, root):
            super().__init__(root)
            setattr(self, part, items)

    dataset = read(Wrong)
    with pytest.raises(InputError, match=message):
        dataset.train() if part == "train" else dataset.test()


def test_numpy_integers_are_ids_and_cameras():
    class Numbers(Lists):
        query = (("/data/a.png", np.int64(7), np.int32(1)), ("/data/b.png", np.int64(-1), np.int32(0)))

    [first, second] = read(Numbers).test()[0]
    assert (first.patent, first.camera, second.patent) == ("7", 1, "")
