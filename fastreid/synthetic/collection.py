"""Write a collection of synthetic patents to disk, in the DeepPatent layout."""

import contextlib
import functools
import json
from collections.abc import Callable, Generator
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
from fastreid.utils.termination import raise_on_sigterm

RULES_VERSION = 5  # incremented whenever the same seed gives other bytes
QUERIES_PER_PATENT = 2
MIN_TEST_DRAWINGS = 4  # two queries and two gallery drawings
SETTINGS_FILE = "generated.json"
LIST_FILES = ("train_patent_trn.txt", "val_query_patent.txt", "val_db_patent.txt")


@dataclass(frozen=True)
class Collection:
    """Settings that determine every byte of a folder of synthetic patents.

    Args:
        seed: seed of the collection.
        num_train_patents: number of training patents, 1 to 500,000.
        num_test_patents: number of test patents, 1 to 500,000.
        size_px: longest side of a drawing, 64 to 2000.
        disjoint: take test patents from other families than training patents.
        exclude: sources of VARIETY to exclude from training patents, sorted and without duplicates.
    """

    seed: int
    num_train_patents: int
    num_test_patents: int
    size_px: int
    disjoint: bool = True
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if isinstance(self.seed, bool) or not isinstance(self.seed, int):
            raise InputError(f"seed must be an integer, not {self.seed!r}")
        for name in ("num_train_patents", "num_test_patents"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= FIRST_TEST_PATENT:
                raise InputError(f"{name} must be an integer from 1 to {FIRST_TEST_PATENT}, not {value!r}")
        check_size(self.size_px)
        for source in self.exclude:
            if source not in VARIETY:
                raise InputError(f"exclude: {source!r} is unknown. Available: {', '.join(VARIETY)}")
        if list(self.exclude) != sorted(set(self.exclude)):
            raise InputError(f"exclude must be sorted and without duplicates, not {', '.join(self.exclude)}")

    def train_patents(self) -> range:
        """Return the numbers of the training patents."""
        return range(self.num_train_patents)

    def test_patents(self) -> range:
        """Return the numbers of the test patents."""
        return range(FIRST_TEST_PATENT, FIRST_TEST_PATENT + self.num_test_patents)

    def drawing_names(self, number: int) -> list[str]:
        """Return the names of the drawings of a patent in the image lists."""
        patent = patent_name(number)
        num = num_drawings(self.seed, number, min_drawings=_min_drawings(number))
        return [f"{patent}/{patent}-D{index:05d}.png" for index in range(num)]


def patent_name(number: int) -> str:
    """Return the name of a patent, its number and a date as in DeepPatent: `USDG000123-20260101`."""
    return f"USDG{number:06d}-20260101"


def write_patents(
    folder: str | Path,
    collection: Collection,
    *,
    num_workers: int = 0,
    on_patent: Callable[[int, int], None] | None = None,
) -> bool:
    """Render patents into `folder/train_data/`: 1-bit PNG sheets and the three image lists of the DeepPatent layout.

    Two drawings of each test patent are queries, the others are the gallery. A folder that already contains the whole
    collection is not changed; an incomplete one is completed.

    Args:
        folder: output folder; it is created if missing.
        collection: determines every byte, for any number of processes.
        num_workers: number of rendering processes; 0: render in this process.
        on_patent: called after each patent with the number of finished patents and the total number.

    Returns:
        True if something was rendered, False if the folder already contained everything.

    Raises:
        InputError: `num_workers` is out of range, or the folder contains other data.
        StorageError: the folder cannot be written.
        EnvironmentSetupError: a rendering process died.
    """
    if isinstance(num_workers, bool) or not isinstance(num_workers, int) or num_workers < 0:
        raise InputError(f"num_workers must be a non-negative integer, not {num_workers!r}")
    root = Path(folder)
    if _is_complete(root, collection):
        return False
    write_text(root / SETTINGS_FILE, _format_settings(collection))
    numbers = [*collection.train_patents(), *collection.test_patents()]
    # Closed before an exception leaves this function: the workers must not write into a folder that is being removed.
    with raise_on_sigterm(), contextlib.closing(_render_all(root, collection, numbers, num_workers)) as rendered:
        for done, _ in enumerate(rendered, start=1):
            if on_patent is not None:
                on_patent(done, len(numbers))
    for name, text in zip(LIST_FILES, _format_lists(collection)):
        write_text(root / "train_data" / name, text)
    return True


def _format_settings(collection: Collection) -> str:
    """Return the content of SETTINGS_FILE. Its key for `exclude` is "without", so that existing folders stay valid."""
    names = {"exclude": "without"}
    settings = {names.get(name, name): value for name, value in asdict(collection).items()}
    return json.dumps({**settings, "rules_version": RULES_VERSION}, indent=2) + "\n"


def _is_complete(root: Path, collection: Collection) -> bool:
    """Return True if the folder contains this collection and all its lists.

    Raises:
        InputError: the folder contains something else.
    """
    settings, data = root / SETTINGS_FILE, root / "train_data"
    if not settings.is_file():
        if data.exists():
            raise InputError(f"{data}: contains data that was not generated; choose another folder")
        return False
    if settings.read_text(encoding="utf-8", errors="replace") != _format_settings(collection):
        differences = _describe_differences(settings, collection)
        raise InputError(f"{settings}: describes other drawings ({differences}); choose another folder")
    return all((data / name).is_file() for name in LIST_FILES)


def _describe_differences(settings: Path, collection: Collection) -> str:
    """Return the settings of a folder that differ from those of a collection."""
    expected = json.loads(_format_settings(collection))
    try:
        actual = dict(json.loads(settings.read_text(encoding="utf-8", errors="replace")))
    except (ValueError, TypeError, RecursionError):
        return "damaged"
    return (
        ", ".join(f"{key} {actual.get(key)!r}" for key in expected if actual.get(key) != expected[key])
        or "additional settings"
    )


def _min_drawings(number: int) -> int:
    return MIN_DRAWINGS if number < FIRST_TEST_PATENT else MIN_TEST_DRAWINGS


def _render_all(
    root: Path, collection: Collection, numbers: list[int], num_workers: int
) -> Generator[None, None, None]:
    work = functools.partial(_write_patent, root, collection)
    yield from map_in_processes(
        work, numbers, num_workers=min(num_workers, len(numbers)), preload=__name__, activity="rendering"
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
    """Return the contents of the three lists; ids start at 0 in the training list and at 0 in the other two."""
    train = [
        f"{name} {i}"
        for i, number in enumerate(collection.train_patents())
        for name in collection.drawing_names(number)
    ]
    queries, gallery = [], []
    for i, number in enumerate(collection.test_patents()):
        names = collection.drawing_names(number)
        rng = keyed_generator(collection.seed, "generated", number, "queries")
        query_rows = set(rng.permutation(len(names))[:QUERIES_PER_PATENT].tolist())
        queries += [f"{name} {i}" for row, name in enumerate(names) if row in query_rows]
        gallery += [f"{name} {i}" for row, name in enumerate(names) if row not in query_rows]
    train_text, query_text, gallery_text = ("\n".join(lines) + "\n" for lines in (train, queries, gallery))
    return train_text, query_text, gallery_text
