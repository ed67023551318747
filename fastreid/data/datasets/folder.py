"""Datasets from any folder or list of drawings, without code."""

import os
from pathlib import Path

from fastreid.data.datasets.base import raise_faults, read_list, read_lists
from fastreid.structures import Drawing
from fastreid.utils.errors import InputError
from fastreid.utils.seeding import derive_seed
from fastreid.utils.text import escape_unprintable

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".gif", ".bmp")


class Folder:
    """A folder with one sub-folder per patent; a fraction of the patents is the test set.

    The names alone determine which patents these are and which of their drawings are queries, so the split is the same
    in every run and on every machine. The drawings of a patent may be in deeper folders; names that start with a dot
    are ignored.

    Args:
        path: the folder.
        test_fraction: fraction 0..1 of the patents in the test set, rounded; at least one patent unless it is 0.
        num_queries: query drawings per test patent; at least one drawing remains in the gallery.

    Raises:
        InputError: the folder is missing, contains drawings outside any patent, or a patent has no drawing.
    """

    def __init__(self, path: Path, *, test_fraction: float, num_queries: int):
        if not 0 <= test_fraction <= 1:
            raise InputError(f"DATASETS.FOLDER.TEST_FRACTION is {test_fraction}; allowed are 0 to 1")
        if num_queries < 1:
            raise InputError(f"DATASETS.FOLDER.NUM_QUERIES is {num_queries}; allowed are 1 and more")
        self.path = path
        self.test_fraction = test_fraction
        self.num_queries = num_queries

    def train(self) -> tuple[Drawing, ...]:
        """Return the drawings of the patents outside the test set."""
        patents = self._read_patents()
        tested = self._select_test_patents(patents)
        return tuple(drawing for patent, drawings in patents.items() if patent not in tested for drawing in drawings)

    def test(self) -> tuple[tuple[Drawing, ...], tuple[Drawing, ...]]:
        """Return the queries and the gallery."""
        patents = self._read_patents()
        queries: list[Drawing] = []
        gallery: list[Drawing] = []
        for patent in sorted(self._select_test_patents(patents)):
            shuffled = sorted(patents[patent], key=lambda drawing: derive_seed("folder query", drawing.name))
            num_queries = min(self.num_queries, len(shuffled) - 1)
            queries += sorted(shuffled[:num_queries], key=_get_name)
            gallery += sorted(shuffled[num_queries:], key=_get_name)
        return tuple(queries), tuple(gallery)

    def _select_test_patents(self, patents: dict[str, list[Drawing]]) -> set[str]:
        num_tested = max(round(self.test_fraction * len(patents)), int(self.test_fraction > 0))
        return set(sorted(patents, key=lambda patent: derive_seed("folder split", patent))[:num_tested])

    def _read_patents(self) -> dict[str, list[Drawing]]:
        if not self.path.is_dir():
            raise InputError(
                f"{self.path}: no such folder; set DATASETS.FOLDER.PATH, absolute or relative to the working folder"
            )
        patents: dict[str, list[Drawing]] = {}
        faults = []
        for entry in sorted(self.path.iterdir(), key=lambda entry: entry.name):
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                patents[entry.name] = self._read_drawings(entry)
                if not patents[entry.name]:
                    faults.append(f"{entry.name} contains no drawing ({', '.join(SUFFIXES)})")
            elif entry.suffix.lower() in SUFFIXES:
                faults.append(f"{entry.name} is not in a patent's sub-folder")
        if not patents:
            faults.append("there is no sub-folder; the dataset needs one sub-folder per patent")
        raise_faults(faults, str(self.path))
        return patents

    def _read_drawings(self, patent: Path) -> list[Drawing]:
        drawings = []
        for folder, subfolders, files in os.walk(patent):
            subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
            for file in sorted(files):
                if os.path.splitext(file)[1].lower() in SUFFIXES and not file.startswith("."):
                    path = Path(folder, file)
                    name = path.relative_to(self.path).as_posix()
                    source = escape_unprintable(f"{self.path.name}/{name}")
                    drawings.append(Drawing(str(path), name, patent.name, source=source))
        return drawings


class ImageLists:
    """Drawings in text or CSV lists of any name.

    Args:
        images: the folder all paths are relative to.
        train: the training list, or None.
        query: the list of queries, or None.
        gallery: the list of the gallery, or None.
    """

    def __init__(self, images: Path, *, train: Path | None, query: Path | None, gallery: Path | None):
        self.images = images
        self.lists = {"TRAIN": train, "QUERY": query, "GALLERY": gallery}

    def train(self) -> tuple[Drawing, ...]:
        """Return the drawings of the training list."""
        return self._read("TRAIN")

    def test(self) -> tuple[tuple[Drawing, ...], tuple[Drawing, ...]]:
        """Return the queries and the gallery."""
        queries, gallery = read_lists(lambda: self._read("QUERY"), lambda: self._read("GALLERY"))
        return queries, gallery

    def _read(self, part: str) -> tuple[Drawing, ...]:
        path = self.lists[part]
        if path is None:
            raise InputError(
                f"DATASETS.LIST.{part} is empty; set it to a .txt (path and id per line) or .csv (path,id)"
            )
        return read_list(path, images=self.images, with_ids=True)


def _get_name(drawing: Drawing) -> str:
    return drawing.name
