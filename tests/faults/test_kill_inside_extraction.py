"""An extraction killed at any moment and started again makes the same bytes, and makes no batch twice."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
# The real loader, loop and journal; pages come from the row's number, and the network is a small one.
EXTRACTION = """
import hashlib, sys
from pathlib import Path
import numpy as np, torch
from torch import nn
from fastreid.config import get_cfg
from fastreid.data.loading.loader import TestLoader
from fastreid.data.transforms.build import build_test_transforms
from fastreid.engine.feature_journal import JournalFolder
from fastreid.engine.inference import run_inference
from fastreid.structures import Drawing

folder, num, started = Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
torch.set_num_threads(1)
cfg = get_cfg()
cfg.merge_from_list(["INPUT.SIZE_TEST", [16, 16]])
drawings = [Drawing(sys.executable, f"{row}.png", "1") for row in range(num)]
page = np.arange(400, dtype=np.uint32).reshape(20, 20)
read = lambda drawing: ((page + 1) * (int(drawing.name[:-4]) + 7) % 251).astype(np.uint8)
torch.manual_seed(0)
network = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(392, 32))
journals = JournalFolder(folder / "unfinished", "weights")
journal = journals.open(drawings)
done = journal.read()
batches = TestLoader(drawings, transform=build_test_transforms(cfg), batch_size=64, read=read, done=set(done))
made = []
def save_batch(rows, features):
    journal.add(int(rows[0]), features)
    made.append(len(rows))
    started.touch()
cpu = torch.device("cpu")
features = run_inference(network, batches, drawings, device=cpu, done=done, on_batch=save_batch).features
print(hashlib.sha256(features.numpy().tobytes()).hexdigest(), sum(made), flush=True)
"""


def start(folder, num):
    started = folder / "started"
    started.unlink(missing_ok=True)
    words = [sys.executable, "-c", EXTRACTION, folder, str(num), started]
    process = subprocess.Popen(words, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    while not started.exists() and process.poll() is None:
        time.sleep(0.005)
    return process


def finished(folder, num):
    digest, made = start(folder, num).communicate()[0].split()
    return digest, int(made)


@pytest.mark.parametrize(
    ("num", "num_kills", "longest_s"),
    [(9000, 1, 0.3), pytest.param(52_000, 20, 0.2, marks=[pytest.mark.slow, pytest.mark.timeout(1200)])],
)
def test_an_extraction_killed_again_and_again_ends_with_the_same_bytes(tmp_path, num, num_kills, longest_s):
    folders = [tmp_path / name for name in ("whole", "killed")]
    for folder in folders:
        folder.mkdir()
    whole, made = finished(folders[0], num)
    assert made == num
    kept = 0
    for number in range(num_kills):
        process = start(folders[1], num)
        time.sleep(random.Random(number).uniform(0, longest_s))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        size = sum(path.stat().st_size for path in (folders[1] / "unfinished").iterdir())
        assert size > kept  # each run adds to what the others left
        kept = size
    digest, made = finished(folders[1], num)
    print(f"R9 {num_kills}/{num_kills} kills, {num - made} of {num} rows were there, sha256 {digest[:12]}")
    assert digest == whole
    assert 0 < made < num
