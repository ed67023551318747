#!/usr/bin/env python3
"""Lay training runs side by side: tools/compare_runs.py logs/A logs/B ... [--metrics A,B] [--output FILE]"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tabulate import tabulate

from fastreid.engine.monitors import build_runs
from fastreid.experiments.comparison import RunRecord, different_settings, outcomes, told_metrics
from fastreid.experiments.curves import draw_curves
from fastreid.utils.cli import CommandParser, run_tool
from fastreid.utils.errors import InputError, suggest
from fastreid.utils.files import atomic_write, check_writable


def main(argv: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    if args.output.suffix != ".png":
        raise InputError(f"--output {args.output}: the picture is a PNG; let its name end in .png")
    check_writable(args.output)
    runs = build_runs(args.folders)
    names = _metrics(runs, args.metrics)
    heads = [run.name for run in runs]
    changed = different_settings(runs)
    if changed:
        print(_table(["setting", *heads], changed))
    else:
        print("the settings are the same in all")
    print(f"\n{_table(['', *heads], outcomes(runs, names))}")
    panels = {name: {run.name: run.curve(name) for run in runs if run.curve(name)} for name in names}
    with atomic_write(args.output) as file:
        draw_curves(panels, heads).save(file, format="PNG")
    print(f"\ncurves: {args.output}")
    return 0


def _metrics(runs: Sequence[RunRecord], wanted: Sequence[str]) -> list[str]:
    known = {name for run in runs for line in run.lines for name in line}
    for name in wanted:
        if name not in known:
            raise InputError(f"--metrics: no run tells '{name}'.{suggest(name, known)}")
    return list(wanted) or told_metrics(runs)


def _table(heads: list[str], rows: list[list[str]]) -> str:
    align = ("left", *["right"] * (len(heads) - 1))
    return tabulate(rows, headers=heads, disable_numparse=True, colalign=align)


def _words(text: str) -> list[str]:
    return text.split(",")


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        description="Print where training runs differ in settings and outcome, and draw their curves."
    )
    parser.add_argument("folders", nargs="+", metavar="DIR", help="OUTPUT_DIR of a training run")
    parser.add_argument(
        "--metrics", type=_words, default=[], metavar="A,B", help="names in metrics.json (losses and scores)"
    )
    parser.add_argument(
        "--output", type=Path, default=Path("compare_runs.png"), metavar="FILE", help="the picture (compare_runs.png)"
    )
    return parser


def cli() -> int:
    return run_tool(main)


if __name__ == "__main__":
    sys.exit(cli())
