"""fastreid compare: compare the settings and metrics of training runs."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fastreid.cli.command import Command
from fastreid.utils.errors import InputError, suggest_and_list
from fastreid.utils.files import expand_home
from fastreid.utils.option_values import ListParser, parse_png_path
from fastreid.utils.text import print_message

if TYPE_CHECKING:
    from fastreid.experiments.comparison import RunRecord


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `fastreid compare`."""
    parser.add_argument("folders", type=expand_home, nargs="+", metavar="DIR", help="OUTPUT_DIR of a training run")
    parser.add_argument(
        "--metrics",
        type=ListParser("total_loss,mAP"),
        default=[],
        metavar="A,B",
        help="names in metrics.json (default: losses and scores)",
    )
    parser.add_argument(
        "--output",
        type=parse_png_path,
        default=Path("compare_runs.png"),
        metavar="FILE",
        help="PNG file of the curves",
    )


def run(args: argparse.Namespace) -> int:
    """Print tables of settings and metrics and write the curves."""
    from fastreid.experiments.comparison import different_settings, logged_scores, read_runs, summarize_outcomes
    from fastreid.experiments.curves import plot_curves
    from fastreid.utils.files import atomic_write, check_writable

    check_writable(args.output)
    runs = read_runs(args.folders)
    metrics = _select_metrics(runs, args.metrics)
    names = [run.name for run in runs]
    settings = different_settings(runs)
    equal = "one run was given; name more folders to compare settings" if len(runs) == 1 else "all settings are equal"
    print_message(_format_table(["setting", *names], settings) if settings else equal)
    print_message(f"\n{_format_table(['', *names], summarize_outcomes(runs, metrics))}")
    panels = {metric: {run.name: run.curve(metric) for run in runs if run.curve(metric)} for metric in metrics}
    with atomic_write(args.output) as file:
        plot_curves(panels, names, percentages=logged_scores(runs)).save(file, format="PNG")
    print_message(f"\ncurves: {args.output}")
    return 0


def _select_metrics(runs: Sequence["RunRecord"], names: Sequence[str]) -> list[str]:
    from fastreid.experiments.comparison import logged_metrics

    known = {name for run in runs for line in run.lines for name in line}
    for name in names:
        if name not in known:
            raise InputError(f"--metrics: no run has the metric '{name}'.{suggest_and_list(name, known)}")
    return list(names) or logged_metrics(runs)


def _format_table(head: list[str], rows: list[list[str]]) -> str:
    from tabulate import tabulate

    align = ("left", *["right"] * (len(head) - 1))
    return tabulate(rows, headers=head, disable_numparse=True, colalign=align)


COMMAND = Command(
    "compare",
    "Compare the settings, scores and curves of training runs.",
    "fastreid compare logs/a logs/b --metrics total_loss,mAP --output curves.png",
    add_options,
    run,
)
