"""A full file system of 2 MB: each error has the bytes that were needed and those that are free."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

CAN_MOUNT = hasattr(os, "geteuid") and os.geteuid() == 0 and shutil.which("unshare") is not None
NEEDED = {
    "write_checkpoint": 6.0,
    "write_features": 6.0,
    "write_archive": 6.0,
    "write_table": 6.0,
    "write_ranking": 6.0,
}


@pytest.fixture
def mount(tmp_path):
    """Yield a function that runs a Python file with a small file system mounted on a folder, which only it sees."""

    def mount(folder, size, *command, timeout=200, **options):
        script = f"mount -t tmpfs -o size={size} tmpfs {folder} && exec {sys.executable} " + ' "$@"'
        words = ["unshare", "-m", "sh", "-c", script, "sh", *map(str, command)]
        return subprocess.run(words, capture_output=True, text=True, timeout=timeout, **options)

    if not CAN_MOUNT or subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode:
        pytest.skip("mounting a file system needs root")
    return mount


def test_full_disk_names_needed_and_free_bytes(mount, tmp_path):
    for seed in range(8):
        page = np.random.default_rng(seed).integers(0, 256, (900, 900), dtype=np.uint8)
        Image.fromarray(page).save(tmp_path / f"{seed}.png")
    (tmp_path / "disk").mkdir()
    result = mount(tmp_path / "disk", "2m", Path(__file__).with_name("small_disk.py"), tmp_path / "disk", tmp_path)
    assert result.returncode == 0, result.stderr
    *errors, (_, console, _) = map(json.loads, result.stdout.splitlines())
    assert len(errors) == len(NEEDED) + 1
    for name, message, code in errors:
        assert code == 5, message
        match = re.search(
            r"cannot be written \(.*: ([\d.,]+) MB needed, ([\d.,]+) (MB|bytes) free\); free space", message
        )
        assert match is not None, message
        if name in NEEDED:
            assert float(match[1]) == NEEDED[name]
            assert (float(match[2]), match[3]) == (2.1, "MB")
    warnings = [line for line in console.splitlines() if "cannot be written" in line]
    assert [re.sub(r".*?(metrics\.json|metrics\.csv|events in).*", r"\1", line) for line in warnings] == [
        "metrics.json",
        "metrics.csv",
        "events in",
    ]
    assert all(" free" in line and "No space left on device" in line for line in warnings)
    [log_error] = result.stderr.splitlines()  # no traceback of TensorBoard's thread
    assert "log.txt: cannot be written (No space left on device: " in log_error
    assert log_error.endswith("0 bytes free); the run continues without it")


BATCHES = """
import sys
from pathlib import Path
from fastreid.data.loading.loader import TestLoader
from fastreid.data.loading.workers import Workers
from fastreid.data.transforms.pipeline import Pipeline, Resize
from fastreid.structures import Drawing
from fastreid.utils.cli import run_tool

def main(arguments):
    drawings = [Drawing(str(path), path.name, path.stem) for path in sorted(Path(sys.argv[1]).glob("*.png"))] * 64
    transform = Pipeline([Resize([256, 256], max_pixels=10**6)])
    workers = Workers(4, timeout_s=60, page_bytes=eval(sys.argv[2]))
    loader = TestLoader(drawings, transform=transform, batch_size=64, workers=workers)
    sums = [int(batch.images.sum()) for batch in loader]
    print(len(sums), len(set(sums)), sums[0])
    return 0

if __name__ == "__main__":
    sys.exit(run_tool(main))
"""


@pytest.mark.parametrize(
    ("size", "page_bytes", "message"),
    [
        ("24m", 65536, r"/dev/shm has 25\.\d MB free, 41\.7 MB are needed"),  # (2 * 4 + 1) batches of 4.2 MB, 4 MB more
        pytest.param("6m", 65536, r"/dev/shm has 6\.\d MB free, 41\.7 MB are needed", marks=pytest.mark.faults),
        ("12m", 0, r"/dev/shm has [\d.,]+ (MB|bytes) free, 8\.2 MB are needed"),  # the size of a page is unknown
        pytest.param("512m", 65536, None, marks=pytest.mark.faults),
    ],
)
def test_small_shared_memory_costs_no_batch_and_is_reported_once(size, page_bytes, message, mount, tmp_path):
    (tmp_path / "batches.py").write_text(BATCHES)
    for number in range(8):
        Image.fromarray(np.full((300, 200), 10 * number, np.uint8)).save(tmp_path / f"{number}.png")
    result = mount("/dev/shm", size, tmp_path / "batches.py", tmp_path, page_bytes)
    assert (result.returncode, result.stderr) == (0, "")
    *lines, sums = result.stdout.splitlines()
    assert sums.startswith("8 1 ")
    assert len(lines) == (message is not None)
    for line in lines:
        assert re.search(message, line), line
        assert line.startswith("shared memory is too small for the batches of the workers: ")
        assert "with the same results; to use shared memory, enlarge it (docker run --shm-size=2g)" in line


def test_full_shared_memory_is_one_line(mount, tmp_path):
    """Not even the semaphores of the workers fit."""
    (tmp_path / "batches.py").write_text(BATCHES)
    Image.fromarray(np.full((30, 20), 99, np.uint8)).save(tmp_path / "1.png")
    result = mount("/dev/shm", "16k", tmp_path / "batches.py", tmp_path, 65536)
    assert result.returncode == 3
    assert result.stderr.count("\n") == 1, result.stderr
    [line] = result.stderr.splitlines()
    assert re.match(
        r"shared memory is full \(/dev/shm has [\d,]+ bytes free\), so no worker can start; enlarge it", line
    )
