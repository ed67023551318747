"""Datasets in the layout of DeepPatent, and the test set of its challenge.

Kucer et al., DeepPatent: Large scale patent drawing recognition and retrieval, WACV 2022.
"""

from pathlib import Path

from fastreid.data.datasets.base import read_list, read_lists
from fastreid.data.datasets.list_paths import describe_contents
from fastreid.structures import Drawing
from fastreid.utils.errors import InputError
from fastreid.utils.logger import get_logger

TRAIN_LIST, QUERY_LIST, GALLERY_LIST = "train_patent_trn.txt", "val_query_patent.txt", "val_db_patent.txt"
VALIDATION_LIST = "train_patent_val.txt"  # all drawings of the two validation lists


def find_missing_lists(root: Path) -> list[Path]:
    """Return the lists of `Patent` that the folder `root` does not contain."""
    lists = (root / "train_data" / name for name in (TRAIN_LIST, QUERY_LIST, GALLERY_LIST))
    return [path for path in lists if not path.is_file()]


class Patent:
    """Lists with ids in `root/train_data/`, drawings in `root/train_data/patent_data/`.

    The ids of the training list and of the two validation lists are independent of each other: equal ids do not mean
    equal patents. The viewpoints (cameras) of patents are unknown.

    Without the two validation lists, each drawing of `train_patent_val.txt` is a query, and all others are its gallery.
    The folder in the challenge's README has only this list.

    Args:
        root: the folder that contains `train_data`.
    """

    def __init__(self, root: Path):
        self.folder = root / "train_data"

    def train(self) -> tuple[Drawing, ...]:
        """Return the training drawings."""
        return self._read(TRAIN_LIST)

    def test(self) -> tuple[tuple[Drawing, ...], tuple[Drawing, ...]]:
        """Return the queries and the gallery of the validation set."""
        if self._has(VALIDATION_LIST) and not self._has(QUERY_LIST) and not self._has(GALLERY_LIST):
            get_logger().info(
                f"{self.folder}: contains neither {QUERY_LIST} nor {GALLERY_LIST}, so each drawing of "
                f"{VALIDATION_LIST} is a query, and all others are its gallery"
            )
            drawings = self._read(VALIDATION_LIST)
            return drawings, drawings
        queries, gallery = read_lists(lambda: self._read(QUERY_LIST), lambda: self._read(GALLERY_LIST))
        return queries, gallery

    def _has(self, name: str) -> bool:
        return (self.folder / name).is_file()

    def _read(self, name: str) -> tuple[Drawing, ...]:
        images = self.folder / "patent_data"
        return read_list(self.folder / name, images=images, with_ids=True, for_training=name == TRAIN_LIST)


class PatentTest:
    """The test set of the challenge: queries and gallery without ids, which can be ranked but not scored.

    The folder is `root/codalab_test_set`, as in the download, or `root/test_data` or `root/test_data/codalab_test_set`,
    which are the two ways to read the README of the challenge. It contains `queries/`, `database/` and
    `lists/{test_queries,test_database}.txt` with one path per line. Paths are relative to `queries` or `database`, or
    to the folder of the set if no such file exists.

    Args:
        root: the folder that contains one of the three.
    """

    FOLDERS = ("codalab_test_set", "test_data", "test_data/codalab_test_set")

    def __init__(self, root: Path):
        self.root = root

    def train(self) -> tuple[Drawing, ...]:
        """Raise InputError: there are no training drawings."""
        raise InputError("PatentTest has no training drawings; use it in DATASETS.TESTS only")

    def test(self) -> tuple[tuple[Drawing, ...], tuple[Drawing, ...]]:
        """Return the queries and the gallery."""
        queries, gallery = read_lists(lambda: self._read("queries"), lambda: self._read("database"))
        return queries, gallery

    def _read(self, part: str) -> tuple[Drawing, ...]:
        folder = self._find_folder()
        images = (folder / part, folder)
        return read_list(folder / "lists" / f"test_{part}.txt", images=images, with_ids=False)

    def _find_folder(self) -> Path:
        for name in self.FOLDERS:
            if (self.root / name / "lists").is_dir():
                return self.root / name
        found = next((name for name in reversed(self.FOLDERS) if (self.root / name).is_dir()), "")
        raise InputError(
            f"{self.root}: contains none of {', '.join(f'{name}/lists' for name in self.FOLDERS)}; "
            f"{describe_contents(self.root / found)}; set DATASETS.ROOT (or $FASTREID_DATASETS) to the folder that "
            "contains one of them"
        )
