"""fastreid models calibrate: give the scores of a model directory a meaning."""

import argparse
from typing import TYPE_CHECKING

from fastreid.cli.command import Command
from fastreid.utils.errors import InputError
from fastreid.utils.files import expand_home
from fastreid.utils.option_values import parse_path
from fastreid.utils.text import print_message

if TYPE_CHECKING:
    from fastreid.engine.model.calibrate import CalibrationReport


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the model directory and the features."""
    parser.add_argument(
        "directory", type=expand_home, metavar="DIR", help="model directory, to which calibration.json is written"
    )
    parser.add_argument(
        "--features",
        required=True,
        type=parse_path,
        metavar="DIR",
        help="features of queries and gallery, extracted with this model by `fastreid extract`",
    )
    parser.add_argument(
        "--evaluate", action="store_true", help="fit nothing; print the reliability of the calibration of the model"
    )
    parser.add_argument("--data", default="", metavar="TEXT", help="description of the drawings; default: the dataset")


def run(args: argparse.Namespace) -> int:
    """Calibrate, and print the reliability on the same features."""
    from fastreid.engine.model.calibrate import calibrate_model, evaluate_calibration
    from fastreid.engine.model.directory import find_model_directory, get_model_folder

    directory = find_model_directory(args.directory)
    if directory is None:
        raise InputError(f"{args.directory}: no model directory; `fastreid models save` writes one")
    if args.evaluate:
        if args.data:
            raise InputError("--data describes the drawings of a fit, but --evaluate fits nothing; use one of them")
        print_message(format_report(evaluate_calibration(directory, args.features)))
        return 0
    if directory.parent == get_model_folder().resolve() and args.directory == directory.name:
        raise InputError(
            f"{args.directory}: a shipped model has its calibration; copy it to change that: cp -r {directory} DIR"
        )
    print_message(format_report(calibrate_model(directory, args.features, data=args.data)))
    return 0


def format_report(report: "CalibrationReport") -> str:
    """Return the report as lines and a table."""
    from tabulate import tabulate

    from fastreid.engine.model.calibrate import NUM_RESULTS

    calibration = report.calibration
    rows = [(f"{one.mean_probability:.2f}", f"{one.match_ratio:.2f}", one.num_pairs) for one in report.bins]
    table = tabulate(rows, ("probability", "matches", "results"), tablefmt="plain", disable_numparse=True)
    return (
        f"{report.path}: fitted to {calibration.num_matches} pairs of one object and {calibration.num_others} others "
        f"of {calibration.data}\n"
        f"the first {NUM_RESULTS} results of each query: mean difference {report.error:.3f} between probability and "
        f"ratio of matches, with a prior of {report.prior:.4f}\n{table}"
    )


COMMAND = Command(
    "models calibrate",
    "Fit the probability that two drawings with a given score show the same object.",
    "fastreid models calibrate models/mine --features logs/test/features/Patent",
    add_options,
    run,
)
