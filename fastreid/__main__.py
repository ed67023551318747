"""Run the `fastreid` command with `python -m fastreid`."""

import sys

from fastreid.cli.main import main_entry

if __name__ == "__main__":
    sys.exit(main_entry())
