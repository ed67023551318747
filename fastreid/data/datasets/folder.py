"""Any folder or list of drawings, from the config alone."""

import os
from pathlib import Path

from fastreid.data.datasets.base import read_each, read_list, refuse
from fastreid.data.io.messages import one_line
from fastreid.structures import Drawing
from fastreid.utils.errors import InputError
from fastreid.utils.seeding import key

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".gif", ".bmp")


class Folder:
    """A folder with one sub-folder a patent; part of the patents is kept for the test.

    Which patents those are, and which of their drawings are queries, follows from the names alone, so every run and
    machine draws the same line. The drawings of a patent may lie in deeper folders; names that start with a dot are
    passed over.

    Args:
        path: the folder.
        test_fraction: share of the patents kept for the test, 0 to 1, rounded, at least one unless it is 0.
        num_queries: query drawings of a test patent; at least one drawing stays in the database.

    Raises:
        InputError: the folder is missing, holds drawings outside any patent, or a patent holds no drawing.
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
        patents = self._patents()
        kept = self._kept_for_test(patents)
        return tuple(drawing for word, drawings in patents.items() if word not in kept for drawing in drawings)

    def test(self) -> tuple[tuple[Drawing, ...], tuple[Drawing, ...]]:
        patents = self._patents()
        queries: list[Drawing] = []
        gallery: list[Drawing] = []
        for word in sorted(self._kept_for_test(patents)):
            by_draw = sorted(patents[word], key=lambda drawing: key("folder query", drawing.name))
            num_queries = min(self.num_queries, len(by_draw) - 1)
            queries += sorted(by_draw[:num_queries], key=_name)
            gallery += sorted(by_draw[num_queries:], key=_name)
        return tuple(queries), tuple(gallery)

    def _kept_for_test(self, patents: dict[str, list[Drawing]]) -> set[str]:
        num_kept = max(round(self.test_fraction * len(patents)), int(self.test_fraction > 0))
        return set(sorted(patents, key=lambda word: key("folder split", word))[:num_kept])

    def _patents(self) -> dict[str, list[Drawing]]:
        if not self.path.is_dir():
            raise InputError(
                f"{self.path}: no such folder; set DATASETS.FOLDER.PATH, absolute or from the working folder"
            )
        patents: dict[str, list[Drawing]] = {}
        faults = []
        for entry in sorted(self.path.iterdir(), key=lambda entry: entry.name):
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                patents[entry.name] = self._drawings(entry)
                if not patents[entry.name]:
                    faults.append(f"{entry.name} holds no drawing ({', '.join(SUFFIXES)})")
            elif entry.suffix.lower() in SUFFIXES:
                faults.append(f"{entry.name} lies in no patent's sub-folder")
        if not patents:
            faults.append("there is no sub-folder; a folder set has one sub-folder a patent")
        refuse(faults, str(self.path))
        return patents

    def _drawings(self, patent: Path) -> list[Drawing]:
        found = []
        for folder, below, files in os.walk(patent):
            below[:] = sorted(name for name in below if not name.startswith("."))
            for file in sorted(files):
                if os.path.splitext(file)[1].lower() in SUFFIXES and not file.startswith("."):
                    path = Path(folder, file)
                    name = path.relative_to(self.path).as_posix()
                    found.append(Drawing(str(path), name, patent.name, source=one_line(f"{self.path.name}/{name}")))
        return found


class Lists:
    """Drawings named by lists or CSV files of any name.

    Args:
        images: the folder all paths start from.
        train: the training list, or None.
        query: the list of queries, or None.
        database: the list of the database, or None.
    """

    def __init__(self, images: Path, *, train: Path | None, query: Path | None, database: Path | None):
        self.images = images
        self.lists = {"TRAIN": train, "QUERY": query, "DATABASE": database}

    def train(self) -> tuple[Drawing, ...]:
        return self._read("TRAIN")

    def test(self) -> tuple[tuple[Drawing, ...], tuple[Drawing, ...]]:
        queries, gallery = read_each(lambda: self._read("QUERY"), lambda: self._read("DATABASE"))
        return queries, gallery

    def _read(self, part: str) -> tuple[Drawing, ...]:
        path = self.lists[part]
        if path is None:
            raise InputError(f"DATASETS.LIST.{part} is empty; set it to a .txt (path and id a line) or .csv (path,id)")
        return read_list(path, images=self.images, with_ids=True)


def _name(drawing: Drawing) -> str:
    return drawing.name
