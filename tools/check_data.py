#!/usr/bin/env python3
"""Look at a config's drawings before training on them: tools/check_data.py --config-file FILE [--headers] [KEY VALUE ...]"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from fastreid.data.audit.audit import survey
from fastreid.engine.setup import config_parser, load_config
from fastreid.synthetic import png_bytes
from fastreid.utils.cli import run_tool
from fastreid.utils.errors import InputError
from fastreid.utils.files import atomic_write, check_writable, write_text
from fastreid.utils.logger import setup_logger


def main(argv: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    cfg = load_config(args.config_file, args.opts)
    setup_logger()
    folder = args.output or Path(cfg.OUTPUT_DIR)
    report, picture = folder / "data.json", folder / "data.png"
    check_writable(report)
    found = survey(cfg, decode=not args.headers)
    print("\n".join(found.lines()), flush=True)
    write_text(report, found.as_json())
    sheet = None if args.headers else found.sheet(max_pixels=cfg.INPUT.MAX_PIXELS)
    if sheet is not None:
        with atomic_write(picture) as file:
            file.write(png_bytes(sheet))
    print(f"\n{report}" + (f", {picture}" if sheet is not None else ""), flush=True)
    if found.num_faults:
        raise InputError(f"{found.num_faults} to be mended; all stand in {report}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = config_parser(
        description="Look at the drawings a config names: counts, broken, odd and blank files, copies, what training and "
        "test share. Exit code 2 where a run would be refused or stopped."
    )
    parser.add_argument(
        "--headers", action="store_true", help="lists and headers only: seconds where pages take minutes"
    )
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="where data.json and data.png are written (OUTPUT_DIR)"
    )
    return parser


def cli() -> int:
    return run_tool(main)


if __name__ == "__main__":
    sys.exit(cli())
