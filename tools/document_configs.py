#!/usr/bin/env python3
"""Write docs/configs.md from fastreid/config/defaults.py: tools/document_configs.py"""

import sys
from collections.abc import Sequence
from pathlib import Path

from fastreid.config.document import document
from fastreid.utils.cli import CommandParser, run_tool
from fastreid.utils.files import write_text


def main(argv: Sequence[str] | None = None) -> int:
    parser = CommandParser(description="Write the table of all settings from their defaults.")
    parser.add_argument("path", nargs="?", default="docs/configs.md", help="file to write; docs/configs.md without one")
    path = Path(parser.parse_args(argv).path)
    text = document()
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)
    return 0


def cli() -> int:
    return run_tool(main)


if __name__ == "__main__":
    sys.exit(cli())
