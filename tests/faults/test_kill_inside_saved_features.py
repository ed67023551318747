"""An extraction killed at any moment leaves whole features or none: never some that look whole."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fastreid.evaluation.storage.saved_features import load_features
from fastreid.utils.errors import InputError

REPOSITORY = Path(__file__).parents[2]
WRITER = """
import sys, torch
from fastreid.evaluation.storage.manifest import Provenance
from fastreid.evaluation.storage.saved_features import FeaturePart, save_features
from fastreid.structures import Drawing, Embeddings
listed = tuple(Drawing(f"/{n}", f"{n}.png", "1") for n in range(2000))
for number in range(1, 1000):
    features = Embeddings.from_drawings(torch.full((2000, 512), float(number)), listed)
    parts = [FeaturePart(name, features, listed, "s") for name in ("queries", "gallery")]
    print("begins", flush=True)
    save_features(sys.argv[1], parts, provenance=Provenance("Mine", "", str(number), {}, "", {}))
"""


def start(folder):
    """A writer that begins its second extraction into a folder, over the features of the first."""
    writer = subprocess.Popen([sys.executable, "-c", WRITER, folder], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    for _ in range(2):
        writer.stdout.readline()
    return writer


def is_whole(folder):
    """Whether a folder holds features, which are then those of one extraction; one without is refused as unfinished."""
    if not (folder / "manifest.json").exists():
        with pytest.raises(InputError, match="did not finish"):
            load_features(folder, "queries")
        return False
    queries, gallery = (load_features(folder, part)[0].features[:] for part in ("queries", "gallery"))
    return bool((queries == gallery[0, 0]).all() and (gallery == gallery[0, 0]).all())


def test_no_kill_leaves_features_of_two_extractions_or_half_of_one(tmp_path):
    found = []
    for number in range(5):
        writer = start(tmp_path / str(number))
        time.sleep(random.Random(number).uniform(0, 0.05))
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
        there = (tmp_path / str(number) / "manifest.json").exists()
        found.append((there, is_whole(tmp_path / str(number))))
    assert set(found) <= {(True, True), (False, False)}


def test_a_kill_between_two_parts_leaves_no_manifest(tmp_path):
    killed = WRITER.replace("parts = [", "parts = (").replace('"gallery")]', '"gallery") if ready(number, name))')
    ready = "import os\ndef ready(number, name): return (number, name) != (2, 'gallery') or os.kill(os.getpid(), 9)\n"
    done = subprocess.run([sys.executable, "-c", ready + killed, tmp_path], cwd=REPOSITORY, capture_output=True)
    assert done.returncode == -signal.SIGKILL
    assert (tmp_path / "queries.npy").exists()
    assert not is_whole(tmp_path)
