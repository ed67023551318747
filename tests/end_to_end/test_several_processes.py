"""Training with several processes, also when one of them is killed."""

import os
import random
import re
import signal

import pytest
from commands import (
    TINY,
    TORCHRUN,
    is_alive,
    metrics,
    processes_of,
    run,
    same_bits,
    start_interpreter,
    wait_for_random_iteration,
)
from fork_server import get_server


def test_two_processes_train_one_model(drawings, trained_by_two, tmp_path):
    during = [line for line in metrics(trained_by_two) if "mAP" in line][-1]
    after = ["MODEL.WEIGHTS", trained_by_two / "model_final.pth", "DATASETS.ROOT", drawings, "OUTPUT_DIR", "test"]
    code, output, errors = run("test", "--config-file", TINY, *after, folder=tmp_path)
    assert code == 0, errors
    assert f"{during['mAP']:.2f}" in output


def test_torchrun_restart_gives_the_same_bits(drawings, trained_by_two, tmp_path):
    """With forked processes, restarted by the library behind torchrun; the slow test starts torchrun itself."""

    def start_elastic(command, *arguments, folder):
        return get_server().start("fork_server:run_elastic", command, list(map(str, arguments)), 1, folder=folder)

    failure = r"failed \(exitcode: (-9|3)\)"  # the killed process, or the one that misses it first
    check_restart(0, drawings, trained_by_two, tmp_path / "run", start=start_elastic, failure=failure)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("network", ["convnext_atto", "mobilenetv3_small_050"])
def test_networks_with_unreached_parameters_train_in_two_processes(network, drawings, tmp_path):
    backbone = ["MODEL.BACKBONE.NAME", "build_timm_backbone", "MODEL.BACKBONE.TIMM_NAME", network]
    settings = [*backbone, "MODEL.BACKBONE.FEAT_DIM", 0, "DATASETS.ROOT", drawings, "SOLVER.MAX_EPOCH", 1]
    for run_number in range(5):
        arguments = ["--config-file", TINY, "--num-gpus", 2, *settings, "OUTPUT_DIR", run_number]
        code, _, errors = run("train", *arguments, folder=tmp_path)
        assert code == 0, errors
        assert (tmp_path / str(run_number) / "model_final.pth").exists()


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_ten_kills_under_torchrun_change_no_bit(drawings, trained_by_two, tmp_path):
    for seed in range(10):
        folder = tmp_path / str(seed)
        check_restart(seed, drawings, trained_by_two, folder, start=start_torchrun, failure="exitcode: -9")


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_killed_process_stops_the_others_with_a_message(drawings, tmp_path):
    settings = ["DATASETS.ROOT", drawings, "OUTPUT_DIR", "run", "SOLVER.MAX_EPOCH", 50, "SOLVER.CHECKPOINT_PERIOD", 50]
    for seed in range(10):
        arguments = ["--config-file", TINY, "--num-gpus", 2 + seed % 2 * 2, *settings, "DATALOADER.NUM_WORKERS", 1]
        process = start_interpreter("train", *arguments, folder=tmp_path)
        ids = kill_process(seed, process, tmp_path / "run")
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 3, errors
        assert "by signal 9); the others were stopped; resume with --resume" in errors.splitlines()[-1]
        assert not any(is_alive(id_) for id_ in ids)
        for path in (tmp_path / "run").iterdir():
            path.unlink()


def start_torchrun(command, *arguments, folder):
    return start_interpreter(command, *arguments, folder=folder, launcher=(*TORCHRUN, "--max-restarts", "1"))


def check_restart(seed, drawings, expected, folder, *, start, failure):
    """Kill a process of torchrun, and check that the restarted run ends with the expected bits."""
    arguments = ["--config-file", TINY, "--resume", "DATASETS.ROOT", drawings, "OUTPUT_DIR", folder]
    process = start("train", *arguments, folder=folder.parent)
    kill_process(seed, process, folder)
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    assert re.search(failure, errors)
    assert same_bits(folder / "model_final.pth", expected / "model_final.pth")
    assert same_bits(folder / "model_best.pth", expected / "model_best.pth")
    assert metrics(folder) == metrics(expected)


def kill_process(seed, process, folder):
    """Kill a random training process at a random moment and return the ids of all training processes."""
    rng = random.Random(seed)
    wait_for_random_iteration(folder, process, rng)
    ids = processes_of(process)
    os.kill(rng.choice(ids), signal.SIGKILL)
    return ids
