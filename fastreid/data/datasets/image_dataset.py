"""Datasets written for fast-reid: classes with lists of (path, identity, camera) for train, query and gallery."""

import numbers
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from fastreid.data.datasets.base import raise_faults
from fastreid.data.datasets.list_lines import UNKNOWN_ID
from fastreid.structures import Drawing
from fastreid.utils.errors import InputError

Item = tuple[str, str | int, str | int]  # path, identity, camera
Items = Sequence[Item] | Callable[[], Sequence[Item]]


class ImageDataset:
    """Base class with the arguments of fast-reid's: the lists, or functions that return them when they are needed.

    Args:
        train: (path, identity, camera) of each training image.
        query: the same for the queries.
        gallery: the same for the gallery.
        kwargs: other arguments of fast-reid (verbose, transform), which have no effect.
    """

    def __init__(self, train: Items, query: Items, gallery: Items, **kwargs: Any):
        self.train, self.query, self.gallery = train, query, gallery


class ImageDatasetReader:
    """Read an object with the attributes of `ImageDataset`, as one of the datasets in `DATASETS`.

    Args:
        dataset: has the attributes `train`, `query` and `gallery`.
        name: of the dataset, for messages.
        root: data folder; the names of images below it are relative to it.
    """

    def __init__(self, dataset: Any, *, name: str, root: Path):
        self.dataset, self.name, self.root = dataset, name, root

    def train(self) -> tuple[Drawing, ...]:
        """Return the training drawings.

        Raises:
            InputError: an item is invalid, repeated or has no identity.
        """
        items = self._get_items("train")
        unknown = [f"train[{row}] has no identity" for row, (_, pid, _) in enumerate(items) if pid == int(UNKNOWN_ID)]
        raise_faults(unknown, self.name)
        return self._convert("train", items, _number_cameras(items))

    def test(self) -> tuple[tuple[Drawing, ...], tuple[Drawing, ...]]:
        """Return the queries and the gallery.

        Raises:
            InputError: an item is invalid or repeated.
        """
        queries, gallery = self._get_items("query"), self._get_items("gallery")
        cameras = _number_cameras([*queries, *gallery])
        return self._convert("query", queries, cameras), self._convert("gallery", gallery, cameras)

    def _get_items(self, part: str) -> list[Item]:
        value = getattr(self.dataset, part, None)
        value = value() if callable(value) else value
        if not isinstance(value, Iterable) or isinstance(value, (str, bytes)):
            raise InputError(
                f"{self.name}: {part} is {type(value).__name__}; it must be a list of (path, identity, camera)"
            )
        items = list(value)
        faults = [f"{part}[{row}] is {item!r:.100}" for row, item in enumerate(items) if not _is_item(item)]
        raise_faults(
            faults, f"{self.name} (a list of (path, identity, camera): text, text or integer, text or integer)"
        )
        return [(path, _to_python(pid), _to_python(camera)) for path, pid, camera in items]

    def _convert(self, part: str, items: list[Item], cameras: dict[str | int, int]) -> tuple[Drawing, ...]:
        drawings, faults = [], []
        rows: dict[str, int] = {}
        for row, (path, pid, camera) in enumerate(items):
            name = Path(path).relative_to(self.root) if Path(path).is_relative_to(self.root) else Path(path)
            if rows.setdefault(name.as_posix(), row) != row:
                faults.append(
                    f"{part}[{rows[name.as_posix()]}] and {part}[{row}] are the same image, {name}; remove one of them"
                )
            patent = "" if pid == int(UNKNOWN_ID) else str(pid)
            source = f"{self.name}.{part}[{row}]"
            drawings.append(Drawing(str(path), name.as_posix(), patent, cameras[camera], source))
        raise_faults(faults, self.name)
        return tuple(drawings)


def read_image_dataset(dataset_class: Callable[..., Any]) -> Callable[[Any, Path], ImageDatasetReader]:
    """Return the builder of a dataset class of fast-reid, for `DATASETS.register`.

    Args:
        dataset_class: called with `root=`, the data folder; its objects have the lists `train`, `query` and `gallery`.
    """

    def build(settings: Any, root: Path) -> ImageDatasetReader:
        return ImageDatasetReader(dataset_class(root=str(root)), name=dataset_class.__name__, root=root)

    build.__name__ = dataset_class.__name__
    return build


def _is_item(item: object) -> bool:
    if not isinstance(item, (tuple, list)) or len(item) != 3:
        return False
    path, pid, camera = item
    values = (pid, camera)
    return isinstance(path, (str, Path)) and all(
        isinstance(value, (str, numbers.Integral)) and not isinstance(value, bool) for value in values
    )


def _to_python(value: Any) -> str | int:
    """Return an id or camera of Python's own type; dataset classes often read them with NumPy."""
    return str(value) if isinstance(value, str) else int(value)


def _number_cameras(items: Iterable[Item]) -> dict[str | int, int]:
    """Return the number of each camera: integers keep their value, texts are numbered in alphabetical order."""
    cameras = {camera for _, _, camera in items}
    words = sorted(camera for camera in cameras if isinstance(camera, str))
    numbers: dict[str | int, int] = {camera: camera for camera in cameras if isinstance(camera, int)}
    if words and numbers:
        raise InputError(f"cameras are texts, such as {words[0]!r}, and integers; make them all integers")
    return {**numbers, **{word: number for number, word in enumerate(words)}}
