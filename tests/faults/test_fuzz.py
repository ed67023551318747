"""Mutated images, lists and configs load or fail in one line, each within two seconds and bounded memory (R8)."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
LONG = [pytest.mark.slow, pytest.mark.timeout(3600)]


@pytest.mark.parametrize("num", [1000, pytest.param(100_000, marks=LONG)])
@pytest.mark.parametrize("kind", ["images", "lists", "configs"])
def test_mutated_files_are_read_or_rejected(kind, num, tmp_path):
    if kind == "configs" and num == 1000:
        num = 200  # each file has a chain of base configs
    command = [sys.executable, "-W", "error", "tests/faults/fuzz.py", kind, str(num), str(num), tmp_path]
    done = subprocess.run(
        command, cwd=REPOSITORY, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, capture_output=True, text=True
    )
    assert done.returncode == 0, (done.returncode, done.stderr[-2000:], tmp_path)
    print(f"R8 {done.stdout.strip()}")
    assert done.stdout.startswith(f"{num} of {num} mutated {kind}: ")
