"""Synthetic drawings, and training runs on them that are made once."""

import pytest
from commands import TINY, TORCHRUN, run


@pytest.fixture(scope="session")
def drawings(tmp_path_factory):
    """A data root with the synthetic drawings of the tiny config."""
    from fastreid.engine.data import build_datasets
    from fastreid.engine.setup import load_config

    root = tmp_path_factory.mktemp("drawings with ünïcode")
    build_datasets(load_config(TINY, ["DATASETS.ROOT", str(root)]))
    return root


@pytest.fixture(scope="session")
def trained(drawings, tmp_path_factory):
    """The output folder of a tiny run that was never interrupted."""
    folder = tmp_path_factory.mktemp("trained")
    code, output, errors = run(
        "train", "--config-file", TINY, "DATASETS.ROOT", drawings, "OUTPUT_DIR", folder / "run", folder=folder
    )
    assert code == 0, output + errors
    return folder / "run"


@pytest.fixture(scope="session")
def trained_by_two(drawings, tmp_path_factory):
    """The output folder of a tiny run with two processes of torchrun that was never interrupted."""
    folder = tmp_path_factory.mktemp("trained by two")
    arguments = ["--config-file", TINY, "DATASETS.ROOT", drawings, "OUTPUT_DIR", folder / "run"]
    code, output, errors = run("train", *arguments, folder=folder, launcher=TORCHRUN)
    assert code == 0, output + errors
    return folder / "run"
