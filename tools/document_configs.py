#!/usr/bin/env python3
"""Write docs/configs.md from fastreid/config/defaults.py: tools/document_configs.py (part of `make fix`)"""

import sys
from collections.abc import Sequence
from pathlib import Path

from fastreid.config.document import document
from fastreid.utils.arguments import CommandParser
from fastreid.utils.cli import run_tool
from fastreid.utils.files import write_text


def main(argv: Sequence[str] | None = None) -> int:
    """Write the page if it changed and return the exit code."""
    parser = CommandParser(description="Write the table of all settings from their defaults.")
    parser.add_argument("path", nargs="?", default="docs/configs.md", help="file to write (default: docs/configs.md)")
    path = Path(parser.parse_args(argv).path)
    text = document()
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)
    return 0


if __name__ == "__main__":
    sys.exit(run_tool(main))
