"""Generated patents on the disk, in the DeepPatent layout."""

import functools
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from fastreid.synthetic.families.registry import FIRST_TEST_PATENT
from fastreid.synthetic.figures import MIN_DRAWINGS
from fastreid.synthetic.patent import VARIETY, num_drawings, render_patent
from fastreid.synthetic.rendering.sheet import check_size, png_bytes
from fastreid.utils.errors import InputError
from fastreid.utils.files import atomic_write, write_text
from fastreid.utils.processes import map_in_processes
from fastreid.utils.seeding import keyed_generator

RULES_VERSION = 5  # grows whenever the same seed gives other bytes than before
QUERIES_PER_PATENT = 2
MIN_TEST_DRAWINGS = 4  # two queries and two in the database
SETTINGS_FILE = "generated.json"
LIST_FILES = ("train_patent_trn.txt", "val_query_patent.txt", "val_db_patent.txt")


@dataclass(frozen=True)
class Collection:
    """What fixes every byte of a folder of generated patents.

    Args:
        seed: whole number.
        num_train_patents: patents to train on, 1 to 500,000.
        num_test_patents: patents to test on, 1 to 500,000.
        size_px: longest side of a drawing, 64 to 2000.
        disjoint: patents to test on are of other families than those to train on.
        without: sources of variety that training patents do without, words of VARIETY in rising order, each once.
    """

    seed: int
    num_train_patents: int
    num_test_patents: int
    size_px: int
    disjoint: bool = True
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if isinstance(self.seed, bool) or not isinstance(self.seed, int):
            raise InputError(f"seed is a whole number, not {self.seed!r}")
        for name in ("num_train_patents", "num_test_patents"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= FIRST_TEST_PATENT:
                raise InputError(f"{name} is a whole number from 1 to {FIRST_TEST_PATENT}, not {value!r}")
        check_size(self.size_px)
        for word in self.exclude:
            if word not in VARIETY:
                raise InputError(f"without takes words of {', '.join(VARIETY)}, not {word!r}")
        if list(self.exclude) != sorted(set(self.exclude)):
            raise InputError(f"without takes each word once, in rising order, not {', '.join(self.exclude)}")

    def train_patents(self) -> range:
        return range(self.num_train_patents)

    def test_patents(self) -> range:
        return range(FIRST_TEST_PATENT, FIRST_TEST_PATENT + self.num_test_patents)

    def drawing_names(self, number: int) -> list[str]:
        """The drawings of a patent as the lists name them, in the order of the figures."""
        patent = patent_name(number)
        num = num_drawings(self.seed, number, min_drawings=_min_drawings(number))
        return [f"{patent}/{patent}-D{index:05d}.png" for index in range(num)]


def patent_name(number: int) -> str:
    """A name in the form of the real ones, patent and day: `USDG000123-20260101`."""
    return f"USDG{number:06d}-20260101"


def write_patents(
    folder: str | Path,
    collection: Collection,
    *,
    num_workers: int = 0,
    on_patent: Callable[[int, int], None] | None = None,
) -> bool:
    """Draw patents into `folder/train_data/`: 1-bit PNG sheets and the three lists of the DeepPatent layout.

    Each test patent gives two query drawings; the rest of it is the database. A folder that holds the same collection
    whole is left as it is; one that was left unfinished is finished.

    Args:
        folder: made if it is missing.
        collection: fixes every byte, whatever the number of processes.
        num_workers: processes that draw; 0 draws in this one.
        on_patent: called after each patent with the number done and the number of all.

    Returns:
        True where something was drawn, False where the folder held it all.

    Raises:
        InputError: `num_workers` is out of its range, or the folder holds other data.
        StorageError: the folder cannot be written.
        EnvironmentSetupError: a drawing process died.
    """
    if isinstance(num_workers, bool) or not isinstance(num_workers, int) or num_workers < 0:
        raise InputError(f"num_workers is a whole number from 0 on, not {num_workers!r}")
    root = Path(folder)
    if _is_complete(root, collection):
        return False
    write_text(root / SETTINGS_FILE, _format_settings(collection))
    numbers = [*collection.train_patents(), *collection.test_patents()]
    for done, _ in enumerate(_render_all(root, collection, numbers, num_workers), start=1):
        if on_patent is not None:
            on_patent(done, len(numbers))
    for name, text in zip(LIST_FILES, _format_lists(collection)):
        write_text(root / "train_data" / name, text)
    return True


def _format_settings(collection: Collection) -> str:
    return json.dumps({**asdict(collection), "rules_version": RULES_VERSION}, indent=2) + "\n"


def _is_complete(root: Path, collection: Collection) -> bool:
    """Whether the folder holds this collection and all its lists.

    Raises:
        InputError: it holds something else.
    """
    settings, data = root / SETTINGS_FILE, root / "train_data"
    if not settings.is_file():
        if data.exists():
            raise InputError(f"{data}: holds data that was not generated; choose another folder")
        return False
    if settings.read_text(encoding="utf-8", errors="replace") != _format_settings(collection):
        raise InputError(
            f"{settings}: tells of other drawings ({_describe_differences(settings, collection)}); choose another folder"
        )
    return all((data / name).is_file() for name in LIST_FILES)


def _describe_differences(settings: Path, collection: Collection) -> str:
    """What a folder's settings say otherwise than they would of a collection."""
    wanted = json.loads(_format_settings(collection))
    try:
        there = dict(json.loads(settings.read_text(encoding="utf-8", errors="replace")))
    except (ValueError, TypeError, RecursionError):
        return "damaged"
    return ", ".join(f"{key} {there.get(key)!r}" for key in wanted if there.get(key) != wanted[key]) or "more settings"


def _min_drawings(number: int) -> int:
    return MIN_DRAWINGS if number < FIRST_TEST_PATENT else MIN_TEST_DRAWINGS


def _render_all(root: Path, collection: Collection, numbers: list[int], num_workers: int) -> Iterator[None]:
    work = functools.partial(_write_patent, root, collection)
    yield from map_in_processes(
        work, numbers, num_workers=min(num_workers, len(numbers)), preload=__name__, activity="drawing"
    )


def _write_patent(root: Path, collection: Collection, number: int) -> None:
    sheets = render_patent(
        collection.seed,
        number,
        size_px=collection.size_px,
        min_drawings=_min_drawings(number),
        disjoint=collection.disjoint,
        exclude=collection.exclude,
    )
    for name, sheet in zip(collection.drawing_names(number), sheets):
        with atomic_write(root / "train_data" / "patent_data" / name) as file:
            file.write(png_bytes(sheet))


def _format_lists(collection: Collection) -> tuple[str, str, str]:
    """The texts of the three lists; ids count from 0 in the training list and from 0 in the two others."""
    train = [
        f"{name} {i}"
        for i, number in enumerate(collection.train_patents())
        for name in collection.drawing_names(number)
    ]
    queries, database = [], []
    for i, number in enumerate(collection.test_patents()):
        names = collection.drawing_names(number)
        rng = keyed_generator(collection.seed, "generated", number, "queries")
        chosen = set(rng.permutation(len(names))[:QUERIES_PER_PATENT].tolist())
        queries += [f"{name} {i}" for row, name in enumerate(names) if row in chosen]
        database += [f"{name} {i}" for row, name in enumerate(names) if row not in chosen]
    train_text, query_text, database_text = ("\n".join(lines) + "\n" for lines in (train, queries, database))
    return train_text, query_text, database_text
