#!/usr/bin/env python3
"""Draw patents from a seed: tools/make_drawings.py --output DIR --patents N [--test-patents M] [--size-px 320] ..."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from fastreid.synthetic import VARIETY, Collection, contact_sheet, draw_patent, png_bytes, write_patents
from fastreid.utils.cli import CommandParser, run_tool
from fastreid.utils.files import atomic_write

SHEET_PATENTS, SHEET_DRAWINGS, CELL_PX = 12, 8, 160


def main(argv: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    num_test = args.test_patents if args.test_patents is not None else max(1, args.patents // 4)
    without = tuple(sorted(set(args.without)))
    new = write_patents(
        args.output,
        Collection(
            args.seed, args.patents, num_test, size_px=args.size_px, disjoint=not args.all_families, without=without
        ),
        num_workers=args.workers,
        on_patent=_show if args.progress else None,
    )
    kind = "wrote" if new else "nothing to do: it already holds"
    num_drawings = sum(1 for _ in (args.output / "train_data" / "patent_data").glob("*/*.png"))
    print(
        f"{args.output}: {kind} {num_drawings} drawings, {args.patents} patents to train on and {num_test} to test on"
    )
    if args.sheet is not None:
        shown = range(min(args.patents, SHEET_PATENTS))
        disjoint = not args.all_families
        rows = [
            draw_patent(args.seed, number, size_px=args.size_px, disjoint=disjoint, without=without) for number in shown
        ]
        with atomic_write(args.sheet) as file:
            file.write(png_bytes(contact_sheet([row[:SHEET_DRAWINGS] for row in rows], cell_px=CELL_PX)))
        print(f"{args.sheet}: the first {len(shown)} patents, one a row")
    print(
        "train on it: python tools/train_net.py --config-file configs/demo/stage1.yml "
        f"DATASETS.NAMES Patent DATASETS.TESTS Patent DATASETS.ROOT {args.output}"
    )
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(description="Draw patents from a seed, in the DeepPatent layout.")
    parser.add_argument("--output", type=Path, required=True, help="folder that gets train_data/")
    parser.add_argument("--patents", type=int, required=True, help="patents to train on")
    parser.add_argument("--test-patents", type=int, help="patents to test on; a quarter of --patents where left out")
    parser.add_argument("--size-px", type=int, default=320, help="longest side of a drawing, 64 to 2000 (320)")
    parser.add_argument(
        "--all-families",
        action="store_true",
        help="test patents are of the families that are trained on, not of others",
    )
    parser.add_argument(
        "--without", nargs="*", choices=VARIETY, default=[], help="sources of variety that training patents do without"
    )
    parser.add_argument("--seed", type=int, default=0, help="fixes every byte (0)")
    parser.add_argument("--workers", type=int, default=0, help="processes that draw; 0 draws in this one (0)")
    parser.add_argument("--sheet", type=Path, help="also write a picture of the first patents there, a PNG")
    parser.add_argument("--progress", action="store_true", help="tell on stderr how many patents are drawn")
    return parser


def _show(done: int, num: int) -> None:
    print(f"\r{done} of {num} patents", end="\n" if done == num else "", file=sys.stderr, flush=True)


def cli() -> int:
    return run_tool(main)


if __name__ == "__main__":
    sys.exit(cli())
