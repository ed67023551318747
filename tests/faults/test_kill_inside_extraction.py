"""Kill an extraction at random moments: the next one computes the same bytes and repeats no saved batch."""

import hashlib
import random
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from fork_server import get_server
from torch import nn

from fastreid.config import get_cfg
from fastreid.data.loading.loader import TestLoader
from fastreid.data.transforms.build import build_test_transforms
from fastreid.engine.features.inference import run_inference
from fastreid.engine.features.journal import JournalFolder
from fastreid.structures import Drawing


def extract(folder, num, started):
    """Extract features with the real loader, loop and journal, of pages computed from the row and by a small network.

    `started` is created after the first saved batch; the last line of output is the digest of the features and the
    number of rows that were computed.
    """
    folder, started = Path(folder), Path(started)
    cfg = get_cfg()
    cfg.merge_from_list(["INPUT.SIZE_TEST", [16, 16]])
    drawings = [Drawing(sys.executable, f"{row}.png", "1") for row in range(num)]
    page = np.arange(400, dtype=np.uint32).reshape(20, 20)
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(392, 32))
    journal = JournalFolder(folder / "unfinished", "weights").open(drawings)
    done = journal.read()
    transform = build_test_transforms(cfg)

    def read_page(drawing):
        return ((page + 1) * (int(drawing.name[:-4]) + 7) % 251).astype(np.uint8)

    batches = TestLoader(drawings, transform=transform, batch_size=64, read=read_page, done=set(done))
    batch_sizes = []

    def save_batch(rows, features):
        journal.add(int(rows[0]), features)
        batch_sizes.append(len(rows))
        started.touch()

    device = torch.device("cpu")
    features = run_inference(network, batches, drawings, device=device, done=done, on_batch=save_batch).features
    print(hashlib.sha256(features.numpy().tobytes()).hexdigest(), sum(batch_sizes), flush=True)


def start(folder, num):
    """Start an extraction, wait for its first batch and return the process."""
    started = folder / "started"
    started.unlink(missing_ok=True)
    process = get_server().start("test_kill_inside_extraction:extract", folder, num, started, folder=folder)
    while not started.exists() and process.poll() is None:
        time.sleep(0.001)
    return process


def finish(folder, num):
    """Run an extraction to the end; return the digest of the features and the number of computed rows."""
    digest, num_computed = start(folder, num).communicate()[0].split()
    return digest, int(num_computed)


@pytest.mark.parametrize(
    ("num", "num_kills", "longest_s"),
    [(4000, 1, 0.15), pytest.param(52_000, 20, 0.2, marks=[pytest.mark.slow, pytest.mark.timeout(1200)])],
)
def test_killed_extraction_resumes_to_the_same_bytes(tmp_path, num, num_kills, longest_s):
    folders = [tmp_path / name for name in ("uninterrupted", "killed")]
    for folder in folders:
        folder.mkdir()
    expected, num_computed = finish(folders[0], num)
    assert num_computed == num
    saved_bytes = 0
    for index in range(num_kills):
        process = start(folders[1], num)
        time.sleep(random.Random(index).uniform(0, longest_s))
        process.kill()
        size = sum(path.stat().st_size for path in (folders[1] / "unfinished").iterdir())
        assert size > saved_bytes  # each run adds batches to those of the previous ones
        saved_bytes = size
    digest, num_computed = finish(folders[1], num)
    print(f"R9 {num_kills}/{num_kills} kills, {num - num_computed} of {num} rows were reused, sha256 {digest[:12]}")
    assert digest == expected
    assert 0 < num_computed < num
