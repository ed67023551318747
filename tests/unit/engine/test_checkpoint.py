import pytest
import torch

from fastreid.engine.checkpoint import Checkpointer, Progress
from fastreid.utils.errors import InputError, StorageError, WeightsError

CONFIG = "SOLVER:\n  BASE_LR: 0.01\n  MAX_EPOCH: 3\nSEED: 0\n"


def keeper(folder, step, config=CONFIG):
    return Checkpointer(folder, step, iters_per_epoch=4, config=config)


def test_what_was_saved_comes_back(toy_step, tmp_path):
    saved = Progress(iteration=6, metric=3.5, best=4.5, best_epoch=0, window={"lr": [0.1, 0.2]})
    step = toy_step()
    torch.manual_seed(3)
    keeper(tmp_path, step).save("model_0000.pth", saved)
    expected = torch.rand(3)
    other = keeper(tmp_path, toy_step())
    assert other.resume(other.last()) == saved
    assert torch.equal(torch.rand(3), expected)


def test_a_run_goes_on_only_with_the_settings_it_began_with(toy_step, tmp_path):
    keeper(tmp_path, toy_step()).save("model_0000.pth", Progress())
    other = keeper(tmp_path, toy_step(), config=CONFIG.replace("0.01", "0.1"))
    with pytest.raises(InputError, match=r"SOLVER.BASE_LR was 0.01 and is 0.1; .*MODEL.WEIGHTS"):
        other.resume(other.last())


def test_a_run_may_go_on_for_more_epochs(toy_step, tmp_path):
    keeper(tmp_path, toy_step()).save("model_0000.pth", Progress(iteration=4))
    other = keeper(tmp_path, toy_step(), config=CONFIG.replace("MAX_EPOCH: 3", "MAX_EPOCH: 9"))
    assert other.resume(other.last()).iteration == 4


def test_a_new_run_in_a_used_folder_is_not_taken_for_the_old_one(toy_step, tmp_path):
    checkpointer = keeper(tmp_path, toy_step())
    checkpointer.save("model_best.pth", Progress())
    checkpointer.set_aside()
    assert checkpointer.last() is None
    assert [path.name for path in tmp_path.glob("*.pth")] == ["model_best.previous.pth"]


def test_a_file_of_weights_alone_is_no_checkpoint_to_go_on_from(toy_step, tmp_path):
    step = toy_step()
    torch.save({"model": step.model.state_dict()}, tmp_path / "weights.pth")
    with pytest.raises(WeightsError, match=r"no optimizer, scaler, iteration, generator inside"):
        keeper(tmp_path, step).resume(tmp_path / "weights.pth")


def test_a_full_disk_is_told_with_the_room_that_is_needed_and_the_old_file_stays(toy_step, tmp_path, monkeypatch):
    checkpointer = keeper(tmp_path, toy_step())
    path = checkpointer.save("model_0000.pth", Progress(iteration=4))
    before = path.read_bytes()

    def full(state, file):
        raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(StorageError, match=r"model_0000.pth: cannot be written .* free \d+ MB"):
        checkpointer.save("model_0000.pth", Progress(iteration=8))
    assert path.read_bytes() == before
