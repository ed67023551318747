"""fastreid tune: find the best post-processing on saved features."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastreid.cli.command import Command
from fastreid.cli.launcher import launch_command
from fastreid.utils.arguments import add_config_options, add_process_options
from fastreid.utils.errors import InputError
from fastreid.utils.files import expand_home
from fastreid.utils.option_values import ChoiceParser, ListParser, NumberParser
from fastreid.utils.text import print_message

if TYPE_CHECKING:
    from fastreid.evaluation.postprocess.tuning_grid import Trial

STEPS = ("NEGATIVE", "AQE", "RERANK", "SUPERGLOBAL", "LOCAL")  # those that are tuned
_COUNT = NumberParser(int, 1)
_POWER, _RATIO = NumberParser(float, 0), NumberParser(float, 0, 1)
_SIDE = ChoiceParser(("both", "queries", "gallery"))
# (option, field of Grid, type of an item, default, help); the defaults are those of Grid, which imports torch.
GRID_OPTIONS: tuple[tuple[str, str, NumberParser | ChoiceParser, tuple[Any, ...], str], ...] = (
    ("--negative-k", "negative_k", _COUNT, (5, 10), "values of TEST.NEGATIVE.K"),
    ("--negative-beta", "negative_beta", _RATIO, (0.2, 0.35), "values of TEST.NEGATIVE.BETA"),
    ("--expansion-k", "expansion_k", _COUNT, (2, 3, 5, 8), "values of TEST.AQE.QE_K"),
    ("--expansion-alpha", "expansion_alpha", _POWER, (0.0, 1.0, 3.0), "values of TEST.AQE.ALPHA"),
    ("--sides", "sides", _SIDE, ("both", "queries"), "sides to expand: both, queries or gallery"),
    ("--k1", "k1", _COUNT, (8, 12, 20), "values of TEST.RERANK.K1"),
    ("--k2", "k2", _COUNT, (1, 3, 6), "values of TEST.RERANK.K2"),
    ("--lambda", "lambda_value", _RATIO, (0.1, 0.3, 0.5), "values of TEST.RERANK.LAMBDA"),
    ("--superglobal-k", "superglobal_k", _COUNT, (5, 9), "values of TEST.SUPERGLOBAL.K"),
    ("--superglobal-beta", "superglobal_beta", _POWER, (0.15, 0.5), "values of TEST.SUPERGLOBAL.BETA"),
    ("--local-weight", "local_weight", _POWER, (0.5, 1.0, 2.0), "values of TEST.LOCAL.WEIGHT"),
    ("--local-dim", "local_dim", _COUNT, (64,), "values of TEST.LOCAL.DIM"),
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `fastreid tune`."""
    add_config_options(parser)
    parser.add_argument(
        "--features",
        type=expand_home,
        required=True,
        metavar="DIR",
        help="features of one dataset, saved by `fastreid extract`",
    )
    parser.add_argument(
        "--output",
        type=expand_home,
        metavar="FILE",
        help="YAML config of the best choice (default: OUTPUT_DIR/tuned.yml)",
    )
    count = NumberParser(int, 0, example="0 for all")
    parser.add_argument("--queries", type=count, default=0, metavar="N", help="number of queries to use; 0: all")
    parser.add_argument(
        "--top-n", type=count, metavar="N", help="TEST.RERANK.TOP_N; 0: all (default: as in the config)"
    )
    parser.add_argument(
        "--steps",
        type=ListParser(",".join(STEPS), ChoiceParser(STEPS)),
        metavar="A,B",
        help=f"steps to tune (default: {','.join(STEPS)}; NEGATIVE only if there are features of training drawings, "
        "LOCAL only if there are local features, SUPERGLOBAL and LOCAL only if TEST.ROC and TEST.TOP_K allow it)",
    )
    for option, name, item, default, text in GRID_OPTIONS:
        values = ListParser(",".join(map(str, default)), item)
        parser.add_argument(option, dest=name, type=values, default=default, metavar="A,B", help=text)
    add_process_options(parser)


def tune(args: argparse.Namespace) -> None:
    """Try all choices in this process of the run; the main process writes the results."""
    from fastreid.config.locate import find_config
    from fastreid.engine.setup import default_setup, load_config, resolve_search_device
    from fastreid.evaluation.postprocess.tuning_grid import Grid
    from fastreid.experiments.tuning import format_tuned_config, tune_saved_features, write_trials
    from fastreid.utils import comm
    from fastreid.utils.files import write_text

    steps = args.steps or STEPS
    disabled = [word for step in steps for word in (f"TEST.{step}.ENABLED", "False")]
    cfg = load_config(args.config_file, [*args.opts, *disabled])
    grid = Grid(
        steps,
        **{name: getattr(args, name) for _, name, *_ in GRID_OPTIONS},
        negative_times=cfg.TEST.NEGATIVE.TIMES,
        superglobal_top_n=cfg.TEST.SUPERGLOBAL.TOP_N,
        local_top_n=cfg.TEST.LOCAL.TOP_N,
        times=cfg.TEST.AQE.QE_TIME,
        form=cfg.TEST.RERANK.FORM,
        top_n=(cfg.TEST.RERANK.TOP_N if args.top_n is None else args.top_n) or None,
    )
    default_setup(cfg, args, device=resolve_search_device(cfg))
    select_by, folder = cfg.TEST.SELECT_BY, Path(cfg.OUTPUT_DIR)
    path = Path(args.output) if args.output else folder / "tuned.yml"
    table = folder / "tuning.csv"
    if comm.is_main_process():
        _check_output(path, table, Path(find_config(args.config_file)))
    trials = tune_saved_features(
        cfg,
        args.features,
        grid=grid,
        num_queries=args.queries,
        require_same_weights="MODEL.WEIGHTS" in args.opts[::2],
        skip_unusable=args.steps is None,
        on_trial=_log_trials(select_by) if comm.is_main_process() else None,
    )
    if comm.is_main_process():
        untuned = [name for name in STEPS if cfg.TEST[name].ENABLED]
        write_trials(table, trials, untuned=untuned)
        text = format_tuned_config(
            trials,
            path=path,
            settings=cfg.changes(),
            steps=cfg.TEST.STEPS,
            base_config=args.config_file,
            select_by=select_by,
            untuned=untuned,
        )
        write_text(path, text)
        best = trials[0]
        print_message(
            f"{path}: {select_by} {best.value:.2f}{best.format_gain()}, the best of {len(trials)}; all: {table}"
        )


def _check_output(path: Path, table: Path, config: Path) -> None:
    """Check, before any work, that the files can be written and replace neither the config nor each other."""
    from fastreid.config.values import is_single_line
    from fastreid.utils.files import check_writable

    for output in (table, path):
        check_writable(output)
    if path.resolve() in (table.resolve(), config.resolve()):
        raise InputError(f"--output {path} is the config itself or the table of trials; choose another name")
    if not is_single_line(str(path)):
        raise InputError(f"--output {str(path)!r} contains characters that are not text; choose another name")


def _log_trials(select_by: str) -> Callable[["Trial", int, int], None]:
    from fastreid.utils.logger import get_logger

    def log(trial: "Trial", number: int, max_trials: int) -> None:
        get_logger().info(f"trial {number} of up to {max_trials}: {trial}: {select_by} {trial.value:.2f}")

    return log


def run(args: argparse.Namespace) -> int:
    """Tune in every process of the run."""
    return launch_command(tune, args)


COMMAND = Command(
    "tune",
    "Find the best post-processing on saved features.",
    "fastreid tune --config-file demo/test.yml --features logs/demo/test/features/Generated",
    add_options,
    run,
)
