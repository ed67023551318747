"""DeepPatent and everything laid out like it (Kucer et al., "DeepPatent: Large scale patent drawing recognition and
retrieval", WACV 2022), and the test set of the challenge on it."""

from pathlib import Path

from fastreid.data.datasets.base import read_each, read_list
from fastreid.structures import Drawing
from fastreid.utils.errors import InputError


class Patent:
    """Lists with ids in `root/train_data/`, drawings below `root/train_data/patent_data/`.

    The ids of the training list and those of the two validation lists are numbered apart from each other, so an id
    says nothing across them. The viewpoints (cameras) of patents are not known.

    Args:
        root: the folder that holds `train_data`.
    """

    def __init__(self, root: Path):
        self.folder = root / "train_data"

    def train(self) -> tuple[Drawing, ...]:
        return self._read("train_patent_trn.txt")

    def test(self) -> tuple[tuple[Drawing, ...], tuple[Drawing, ...]]:
        queries, gallery = read_each(
            lambda: self._read("val_query_patent.txt"), lambda: self._read("val_db_patent.txt")
        )
        return queries, gallery

    def _read(self, name: str) -> tuple[Drawing, ...]:
        return read_list(self.folder / name, images=self.folder / "patent_data", with_ids=True)


class PatentTest:
    """The challenge's test set: queries and database without ids, so that a ranking is all that can be made.

    The folder is `root/codalab_test_set`, as the download unpacks, or `root/test_data`, as the challenge's README
    draws it; it holds `queries/`, `database/` and `lists/{test_queries,test_database}.txt` with one path a line.
    A path may start inside `queries` or `database`, or name that folder first: a file is looked for there and then
    from the set's own folder.

    Args:
        root: the folder that holds one of the two.
    """

    FOLDERS = ("codalab_test_set", "test_data")

    def __init__(self, root: Path):
        self.root = root

    def train(self) -> tuple[Drawing, ...]:
        """Refuses: there is nothing to train on."""
        raise InputError("PatentTest has no training drawings; name it in DATASETS.TESTS only")

    def test(self) -> tuple[tuple[Drawing, ...], tuple[Drawing, ...]]:
        queries, gallery = read_each(lambda: self._read("queries"), lambda: self._read("database"))
        return queries, gallery

    def _read(self, part: str) -> tuple[Drawing, ...]:
        folder = self._folder()
        images = (folder / part, folder)
        return read_list(folder / "lists" / f"test_{part}.txt", images=images, with_ids=False)

    def _folder(self) -> Path:
        for name in self.FOLDERS:
            if (self.root / name / "lists").is_dir():
                return self.root / name
        raise InputError(
            f"{self.root}: neither codalab_test_set/lists nor test_data/lists is here; set DATASETS.ROOT "
            "(or $FASTREID_DATASETS) to the folder that holds one of them"
        )
