"""fastreid data synth: render synthetic patents in the DeepPatent layout."""

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from fastreid.cli.command import Command
from fastreid.utils.option_values import NumberParser, parse_path, parse_png_path
from fastreid.utils.text import print_message

if TYPE_CHECKING:
    from fastreid.synthetic import Collection

SHEET_PATENTS, SHEET_DRAWINGS, CELL_PX = 12, 8, 160
VARIETY = ("siblings", "families", "styles", "shading", "marks", "states")
MAX_PATENTS, MIN_SIZE_PX, MAX_SIZE_PX = 500_000, 64, 2000  # limits of `Collection`


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `fastreid data synth`."""
    num_patents = NumberParser(int, 1, MAX_PATENTS, example="200")
    parser.add_argument("--output", type=parse_path, required=True, metavar="DIR", help="folder for train_data/")
    parser.add_argument("--patents", type=num_patents, required=True, metavar="N", help="number of training patents")
    parser.add_argument(
        "--test-patents", type=num_patents, metavar="N", help="number of test patents (default: a quarter of --patents)"
    )
    size = NumberParser(int, MIN_SIZE_PX, MAX_SIZE_PX, example="320")
    parser.add_argument(
        "--size-px", type=size, default=320, metavar="PX", help="longest side of a drawing, 64 to 2000 px"
    )
    parser.add_argument(
        "--all-families",
        action="store_true",
        help="take test patents from the object families of the training patents, not from separate ones",
    )
    parser.add_argument(
        "--exclude", nargs="*", choices=VARIETY, default=[], help="sources of variety left out of training patents"
    )
    seed, workers = NumberParser(int, example="0"), NumberParser(int, 0, example="4")
    parser.add_argument("--seed", type=seed, default=0, metavar="N", help="random seed; it determines every byte")
    parser.add_argument(
        "--workers", type=workers, default=0, metavar="N", help="rendering processes; 0: render in this process"
    )
    parser.add_argument(
        "--sheet", type=parse_png_path, metavar="FILE", help="also write a PNG with the first training patents"
    )


def run(args: argparse.Namespace) -> int:
    """Render the patents and, if asked, a contact sheet."""
    from fastreid.synthetic import Collection, write_patents
    from fastreid.utils.files import check_writable
    from fastreid.utils.progress import show_progress

    if args.sheet is not None:
        check_writable(args.sheet)
    num_test = args.test_patents if args.test_patents is not None else max(1, args.patents // 4)
    collection = Collection(
        args.seed,
        args.patents,
        num_test,
        size_px=args.size_px,
        disjoint=not args.all_families,
        exclude=tuple(sorted(set(args.exclude))),
    )
    with show_progress("rendering drawings", unit="patent") as update:
        is_new = write_patents(args.output, collection, num_workers=args.workers, on_patent=update)
    action = "wrote" if is_new else "already contains"
    num_drawings = sum(1 for _ in (args.output / "train_data" / "patent_data").glob("*/*.png"))
    print_message(
        f"{args.output}: {action} {num_drawings} drawings of {args.patents} training and {num_test} test patents"
    )
    if args.sheet is not None:
        _write_sheet(args.sheet, collection)
    settings = ["DATASETS.NAMES", "Patent", "DATASETS.TESTS", "Patent", "DATASETS.ROOT", str(args.output)]
    print_message(f"to train on it: {shlex.join(['fastreid', 'train', '--config-file', 'demo/stage1.yml', *settings])}")
    return 0


def _write_sheet(path: Path, collection: "Collection") -> None:
    from fastreid.synthetic import contact_sheet, png_bytes, render_patent
    from fastreid.utils.files import atomic_write

    num_rows = min(collection.num_train_patents, SHEET_PATENTS)
    rows = [
        render_patent(
            collection.seed,
            index,
            size_px=collection.size_px,
            disjoint=collection.disjoint,
            exclude=collection.exclude,
        )
        for index in range(num_rows)
    ]
    with atomic_write(path) as file:
        file.write(png_bytes(contact_sheet([row[:SHEET_DRAWINGS] for row in rows], cell_px=CELL_PX)))
    print_message(f"{path}: the first {num_rows} patents, one per row")


COMMAND = Command(
    "data synth",
    "Render synthetic patents in the DeepPatent layout.",
    "fastreid data synth --output datasets/synthetic --patents 200 --size-px 128",
    add_options,
    run,
)
