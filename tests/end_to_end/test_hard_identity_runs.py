"""Training with hard identities: a resumed run samples the same batches."""

import pytest
import torch
from commands import TINY, kill_and_resume, metrics, run, same_bits

SAMPLER = ("DATALOADER.SAMPLER_TRAIN", "CompleteIdentitySampler")


def arguments(drawings, folder, *, hard_identities=0.6, resume=()):
    options = ["DATASETS.ROOT", drawings, "OUTPUT_DIR", folder, *SAMPLER, "DATALOADER.HARD_IDENTITIES", hard_identities]
    return ["--config-file", TINY, *resume, *options]


@pytest.fixture(scope="module")
def uninterrupted(drawings, tmp_path_factory):
    """Return the output folder of a run that was not interrupted."""
    folder = tmp_path_factory.mktemp("hard-identities")
    code, output, errors = run("train", *arguments(drawings, folder / "run"), folder=folder)
    assert code == 0, errors
    assert "CompleteIdentitySampler: 100% of a batch are distinct drawings" in output
    assert output.count("mined the hard identities of 16 patents") == 3
    return folder / "run"


def test_killed_run_resumes_to_the_same_bits(drawings, uninterrupted, tmp_path):
    options = arguments(drawings, tmp_path / "run", resume=["--resume"])
    kill_and_resume(tmp_path / "run", *options)
    assert same_bits(tmp_path / "run" / "model_final.pth", uninterrupted / "model_final.pth")
    assert metrics(tmp_path / "run") == metrics(uninterrupted)
    tables = [
        torch.load(run / "model_final.pth", weights_only=True)["hard_identities"]
        for run in (uninterrupted, tmp_path / "run")
    ]
    assert list(tables[0]) == list(tables[1]) != []
    assert all(torch.equal(tables[0][key], tables[1][key]) for key in tables[0])


@pytest.mark.slow
def test_first_table_changes_batches_only_from_the_next_round(drawings, uninterrupted, tmp_path):
    code, _, errors = run("train", *arguments(drawings, tmp_path / "run", hard_identities=0.0), folder=tmp_path)
    assert code == 0, errors
    losses = [[line["total_loss"] for line in metrics(folder)] for folder in (uninterrupted, tmp_path / "run")]
    same = [one == other for one, other in zip(*losses)]
    assert all(same[:6])
    assert not any(same[7:])
