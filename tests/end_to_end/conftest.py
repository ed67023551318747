"""Synthetic drawings and training runs on them, built once and shared by all tests."""

import pytest
from commands import TINY, run
from shared_folders import build_once

from fastreid.engine.data import build_datasets
from fastreid.engine.setup import load_config


@pytest.fixture(scope="session")
def drawings(tmp_path_factory):
    """Return a data root with the synthetic drawings of the tiny config."""

    def build(root):
        build_datasets(load_config(TINY, ["DATASETS.ROOT", str(root)]))

    return build_once(tmp_path_factory, "drawings with ünïcode", build)


def train_tiny(drawings, folder, *options):
    """Train the tiny config without interruption into `folder`/run."""
    settings = ("DATASETS.ROOT", drawings, "OUTPUT_DIR", folder / "run")
    code, output, errors = run("train", "--config-file", TINY, *options, *settings, folder=folder)
    assert code == 0, output + errors


@pytest.fixture(scope="session")
def trained(drawings, tmp_path_factory):
    """Return the output folder of a training run that was not interrupted."""
    return build_once(tmp_path_factory, "trained", lambda folder: train_tiny(drawings, folder)) / "run"


@pytest.fixture(scope="session")
def trained_by_two(drawings, tmp_path_factory):
    """Return the output folder of a training run of two processes that was not interrupted."""
    folder = build_once(
        tmp_path_factory, "trained by two", lambda folder: train_tiny(drawings, folder, "--num-gpus", 2)
    )
    return folder / "run"


@pytest.fixture(scope="session")
def source(drawings, trained):
    """Config settings: the folder of the drawings and the weights."""
    return ("DATASETS.ROOT", drawings, "MODEL.WEIGHTS", trained / "model_best.pth")
