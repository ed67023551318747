"""Generated drawings made once, and the commands as a user starts them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

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


@pytest.fixture(scope="session")
def drawings(tmp_path_factory):
    """A data root that holds the tiny config's generated drawings."""
    from fastreid.data.build import build_datasets
    from fastreid.engine.setup import load_config

    root = tmp_path_factory.mktemp("drawings with ünïcode")
    build_datasets(load_config(TINY, ["DATASETS.ROOT", str(root)]))
    return root


@pytest.fixture(scope="session")
def trained(drawings, tmp_path_factory):
    """The output folder of a whole tiny run, never stopped."""
    folder = tmp_path_factory.mktemp("trained")
    code, output, errors = run(
        "train_net.py", "--config-file", TINY, "DATASETS.ROOT", drawings, "OUTPUT_DIR", folder / "run", folder=folder
    )
    assert code == 0, output + errors
    return folder / "run"
