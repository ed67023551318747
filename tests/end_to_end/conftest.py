"""Generated drawings and a run on them, made once."""

import pytest
from commands import TINY, TORCHRUN, run


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


@pytest.fixture(scope="session")
def trained_by_two(drawings, tmp_path_factory):
    """The output folder of a whole tiny run on two processes that torchrun started, never stopped."""
    folder = tmp_path_factory.mktemp("trained by two")
    arguments = ["--config-file", TINY, "DATASETS.ROOT", drawings, "OUTPUT_DIR", folder / "run"]
    code, output, errors = run("train_net.py", *arguments, folder=folder, launcher=TORCHRUN)
    assert code == 0, output + errors
    return folder / "run"
