#!/usr/bin/env python3
"""Find the expansion and re-ranking that serve best: tools/tune_postprocessing.py --config-file FILE --features DIR ..."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from fastreid.cli.launcher import launch_command
from fastreid.config.values import is_text
from fastreid.engine import default_setup
from fastreid.engine.evaluate_saved import tune_saved
from fastreid.engine.setup import load_config
from fastreid.evaluation.postprocess.tuning import SIDES, STEPS, Grid, Trial
from fastreid.experiments.tuning import tuned_config, write_trials
from fastreid.utils import comm
from fastreid.utils.cli import run_tool
from fastreid.utils.errors import InputError
from fastreid.utils.files import check_writable, write_text
from fastreid.utils.logger import get_logger

SWITCHED_OFF = ("TEST.AQE.ENABLED", "False", "TEST.RERANK.ENABLED", "False")  # they are what is tried


def run(args: argparse.Namespace) -> None:
    """What each process of the run does."""
    if args.queries < 0:
        raise InputError(f"--queries is {args.queries}; it takes a number of queries, 0 for all")
    if args.random_weights:
        raise InputError("--random-weights makes a network, and saved features need none; leave it out")
    cfg = load_config(args.config_file, [*args.opts, *SWITCHED_OFF])
    grid = Grid(
        steps=args.steps,
        expansion_k=args.expansion_k,
        expansion_alpha=args.expansion_alpha,
        times=cfg.TEST.AQE.QE_TIME,
        sides=args.sides,
        k1=args.k1,
        k2=args.k2,
        lambda_value=args.lambda_value,
        form=cfg.TEST.RERANK.FORM,
        top_n=(cfg.TEST.RERANK.TOP_N if args.top_n is None else args.top_n) or None,
    )
    default_setup(cfg, args)
    select_by, folder = cfg.TEST.SELECT_BY, Path(cfg.OUTPUT_DIR)
    path = Path(args.output) if args.output else folder / "tuned.yml"
    table = folder / "tuning.csv"
    if comm.is_main():
        _check_places(path, table, Path(args.config_file))
    trials = tune_saved(
        cfg,
        args.features,
        grid=grid,
        num_queries=args.queries,
        weights_asked="MODEL.WEIGHTS" in args.opts[::2],
        on_trial=_show(select_by) if comm.is_main() else None,
    )
    if comm.is_main():
        write_trials(table, trials)
        text = tuned_config(
            trials,
            path=path,
            settings=cfg.changes(),
            steps=cfg.TEST.STEPS,
            tried_with=args.config_file,
            select_by=select_by,
        )
        write_text(path, text)
        print(
            f"{path}: {select_by} {trials[0].value:.2f}{trials[0].told_gain()}, the best of {len(trials)}; "
            f"all of them: {table}"
        )


def _check_places(path: Path, table: Path, config: Path) -> None:
    """Refuse, before any work, places where the answers could not be written or would replace something else."""
    for place in (table, path):
        check_writable(place)
    if path.resolve() in (table.resolve(), config.resolve()):
        raise InputError(f"--output {path} is the config it starts from or the table of trials; choose another name")
    if not is_text(str(path)):
        raise InputError(f"--output {str(path)!r} is not text, and the config names itself; choose another name")


def _show(select_by: str) -> Callable[[Trial, int, int], None]:
    def show(trial: Trial, number: int, most: int) -> None:
        get_logger().info(f"{number} of at most {most}: {trial}: {select_by} {trial.value:.2f}")

    return show


def _numbers(kind: type) -> Callable[[str], list]:
    def read(text: str) -> list:
        return [kind(word) for word in text.split(",") if word]

    read.__name__ = f"list of {kind.__name__}"  # argparse says it when a word does not fit
    return read


def _options(parser: argparse.ArgumentParser) -> None:
    whole, real, usual = _numbers(int), _numbers(float), Grid()

    def add(option: str, kind: Callable[[str], list], values: Sequence, meaning: str) -> None:
        given = ",".join(map(str, values))
        name = "lambda_value" if option == "--lambda" else option.lstrip("-").replace("-", "_")
        parser.add_argument(option, dest=name, type=kind, default=values, metavar="A,B", help=f"{meaning} ({given})")

    parser.add_argument("--features", required=True, metavar="DIR", help="a set's features that tools/extract.py saved")
    parser.add_argument("--output", metavar="FILE", help="gets the best choice as YAML (OUTPUT_DIR/tuned.yml)")
    parser.add_argument("--queries", type=int, default=0, metavar="N", help="try with N of the queries; 0: all (0)")
    add("--steps", _numbers(str), usual.steps, f"what is tried, of {', '.join(STEPS)}")
    add("--expansion-k", whole, usual.expansion_k, "TEST.AQE.QE_K to try")
    add("--expansion-alpha", real, usual.expansion_alpha, "TEST.AQE.ALPHA to try")
    add("--sides", _numbers(str), usual.sides, f"what is expanded, of {', '.join(SIDES)}")
    add("--k1", whole, usual.k1, "TEST.RERANK.K1 to try")
    add("--k2", whole, usual.k2, "TEST.RERANK.K2 to try")
    add("--lambda", real, usual.lambda_value, "TEST.RERANK.LAMBDA to try")
    parser.add_argument("--top-n", type=int, metavar="N", help="TEST.RERANK.TOP_N; 0: all (as the config has it)")


def main(argv: Sequence[str] | None = None) -> int:
    return launch_command(run, "Find the expansion and re-ranking that serve best.", argv=argv, options=_options)


def cli() -> int:
    return run_tool(main)


if __name__ == "__main__":
    sys.exit(cli())
