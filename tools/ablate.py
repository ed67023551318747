#!/usr/bin/env python3
"""Train once for each choice and seed, and tell what each choice changes: tools/ablate.py --config-file FILE --rows FILE ..."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tabulate import tabulate

from fastreid.engine.ablation.build import compare_runs, plan_runs, train_and_test
from fastreid.engine.ablation.rows import read_rows
from fastreid.engine.command import start
from fastreid.engine.setup import load_config
from fastreid.evaluation.comparison import comparison_table
from fastreid.utils import comm
from fastreid.utils.errors import InputError
from fastreid.utils.exits import run_tool
from fastreid.utils.files import write_text


def run(args: argparse.Namespace) -> None:
    """What each process of the run does; it goes on where an earlier one was stopped, with --resume or without."""
    cfg = load_config(args.config_file, args.opts)
    if args.eval_only or args.random_weights:
        raise InputError(
            "--eval-only and --random-weights train nothing, and an ablation trains each row; leave them out"
        )
    if len(set(args.seeds)) < len(args.seeds):
        raise InputError(f"--seeds {','.join(map(str, args.seeds))}: a seed stands twice; name each once")
    rows = read_rows(args.rows, only=args.only)
    runs = plan_runs(args.config_file, args.opts, rows, args.seeds)
    left = [one for one in runs if not one.is_done]
    for number, one in enumerate(left, start=1):
        if comm.is_main():
            print(f"run {number} of {len(left)}: row '{one.row}', seed {one.seed}, in {one.folder}", flush=True)
        train_and_test(one, args)
    if comm.is_main():
        table = Path(cfg.OUTPUT_DIR) / Path(args.rows).with_suffix(".md").name
        _tell(comparison_table(compare_runs(runs), ("mAP", f"mAP@{cfg.TEST.TOP_K}", "Rank-1")), table)


def _tell(lines: list[dict[str, str]], path: Path) -> None:
    text = tabulate(lines, headers="keys", tablefmt="github", disable_numparse=True)
    write_text(path, text + "\n")
    print(f"{text}\n{path}")


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--rows", required=True, metavar="FILE", help="YAML: a section a row, and in it settings over the config's"
    )
    parser.add_argument("--seeds", type=_seeds, default=[0, 1, 2], metavar="A,B", help="SEED of the runs (0,1,2)")
    parser.add_argument("--keep-weights", action="store_true", help="keep the checkpoints of runs that are done")
    parser.add_argument("--only", type=_names, default=[], metavar="A,B", help="these rows beside the ground (all)")


def _seeds(text: str) -> list[int]:
    return [int(word) for word in text.split(",")]


def _names(text: str) -> list[str]:
    return text.split(",")


def main(argv: Sequence[str] | None = None) -> int:
    return start(run, "Train once for each choice, and tell what each changes.", argv=argv, options=_options)


def cli() -> int:
    return run_tool(main)


if __name__ == "__main__":
    sys.exit(cli())
