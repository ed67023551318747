"""fastreid data check: inspect the drawings of a config before training."""

import argparse
import functools
from pathlib import Path

from fastreid.cli.command import Command
from fastreid.utils.arguments import add_config_options
from fastreid.utils.errors import EnvironmentSetupError, InputError, StorageError
from fastreid.utils.option_values import parse_path
from fastreid.utils.text import print_message


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `fastreid data check`."""
    add_config_options(parser)
    parser.add_argument(
        "--headers", action="store_true", help="read lists and image headers only: seconds where pages take minutes"
    )
    parser.add_argument(
        "--output", type=parse_path, metavar="DIR", help="folder for data.json and data.png (default: OUTPUT_DIR)"
    )


def run(args: argparse.Namespace) -> int:
    """Print the report and write data.json and data.png."""
    from fastreid.data.audit.audit import audit_datasets
    from fastreid.engine.data import build_dataset
    from fastreid.engine.run_checks import check_test_data
    from fastreid.engine.setup import load_config
    from fastreid.synthetic import png_bytes
    from fastreid.utils.files import atomic_write, check_writable, write_text
    from fastreid.utils.logger import setup_logger
    from fastreid.utils.text import format_count

    cfg = load_config(args.config_file, args.opts)
    setup_logger()
    folder = args.output or Path(cfg.OUTPUT_DIR)
    report_path, image_path = folder / "data.json", folder / "data.png"
    check_writable(report_path)
    check_test = functools.partial(check_test_data, cfg)
    report = audit_datasets(cfg, build_dataset, check_test=check_test, decode=not args.headers)
    print_message("\n".join(report.format_lines()))
    write_text(report_path, report.to_json())
    color = cfg.INPUT.COLOR == "rgb"
    sheet = None if args.headers else report.plot(max_pixels=cfg.INPUT.MAX_PIXELS, color=color)
    if sheet is not None:
        with atomic_write(image_path) as file:
            file.write(png_bytes(sheet))
    print_message(f"\n{report_path}" + (f", {image_path}" if sheet is not None else ""))
    if report.machine_errors:
        is_disk = report.machine_errors[0].exit_code == StorageError.exit_code
        raise (StorageError if is_disk else EnvironmentSetupError)(
            f"{format_count(len(report.machine_errors), 'file')} could not be read because of the machine, not of the "
            f"data, so the check is not complete; see {report_path}"
        )
    if report.num_errors:
        raise InputError(f"the data has {format_count(report.num_errors, 'error')}; see {report_path}")
    return 0


COMMAND = Command(
    "data check",
    "Report counts, unreadable, unusual, blank and duplicate drawings, and leakage.",
    "fastreid data check --config-file own/folder.yml DATASETS.FOLDER.PATH /data/my-patents",
    add_options,
    run,
)
