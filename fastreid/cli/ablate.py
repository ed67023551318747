"""fastreid ablate: train variants of a config with several seeds and compare them."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from fastreid.cli.command import Command
from fastreid.cli.launcher import launch_command
from fastreid.utils.arguments import add_config_options, add_process_options
from fastreid.utils.option_values import ListParser, NumberParser
from fastreid.utils.text import print_message

if TYPE_CHECKING:
    from fastreid.experiments.ablation import Ablation


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `fastreid ablate`."""
    add_config_options(parser)
    parser.add_argument(
        "--variants",
        required=True,
        metavar="FILE",
        help="YAML: one section per variant with the settings it changes; a path, or a name of `fastreid configs list`",
    )
    parser.add_argument(
        "--seeds",
        type=ListParser("0,1,2", NumberParser(int, 0)),
        default=[0, 1, 2],
        metavar="A,B",
        help="values of SEED, one run each",
    )
    parser.add_argument("--keep-weights", action="store_true", help="keep the checkpoints of finished runs")
    parser.add_argument(
        "--only",
        type=ListParser("warp,elastic"),
        default=[],
        metavar="A,B",
        help="variants to run in addition to the baseline (default: all)",
    )
    add_process_options(parser)


def ablate(args: argparse.Namespace) -> None:
    """Run all unfinished runs in this process; a failed run does not stop the others."""
    from fastreid.config.locate import find_config
    from fastreid.experiments.ablation import Ablation, run_or_record_failure
    from fastreid.experiments.variants import read_variants
    from fastreid.utils import comm
    from fastreid.utils.cli import UserFacingError
    from fastreid.utils.logger import get_logger

    ablation = Ablation(args.config_file, args.opts, read_variants(find_config(args.variants, variants=True)))
    runs = ablation.plan(args.seeds, only=args.only)
    table_path = ablation.folder / Path(args.variants).with_suffix(".md").name
    table, failures = _write_table(ablation, table_path), []
    for number, one in enumerate(runs, start=1):
        if comm.is_main_process():
            get_logger().info(f"run {number} of {len(runs)}: {one}, in {one.folder}")
        failure = run_or_record_failure(one, keep_weights=args.keep_weights)
        failures += [failure] if failure else []
        table = _write_table(ablation, table_path)
    if comm.is_main_process() and table:
        print_message(f"{table}\n{table_path}")
    if failures:
        details = "; ".join(map(str, failures))
        raise UserFacingError(
            f"{len(failures)} of {len(runs)} runs failed and are not in the table; "
            f"run the same command again to repeat them. {details}",
            failures[0].exit_code,
        )


def _write_table(ablation: "Ablation", path: Path) -> str:
    """Write the comparison of the finished runs and return it; "" if there is nothing to compare yet."""
    from tabulate import tabulate

    from fastreid.evaluation.scoring.comparison import build_comparison_table
    from fastreid.utils import comm
    from fastreid.utils.files import write_text

    changes = ablation.compare() if comm.is_main_process() else {}
    if not changes:
        return ""
    rows = build_comparison_table(changes, ablation.metrics)
    text = tabulate(rows, headers="keys", tablefmt="github", disable_numparse=True)
    write_text(path, text + "\n")
    return text


def run(args: argparse.Namespace) -> int:
    """Run the ablation in every process of the run."""
    return launch_command(ablate, args)


COMMAND = Command(
    "ablate",
    "Train variants of a config with several seeds and compare their scores.",
    "fastreid ablate --config-file ablations/small.yml --variants ablations/rows/input.yml --seeds 0,1,2",
    add_options,
    run,
)
