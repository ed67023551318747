#!/usr/bin/env python3
"""Train once for each choice and seed, and tell what each choice changes: tools/ablate.py --config-file FILE --rows FILE ..."""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from tabulate import tabulate

from fastreid.cli.launcher import launch_command
from fastreid.evaluation.scoring.comparison import comparison_table
from fastreid.experiments.ablation import Ablation, attempt
from fastreid.experiments.variants import read_rows
from fastreid.utils import comm
from fastreid.utils.cli import UserFacingError, run_tool
from fastreid.utils.errors import InputError
from fastreid.utils.files import write_text
from fastreid.utils.logger import get_logger


def run(args: argparse.Namespace) -> None:
    """What each process of the run does."""
    _check(args)
    ablation = Ablation(args.config_file, args.opts, read_rows(args.rows))
    left = ablation.plan(args.seeds, only=args.only)
    table = ablation.folder / Path(args.rows).with_suffix(".md").name
    text, failures = _write(ablation, table), []
    for number, one in enumerate(left, start=1):
        if comm.is_main():
            get_logger().info(f"run {number} of {len(left)}: {one}, in {one.folder}")
        failure = attempt(one, keep_weights=args.keep_weights)
        failures += [failure] if failure else []
        text = _write(ablation, table)
    if comm.is_main() and text:
        print(f"{text}\n{table}")
    if failures:
        told = "; ".join(map(str, failures))
        raise UserFacingError(
            f"{len(failures)} of {len(left)} runs failed and are not in the table; the same command tries them again. {told}",
            failures[0].exit_code,
        )


def _check(args: argparse.Namespace) -> None:
    if args.eval_only or args.random_weights:
        raise InputError(
            "--eval-only and --random-weights train nothing, and an ablation trains each row; leave them out"
        )
    if args.resume:
        raise InputError("--resume: an ablation always goes on where it was stopped; leave it out")


def _write(ablation: Ablation, path: Path) -> str:
    """Leave the table of all that is done; returns it, "" where there is nothing yet to compare with."""
    found = ablation.compare() if comm.is_main() else {}
    if not found:
        return ""
    text = tabulate(
        comparison_table(found, ablation.measures), headers="keys", tablefmt="github", disable_numparse=True
    )
    write_text(path, text + "\n")
    return text


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--rows", required=True, metavar="FILE", help="YAML: a section a row, and in it settings over the config's"
    )
    parser.add_argument("--seeds", type=_seeds, default=[0, 1, 2], metavar="A,B", help="SEED of the runs (0,1,2)")
    parser.add_argument("--keep-weights", action="store_true", help="keep the checkpoints of runs that are done")
    parser.add_argument("--only", type=_names, default=[], metavar="A,B", help="these rows beside the ground (all)")


def _seeds(text: str) -> list[int]:
    if not re.fullmatch(r"[0-9]{1,18}(,[0-9]{1,18})*", text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no list of seeds; write whole numbers with commas, such as 0,1,2"
        )
    seeds = [int(word) for word in text.split(",")]
    if len(set(seeds)) < len(seeds):
        raise argparse.ArgumentTypeError(f"{text}: a seed stands twice; name each once")
    return seeds


def _names(text: str) -> list[str]:
    return text.split(",")


def main(argv: Sequence[str] | None = None) -> int:
    return launch_command(run, "Train once for each choice, and tell what each changes.", argv=argv, options=_options)


def cli() -> int:
    return run_tool(main)


if __name__ == "__main__":
    sys.exit(cli())
