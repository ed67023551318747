"""The commands as a user starts them."""

import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
TINY = REPOSITORY / "tests/end_to_end/tiny.yml"


def start(tool, *arguments, folder, **environment):
    """Start a command in a folder; the process."""
    return subprocess.Popen(
        [sys.executable, REPOSITORY / "tools" / tool, *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(tool, *arguments, folder, **environment):
    """Run a command in a folder; its exit code, output and errors."""
    process = start(tool, *arguments, folder=folder, **environment)
    output, errors = process.communicate(timeout=240)
    return process.returncode, output, errors
