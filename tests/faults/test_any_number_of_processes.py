"""Loading processes and processes of a run: however many, the same batches, features and scores."""

import pytest
from commands import TINY, run
from compare_runs import find_differences
from training_runs import run_training

from fastreid.utils.files import compute_sha256

WORKERS = (0, 1, 2, 4)
FILES = ("result.npy", "queries.csv", "whitening.safetensors")  # ranks, scores, and what is learnt from features


@pytest.mark.parametrize("workers", [(2,), pytest.param(WORKERS[1:], marks=pytest.mark.faults)])
def test_loading_processes_change_no_bit_of_a_run(workers, drawings, uninterrupted, tmp_path):
    whole, faults = uninterrupted(0)[0], {}
    for num in workers:
        assert run_training(tmp_path / str(num), stages=["one"], root=drawings, workers=num) == 0
        lost = [name for name in find_differences(tmp_path / str(num), whole, ["one"]) if not name.endswith(": config")]
        faults |= {num: lost} if lost else {}
    print(f"\nR10 (training) {len(workers) - len(faults)}/{len(workers)}")
    assert faults == {}


@pytest.mark.faults
@pytest.mark.timeout(900)
def test_processes_and_loading_processes_change_no_bit_of_a_test(drawings, tmp_path):
    learnt = (
        "TEST.WHITEN.ENABLED",
        True,
        "TEST.WHITEN.LEARN_FROM",
        "gallery",
        "TEST.SCORE.PER_QUERY_FILE",
        "queries.csv",
    )
    found = {}
    for ranks in (1, 2):
        for num in WORKERS:
            words = ("DATASETS.ROOT", drawings, "OUTPUT_DIR", f"{ranks}-{num}", "DATALOADER.NUM_WORKERS", num, *learnt)
            options = ("--config-file", TINY, "--random-weights", *(("--num-gpus", 2) if ranks == 2 else ()))
            code, output, errors = run("test", *options, *words, folder=tmp_path)
            assert code == 0, output + errors
            found[ranks, num] = [compute_sha256(tmp_path / f"{ranks}-{num}" / name) for name in FILES]
    right = sum(digests == found[1, 0] for digests in found.values())
    print(f"\nR10 (features, ranks, scores) {right}/{len(found)}")
    assert right == len(found)
