"""Synthetic drawings, and training runs without interruption to compare with."""

import json
import time

import pytest
from shared_folders import build_once
from training_runs import start_training


@pytest.fixture(scope="session")
def drawings(tmp_path_factory):
    """Return the data root; the first training run renders the drawings."""
    return build_once(tmp_path_factory, "drawings of faults", lambda folder: None)


@pytest.fixture(scope="session")
def uninterrupted(drawings, tmp_path_factory):
    """Return a function: number of workers -> folder of a run of both stages, and its seconds after a checkpoint."""

    def train(folder, workers):
        process = start_training(folder, root=drawings, workers=workers)
        process.wait_for(folder / "one/last_checkpoint")
        start = time.monotonic()
        assert process.wait() == 0
        (folder / "seconds.json").write_text(json.dumps(time.monotonic() - start))

    def get_run(workers):
        folder = build_once(tmp_path_factory, f"uninterrupted-{workers}", lambda folder: train(folder, workers))
        return folder, json.loads((folder / "seconds.json").read_text())

    return get_run
