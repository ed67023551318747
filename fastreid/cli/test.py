"""fastreid test: rank the gallery for every query and write the scores and result.npy."""

import argparse
import os
import shutil
from pathlib import Path

from fastreid.cli.command import Command
from fastreid.cli.launcher import launch_command
from fastreid.utils.arguments import add_config_options, add_process_options
from fastreid.utils.errors import EnvironmentSetupError, InputError
from fastreid.utils.files import expand_home
from fastreid.utils.text import print_message


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `fastreid test`."""
    add_config_options(parser)
    parser.add_argument(
        "--features",
        type=expand_home,
        metavar="DIR",
        help="rank the features saved there by `fastreid extract`; builds no network",
    )
    parser.add_argument(
        "--random-weights", action="store_true", help="evaluate an untrained network, as a lower bound or a trial run"
    )
    add_process_options(parser)


def evaluate(args: argparse.Namespace) -> None:
    """Evaluate in this process of the run; the main process copies result.npy to the working folder."""
    from fastreid.utils import comm

    if not os.access(Path.cwd(), os.W_OK):
        raise EnvironmentSetupError(
            f"the working folder {Path.cwd()} is not writable, but result.npy is written there; change to another "
            "folder"
        )
    folder = evaluate_to_output_folder(args)
    if comm.is_main_process():
        _copy_result(folder)


def evaluate_to_output_folder(args: argparse.Namespace) -> Path:
    """Evaluate in this process of the run; return OUTPUT_DIR, which contains the results."""
    from fastreid.engine.evaluate import run_test
    from fastreid.engine.evaluate_saved import run_saved_test
    from fastreid.engine.setup import default_setup, load_config, load_test_config, resolve_search_device

    load = load_config if args.random_weights else load_test_config
    cfg = load(args.config_file, args.opts)
    if args.features is not None and args.random_weights:
        raise InputError("--features ranks saved features and --random-weights builds a network; use only one of them")
    default_setup(cfg, args, device=None if args.features is None else resolve_search_device(cfg))
    if args.features is not None:
        run_saved_test(cfg, args.features, require_same_weights="MODEL.WEIGHTS" in args.opts[::2])
    else:
        run_test(cfg, random_weights=args.random_weights)
    return Path(cfg.OUTPUT_DIR)


def _copy_result(folder: Path) -> None:
    from fastreid.utils.files import atomic_write

    result = folder / "result.npy"
    if result.resolve() != Path("result.npy").resolve():
        with result.open("rb") as source, atomic_write("result.npy") as target:
            shutil.copyfileobj(source, target)
    print_message(f"rankings: result.npy and {result}; submission: {result.with_suffix('.zip')}")
    if result.with_name("ranks.png").is_file():
        print_message(f"plot of the rankings: {result.with_name('ranks.png')}")


def run(args: argparse.Namespace) -> int:
    """Evaluate in every process of the run."""
    return launch_command(evaluate, args)


COMMAND = Command(
    "test",
    "Rank the gallery for every query; write scores and result.npy.",
    "fastreid test --config-file demo/test.yml MODEL.WEIGHTS logs/demo/stage2/model_best.pth",
    add_options,
    run,
)
