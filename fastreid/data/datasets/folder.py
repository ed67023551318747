"""Datasets from any folder or list of drawings, without code."""

from pathlib import Path

from fastreid.data.datasets.base import InvalidListError, raise_faults, read_list, read_lists
from fastreid.data.datasets.folder_tree import describe_tree, find_patent_folders, list_pages, scan_folder
from fastreid.data.datasets.list_lines import has_control_characters
from fastreid.structures import Drawing
from fastreid.utils.errors import InputError
from fastreid.utils.logger import get_logger
from fastreid.utils.seeding import derive_seed
from fastreid.utils.text import escape_unprintable, is_unicode

_MAX_PATENTS_SHOWN = 5


class Folder:
    """A folder with one folder per patent; a fraction of the patents is the test set.

    The names alone determine which patents these are and which of their drawings are queries, so the split is the same
    in every run and on every machine. A patent that is added can replace one of the test set. The drawings of a patent
    may be in deeper folders; each page of a TIFF or PDF with several pages is a drawing. Other files, folders without
    drawings, and files of the system are skipped; the log says how many.

    Args:
        path: the folder.
        test_fraction: fraction 0..1 of the patents in the test set, rounded; at least one patent unless it is 0.
        num_queries: query drawings per test patent; at least one drawing remains in the gallery.
        level: level of the folders that are patents, 1 for the sub-folders of `path`; 0: the level of the folders that
            directly contain drawings.

    Raises:
        InputError: the folder is missing, contains drawings outside any patent, or its levels are ambiguous.
    """

    def __init__(self, path: Path, *, test_fraction: float, num_queries: int, level: int = 0):
        if not 0 <= test_fraction <= 1:
            raise InputError(f"DATASETS.FOLDER.TEST_FRACTION is {test_fraction}; allowed are 0 to 1")
        if num_queries < 1:
            raise InputError(f"DATASETS.FOLDER.NUM_QUERIES is {num_queries}; allowed are 1 and more")
        self.path = path
        self.test_fraction = test_fraction
        self.num_queries = num_queries
        self.level = level
        self._patents: dict[str, list[Drawing]] = {}  # read once, by the first of `train` and `test`
        self._faults: list[str] = []

    def train(self) -> tuple[Drawing, ...]:
        """Return the drawings of the patents outside the test set.

        Raises:
            InvalidListError: the folder has faults; `valid` has the other drawings.
        """
        patents = self._get_patents()
        tested = self._select_test_patents(patents)
        train = tuple(drawing for patent, drawings in patents.items() if patent not in tested for drawing in drawings)
        self._raise_faults(train)
        return train

    def test(self) -> tuple[tuple[Drawing, ...], tuple[Drawing, ...]]:
        """Return the queries and the gallery.

        Raises:
            InputError: no patent of the test set has a drawing for each of them.
            InvalidListError: the folder has faults; `valid` has the other drawings.
        """
        patents = self._get_patents()
        queries: list[Drawing] = []
        gallery: list[Drawing] = []
        tested = sorted(self._select_test_patents(patents))
        if not self._faults and tested and all(len(patents[patent]) < 2 for patent in tested):
            shown = ", ".join(map(escape_unprintable, tested[:_MAX_PATENTS_SHOWN]))
            shown += ", ..." if len(tested) > _MAX_PATENTS_SHOWN else ""
            what = f"none of the {len(tested)} held-out patents ({shown}) has"
            if len(tested) == 1:
                what = f"the only held-out patent ({shown}) does not have"
            raise InputError(
                f"{self.path}: {what} 2 drawings, one as query and one for the gallery; add drawings of them, or raise "
                f"DATASETS.FOLDER.TEST_FRACTION {self.test_fraction:g}"
            )
        for patent in tested:
            shuffled = sorted(patents[patent], key=lambda drawing: derive_seed("folder query", drawing.name))
            num_queries = min(self.num_queries, len(shuffled) - 1)
            queries += sorted(shuffled[:num_queries], key=_get_name)
            gallery += sorted(shuffled[num_queries:], key=_get_name)
        self._raise_faults(tuple(queries), tuple(gallery))
        return tuple(queries), tuple(gallery)

    def _raise_faults(self, *valid: tuple[Drawing, ...]) -> None:
        if self._faults:
            raise InvalidListError({str(self.path): self._faults}, valid)

    def _select_test_patents(self, patents: dict[str, list[Drawing]]) -> set[str]:
        num_tested = max(round(self.test_fraction * len(patents)), int(self.test_fraction > 0))
        return set(sorted(patents, key=lambda patent: derive_seed("folder split", patent))[:num_tested])

    def _get_patents(self) -> dict[str, list[Drawing]]:
        self._patents = self._patents or self._read_patents()
        return self._patents

    def _read_patents(self) -> dict[str, list[Drawing]]:
        if not self.path.is_dir():
            raise InputError(
                f"{self.path}: no such folder; set DATASETS.FOLDER.PATH, absolute or relative to the working folder"
            )
        tree = scan_folder(self.path)
        level, faults = find_patent_folders(tree, self.level)
        if len(faults) > len(tree.faults):  # it is unknown which folders are patents
            raise_faults(faults, str(self.path))
        patents: dict[str, list[Drawing]] = {}
        for parts, files in sorted(tree.drawings.items()):
            patent = parts[level - 1]
            for file in files:
                if not is_unicode("/".join((*parts, file))):
                    faults.append(f"{'/'.join((*parts, file))}: the name is not UTF-8; rename the folder or file")
                    continue
                try:
                    pages = list(list_pages(tree, parts, file))
                except InputError as error:
                    faults.append(str(error))
                    continue
                for path, name in pages:
                    source = escape_unprintable(f"{self.path.name}/{name}".lstrip("/"))
                    patents.setdefault(patent, []).append(Drawing(path, name, patent, source=source))
        faults += [
            f"the folder {one!r} contains a line break, tab or other control character; rename the folder"
            for one in patents
            if has_control_characters(one)
        ]
        self._faults = faults
        if not patents:
            raise_faults(faults, str(self.path))
        num_drawings = sum(map(len, patents.values()))
        get_logger().info(describe_tree(tree, level=level, num_patents=len(patents), num_drawings=num_drawings))
        return dict(sorted(patents.items()))


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
        return read_list(path, images=self.images, with_ids=True, for_training=part == "TRAIN")


def _get_name(drawing: Drawing) -> str:
    return drawing.name
