"""The numbers of workers and of processes change no batch, feature or score."""

import pytest
from commands import TINY, run
from compare_runs import find_differences
from training_runs import run_training

from fastreid.utils.files import compute_sha256

WORKERS = (0, 1, 2, 4)
FILES = ("result.npy", "queries.csv", "whitening.safetensors")  # ranking, scores, and whitening learned from features


@pytest.mark.parametrize("workers", [(2,), pytest.param(WORKERS[1:], marks=pytest.mark.faults)])
def test_number_of_workers_changes_no_bit_of_a_run(workers, drawings, uninterrupted, tmp_path):
    expected, faults = uninterrupted(0)[0], {}
    for num in workers:
        assert run_training(tmp_path / str(num), stages=["one"], root=drawings, workers=num) == 0
        differences = [
            name for name in find_differences(tmp_path / str(num), expected, ["one"]) if not name.endswith(": config")
        ]
        faults |= {num: differences} if differences else {}
    print(f"\nR10 (training) {len(workers) - len(faults)}/{len(workers)}")
    assert faults == {}


@pytest.mark.faults
@pytest.mark.timeout(900)
def test_number_of_processes_changes_no_bit_of_a_test(drawings, tmp_path):
    settings = (
        "TEST.WHITEN.ENABLED",
        True,
        "TEST.WHITEN.LEARN_FROM",
        "gallery",
        "TEST.SCORE.PER_QUERY_FILE",
        "queries.csv",
    )
    digests_of = {}
    for num_processes in (1, 2):
        for num in WORKERS:
            arguments = (
                "DATASETS.ROOT",
                drawings,
                "OUTPUT_DIR",
                f"{num_processes}-{num}",
                "DATALOADER.NUM_WORKERS",
                num,
                *settings,
            )
            options = ("--config-file", TINY, "--random-weights", *(("--num-gpus", 2) if num_processes == 2 else ()))
            code, output, errors = run("test", *options, *arguments, folder=tmp_path)
            assert code == 0, output + errors
            digests_of[num_processes, num] = [
                compute_sha256(tmp_path / f"{num_processes}-{num}" / name) for name in FILES
            ]
    num_equal = sum(digests == digests_of[1, 0] for digests in digests_of.values())
    print(f"\nR10 (features, ranks, scores) {num_equal}/{len(digests_of)}")
    assert num_equal == len(digests_of)
