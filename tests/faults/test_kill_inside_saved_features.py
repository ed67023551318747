"""Kill a process that saves features at random moments: complete features of one save are left, or none."""

import os
import random
import signal
import time

import pytest
import torch
from fork_server import get_server

from fastreid.evaluation.storage.manifest import Provenance
from fastreid.evaluation.storage.saved_features import FeaturePart, load_features, save_features
from fastreid.structures import Drawing, Embeddings
from fastreid.utils.errors import InputError

LISTED = tuple(Drawing(f"/{row}", f"{row}.png", "1") for row in range(2000))


def save_repeatedly(folder, kill_at_gallery_of=0):
    """Save features again and again, all values being the number of the save, from 1; print a line before each.

    With `kill_at_gallery_of`, the process kills itself between the two parts of that save.
    """
    for count in range(1, 1000):
        features = Embeddings.from_drawings(torch.full((2000, 512), float(count)), LISTED)
        parts = (FeaturePart(name, features, LISTED, "s") for name in ("queries", "gallery"))
        print("begins", flush=True)
        parts = kill_before_second(parts) if count == kill_at_gallery_of else parts
        save_features(folder, parts, provenance=Provenance("Mine", "", str(count), {}, "", {}))


def kill_before_second(parts):
    yield next(parts)
    os.kill(os.getpid(), signal.SIGKILL)


def start(folder, kill_at_gallery_of=0):
    function = "test_kill_inside_saved_features:save_repeatedly"
    return get_server().start(function, folder, kill_at_gallery_of, folder=folder.parent)


def is_complete(folder):
    """Return whether a folder contains features, which must be those of one save; otherwise reading them must raise."""
    if not (folder / "manifest.json").exists():
        with pytest.raises(InputError, match="did not finish"):
            load_features(folder, "queries")
        return False
    queries, gallery = (load_features(folder, part)[0].features[:] for part in ("queries", "gallery"))
    return bool((queries == gallery[0, 0]).all() and (gallery == gallery[0, 0]).all())


def test_killed_save_leaves_complete_features_or_none(tmp_path):
    outcomes = []
    for index in range(5):
        writer = start(tmp_path / str(index))
        while writer.read_output().count("begins") < 2:  # the second save replaces the features of the first
            time.sleep(0.001)
        time.sleep(random.Random(index).uniform(0, 0.05))
        writer.kill()
        has_manifest = (tmp_path / str(index) / "manifest.json").exists()
        outcomes.append((has_manifest, is_complete(tmp_path / str(index))))
    assert set(outcomes) <= {(True, True), (False, False)}


def test_kill_between_two_parts_leaves_no_manifest(tmp_path):
    writer = start(tmp_path / "features", kill_at_gallery_of=2)
    assert writer.wait() == -signal.SIGKILL
    assert (tmp_path / "features/queries.npy").exists()
    assert not is_complete(tmp_path / "features")
