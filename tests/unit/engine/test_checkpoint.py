import logging
import os
import resource

import pytest
import torch

from fastreid.engine.checkpoint.checkpointer import Checkpointer, Progress
from fastreid.engine.checkpoint.index import archive_previous_run
from fastreid.engine.resume.data_fingerprint import compute_fingerprint
from fastreid.structures import SYNTHETIC_PREFIX, Drawing
from fastreid.utils.checksums import checksum_path, verify_checksum
from fastreid.utils.errors import InputError, NumericalError, StorageError, WeightsError

CONFIG = "SOLVER:\n  BASE_LR: 0.01\n  MAX_EPOCH: 3\nSEED: 0\n"


def build_checkpointer(folder, step, config=CONFIG):
    return Checkpointer(folder, step, iters_per_epoch=4, config=config)


def test_resume_restores_progress_and_random_state(make_step, tmp_path):
    saved = Progress(iteration=6, metric=3.5, best=4.5, best_epoch=0, window={"lr": [0.1, 0.2]})
    step = make_step()
    torch.manual_seed(3)
    build_checkpointer(tmp_path, step).save("model_0000.pth", saved)
    expected = torch.rand(3)
    other = build_checkpointer(tmp_path, make_step())
    assert other.resume() == saved
    assert torch.equal(torch.rand(3), expected)


def test_resume_rejects_changed_settings(make_step, tmp_path):
    build_checkpointer(tmp_path, make_step()).save("model_0000.pth", Progress())
    other = build_checkpointer(tmp_path, make_step(), config=CONFIG.replace("0.01", "0.1"))
    with pytest.raises(InputError, match=r"SOLVER.BASE_LR was 0.01 and is 0.1; .*MODEL.WEIGHTS"):
        other.resume()


@pytest.mark.parametrize(
    ("before", "now", "is_allowed"), [(64_000_000, 9e8, True), (10_000, 64_000_000, False), (9e8, 10_000, False)]
)
def test_limit_of_pixels_may_change_where_it_reduces_no_page(before, now, is_allowed, make_step, tmp_path):
    texts = [f"{CONFIG}INPUT:\n  MAX_PIXELS: {int(limit)}\n" for limit in (before, now)]
    build_checkpointer(tmp_path, make_step(), config=texts[0]).save("model_0000.pth", Progress(iteration=4))
    other = build_checkpointer(tmp_path, make_step(), config=texts[1])
    if is_allowed:
        assert other.resume().iteration == 4
    else:
        with pytest.raises(InputError, match=r"INPUT.MAX_PIXELS was \d+ and is \d+; these settings cannot change"):
            other.resume()


def test_resume_accepts_more_epochs(make_step, tmp_path):
    build_checkpointer(tmp_path, make_step()).save("model_0000.pth", Progress(iteration=4))
    other = build_checkpointer(tmp_path, make_step(), config=CONFIG.replace("MAX_EPOCH: 3", "MAX_EPOCH: 9"))
    assert other.resume().iteration == 4


@pytest.mark.parametrize("is_replaced", [False, True])
def test_folder_that_is_lost_while_a_checkpoint_is_written_stays_empty(is_replaced, make_step, tmp_path, monkeypatch):
    def lose_folder(state, file):
        file.write(b"a checkpoint")
        folder.rename(tmp_path / "other")
        if is_replaced:
            folder.mkdir()

    def check_folder():
        if not marker.exists():
            raise StorageError("the folder was renamed")

    folder, marker = tmp_path / "run", tmp_path / "run/.lock"
    folder.mkdir()
    marker.touch()
    checkpointer = Checkpointer(folder, make_step(), iters_per_epoch=4, check_folder=check_folder)
    monkeypatch.setattr(torch, "save", lose_folder)
    with pytest.raises(StorageError, match="the folder was renamed"):
        checkpointer.save("model_0000.pth", Progress())
    assert [path.name for path in tmp_path.glob("run/*")] == []


def test_archived_run_is_not_resumed(make_step, tmp_path):
    checkpointer = build_checkpointer(tmp_path, make_step())
    checkpointer.save("model_best.pth", Progress())
    archive_previous_run(tmp_path)
    assert checkpointer.resume() is None
    assert [path.name for path in tmp_path.glob("*.pth")] == ["model_best.previous.pth"]
    verify_checksum(tmp_path / "model_best.previous.pth")


def test_weights_file_cannot_be_resumed(make_step, tmp_path):
    step = make_step()
    torch.save({"model": step.model.state_dict()}, tmp_path / "weights.pth")
    (tmp_path / "last_checkpoint").write_text("weights.pth")
    with pytest.raises(
        WeightsError, match=r"not a training checkpoint, optimizer, scaler, iteration, generator missing"
    ):
        build_checkpointer(tmp_path, step).resume()


def test_full_disk_error_names_the_size_and_keeps_the_file(make_step, tmp_path):
    checkpointer = build_checkpointer(tmp_path, make_step())
    path = checkpointer.save("model_0000.pth", Progress(iteration=4))
    before = path.read_bytes()

    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limit[1]))
    try:
        with pytest.raises(
            StorageError, match=r"model_0000.pth: cannot be written \(File too large: [\d,]+ bytes needed"
        ):
            checkpointer.save("model_0000.pth", Progress(iteration=8))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert path.read_bytes() == before


def flip_a_bit(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def remove(path):
    path.unlink()


def corrupt_checksum(path):
    checksum_path(path).write_text("no digest")


DAMAGE = [flip_a_bit, truncate, remove, corrupt_checksum]


def save_two_checkpoints(folder, step):
    checkpointer = build_checkpointer(folder, step)
    return [checkpointer.save(f"model_000{n}.pth", Progress(iteration=4 * n + 4)) for n in range(2)]


@pytest.mark.parametrize("damage", DAMAGE)
def test_previous_checkpoint_is_used_if_the_last_is_damaged(damage, make_step, tmp_path, caplog):
    _, last = save_two_checkpoints(tmp_path, make_step())
    damage(last)
    with caplog.at_level(logging.WARNING, logger="fastreid"):
        assert build_checkpointer(tmp_path, make_step()).resume().iteration == 4
    [line] = caplog.messages
    assert str(last) in line
    assert line.endswith("; trying the previous checkpoint")
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="fastreid"):
        assert build_checkpointer(tmp_path, make_step()).resume().iteration == 4
    assert caplog.messages == []


@pytest.mark.parametrize("damage", DAMAGE)
def test_resume_fails_if_all_checkpoints_are_damaged(damage, make_step, tmp_path):
    for path in save_two_checkpoints(tmp_path, make_step()):
        damage(path)
    with pytest.raises(WeightsError, match=r"none of its 2 checkpoints.*model_0001.pth.*omit --resume"):
        build_checkpointer(tmp_path, make_step()).resume()


def test_truncated_checkpoint_without_checksum_is_detected(make_step, tmp_path):
    _, last = save_two_checkpoints(tmp_path, make_step())
    checksum_path(last).unlink()
    truncate(last)
    assert build_checkpointer(tmp_path, make_step()).resume().iteration == 4


def test_overwritten_checkpoint_keeps_the_previous_one(make_step, tmp_path):
    checkpointer = build_checkpointer(tmp_path, make_step())
    for number in range(3):
        checkpointer.save("model_stopped.pth", Progress(iteration=number))
    assert checkpointer.resume().iteration == 2
    remove(tmp_path / "model_stopped.pth")
    assert build_checkpointer(tmp_path, make_step()).resume().iteration == 1


def test_checkpoint_of_another_run_is_not_resumed(make_step, tmp_path):
    save_two_checkpoints(tmp_path, make_step())
    checkpointer = build_checkpointer(tmp_path, make_step())
    archive_previous_run(tmp_path)
    remove(checkpointer.save("model_0000.pth", Progress(iteration=4)))
    with pytest.raises(WeightsError, match="none of its 1 checkpoints"):
        checkpointer.resume()


def test_resume_without_last_checkpoint_file(make_step, tmp_path):
    save_two_checkpoints(tmp_path, make_step())
    remove(tmp_path / "last_checkpoint")
    assert build_checkpointer(tmp_path, make_step()).resume().iteration == 8


def test_nonfinite_weights_are_not_saved(make_step, tmp_path):
    step = make_step()
    path = build_checkpointer(tmp_path, step).save("model_best.pth", Progress())
    before = path.read_bytes()
    step.model.backbone[1].running_mean[0] = float("nan")
    with pytest.raises(
        NumericalError, match=r"not saved because 1 tensors contain NaN or Inf: backbone.1.running_mean"
    ):
        build_checkpointer(tmp_path, step).save("model_best.pth", Progress())
    assert path.read_bytes() == before


def test_resume_logs_allowed_changes(make_step, tmp_path, caplog):
    build_checkpointer(tmp_path, make_step()).save("model_0000.pth", Progress(iteration=4))
    other = build_checkpointer(tmp_path, make_step(), config=CONFIG.replace("MAX_EPOCH: 3", "MAX_EPOCH: 9"))
    with caplog.at_level(logging.INFO, logger="fastreid"):
        other.resume()
    assert [line for line in caplog.messages if " was " in line] == ["SOLVER.MAX_EPOCH was 3 and is 9"]


def replace_checksum_by_a_pipe(path):
    checksum_path(path).unlink()
    os.mkfifo(checksum_path(path))


def replace_checksum_by_a_link(path):
    checksum_path(path).rename(path.with_name("elsewhere"))
    checksum_path(path).symlink_to(path.with_name("elsewhere"))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda path: checksum_path(path).unlink(), "is missing"),
        (replace_checksum_by_a_pipe, "is not a regular file"),
        (replace_checksum_by_a_link, "is not a regular file"),
        (lambda path: (checksum_path(path).unlink(), checksum_path(path).mkdir()), "is not a regular file"),
    ],
)
def test_checkpoint_with_a_suspect_checksum_is_resumed_with_a_warning(change, problem, make_step, tmp_path, caplog):
    path = build_checkpointer(tmp_path, make_step()).save("model_0000.pth", Progress(iteration=4))
    change(path)
    with caplog.at_level(logging.WARNING, logger="fastreid"):
        assert build_checkpointer(tmp_path, make_step()).resume().iteration == 4
    assert caplog.messages == [f"{checksum_path(path)} {problem}; damage of model_0000.pth may not be detected"]


SCORED = {"iteration": 8, "metric": 90.0, "best": 99.0, "best_epoch": 0, "num_bad_evaluations": 1}
MEASURE = f"{CONFIG}DATASETS:\n  TESTS: [Mine]\nTEST:\n  SELECT_BY: mAP\n  EVAL_PERIOD: 1\n"


def resume_with(folder, make_step, config, **scores):
    """Save a scored checkpoint with its best models, and resume it with another config."""
    names = {"model_best_0000_99.00.pth": 99.0}
    before = build_checkpointer(folder, make_step(), config=MEASURE)
    progress = Progress(**{**SCORED, "stopped_early": True, "best_models": names, **scores})
    for name in ("model_best.pth", *names):
        before.save(name, progress, is_last=False)
    before.save("model_0001.pth", progress)
    now = build_checkpointer(folder, make_step(), config=config)
    return now, now.resume()


@pytest.mark.parametrize(
    "change",
    [
        ("SELECT_BY: mAP", "SELECT_BY: Rank-1"),
        ("[Mine]", "[Other, Mine]"),
        ("EVAL_PERIOD", "METRIC: l2\n  EVAL_PERIOD"),
    ],
)
def test_scores_start_again_when_another_measure_is_used(change, make_step, tmp_path, caplog):
    with caplog.at_level(logging.INFO, logger="fastreid"):
        checkpointer, progress = resume_with(tmp_path, make_step, MEASURE.replace(*change))
    assert progress == Progress(iteration=8)
    assert len([line for line in caplog.messages if "earlier scores are not comparable" in line]) == 1
    assert len([line for line in caplog.messages if " was " in line]) == 1
    checkpointer.prepare_best_models(progress)
    names = sorted(path.name for path in tmp_path.glob("model_best*.pth"))
    assert names == ["model_best.previous.pth", "model_best_0000_99.00.previous.pth"]


def test_scores_are_kept_when_the_measure_is_the_same(make_step, tmp_path):
    checkpointer, progress = resume_with(tmp_path, make_step, MEASURE.replace("EVAL_PERIOD: 1", "EVAL_PERIOD: 2"))
    checkpointer.prepare_best_models(progress)
    assert (progress.best, progress.num_bad_evaluations, progress.stopped_early) == (99.0, 1, True)
    assert (tmp_path / "model_best.pth").is_file()


def test_missing_best_model_no_longer_counts(make_step, tmp_path, logged_warnings):
    checkpointer, progress = resume_with(tmp_path, make_step, MEASURE)
    remove(tmp_path / "model_best.pth")
    checkpointer.prepare_best_models(progress)
    assert (progress.best, progress.best_epoch) == (-1, -1)
    assert logged_warnings == [f"{tmp_path / 'model_best.pth'} is missing, so its score no longer counts"]


def build_data(num):
    return compute_fingerprint([Drawing(f"{SYNTHETIC_PREFIX}{n}", f"{n}.png", "1") for n in range(num)], {})


def test_resume_rejects_a_changed_list(make_step, tmp_path):
    Checkpointer(tmp_path, make_step(), iters_per_epoch=4, data=build_data(8)).save("model_0000.pth", Progress(4))
    other = Checkpointer(tmp_path, make_step(), iters_per_epoch=3, data=build_data(6))
    with pytest.raises(InputError, match=r"--resume from .*: the training list changed: 8 drawings then, 6 now"):
        other.resume()


def test_resume_without_fingerprint_warns_once(make_step, tmp_path, logged_warnings):
    Checkpointer(tmp_path, make_step(), iters_per_epoch=4).save("model_0000.pth", Progress(4))
    Checkpointer(tmp_path, make_step(), iters_per_epoch=4, data=build_data(8)).resume()
    [line] = logged_warnings
    assert "without a fingerprint of the image lists" in line


def test_other_epoch_length_without_fingerprint_is_an_error(make_step, tmp_path):
    Checkpointer(tmp_path, make_step(), iters_per_epoch=4).save("model_0000.pth", Progress(12))
    with pytest.raises(WeightsError, match=r"epoch is 2, but after iteration 12, with 3 .*training list has changed"):
        Checkpointer(tmp_path, make_step(), iters_per_epoch=3, data=build_data(8)).resume()
