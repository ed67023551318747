"""Training with hard identities: a resumed run samples the same batches."""

import pytest
import torch
from commands import TINY, kill_and_resume, metrics, run, same_bits

SAMPLER = ("DATALOADER.SAMPLER_TRAIN", "CompleteIdentitySampler")


def arguments(drawings, folder, *, hard_identities=0.6, resume=()):
    options = ["DATASETS.ROOT", drawings, "OUTPUT_DIR", folder, *SAMPLER, "DATALOADER.HARD_IDENTITIES", hard_identities]
    return ["--config-file", TINY, *resume, *options]


@pytest.fixture(scope="module")
def whole(drawings, tmp_path_factory):
    """The output folder of a run that was never stopped."""
    folder = tmp_path_factory.mktemp("hard-identities")
    code, output, errors = run("train", *arguments(drawings, folder / "run"), folder=folder)
    assert code == 0, errors
    assert "CompleteIdentitySampler: 100% of a batch are distinct drawings" in output
    assert output.count("mined the hard identities of 16 patents") == 3
    return folder / "run"


def test_a_run_killed_after_its_first_table_and_resumed_ends_with_the_same_bits(drawings, whole, tmp_path):
    given = arguments(drawings, tmp_path / "run", resume=["--resume"])
    kill_and_resume(tmp_path / "run", *given)
    assert same_bits(tmp_path / "run" / "model_final.pth", whole / "model_final.pth")
    assert metrics(tmp_path / "run") == metrics(whole)
    tables = [
        torch.load(run / "model_final.pth", weights_only=True)["hard_identities"] for run in (whole, tmp_path / "run")
    ]
    assert list(tables[0]) == list(tables[1]) != []
    assert all(torch.equal(tables[0][made], tables[1][made]) for made in tables[0])


@pytest.mark.slow
def test_batches_change_when_a_round_begins_after_the_first_table_and_not_before(drawings, whole, tmp_path):
    code, _, errors = run("train", *arguments(drawings, tmp_path / "run", hard_identities=0.0), folder=tmp_path)
    assert code == 0, errors
    losses = [[line["total_loss"] for line in metrics(folder)] for folder in (whole, tmp_path / "run")]
    same = [one == other for one, other in zip(*losses)]
    assert all(same[:6])
    assert not any(same[7:])
