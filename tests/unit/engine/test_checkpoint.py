import logging

import pytest
import torch

from fastreid.engine.checkpoint import Checkpointer, Progress
from fastreid.utils.checksums import verify_checksum, checksum_path
from fastreid.utils.errors import InputError, NumericalError, StorageError, WeightsError

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
    assert other.resume() == saved
    assert torch.equal(torch.rand(3), expected)


def test_a_run_goes_on_only_with_the_settings_it_began_with(toy_step, tmp_path):
    keeper(tmp_path, toy_step()).save("model_0000.pth", Progress())
    other = keeper(tmp_path, toy_step(), config=CONFIG.replace("0.01", "0.1"))
    with pytest.raises(InputError, match=r"SOLVER.BASE_LR was 0.01 and is 0.1; .*MODEL.WEIGHTS"):
        other.resume()


def test_a_run_may_go_on_for_more_epochs(toy_step, tmp_path):
    keeper(tmp_path, toy_step()).save("model_0000.pth", Progress(iteration=4))
    other = keeper(tmp_path, toy_step(), config=CONFIG.replace("MAX_EPOCH: 3", "MAX_EPOCH: 9"))
    assert other.resume().iteration == 4


def test_a_new_run_in_a_used_folder_is_not_taken_for_the_old_one(toy_step, tmp_path):
    checkpointer = keeper(tmp_path, toy_step())
    checkpointer.save("model_best.pth", Progress())
    checkpointer.set_aside()
    assert checkpointer.resume() is None
    assert [path.name for path in tmp_path.glob("*.pth")] == ["model_best.previous.pth"]
    verify_checksum(tmp_path / "model_best.previous.pth")


def test_a_file_of_weights_alone_is_no_checkpoint_to_go_on_from(toy_step, tmp_path):
    step = toy_step()
    torch.save({"model": step.model.state_dict()}, tmp_path / "weights.pth")
    (tmp_path / "last_checkpoint").write_text("weights.pth")
    with pytest.raises(WeightsError, match=r"no optimizer, scaler, iteration, generator inside"):
        keeper(tmp_path, step).resume()


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


def flip_a_bit(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut_in_half(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def lose(path):
    path.unlink()


def spoil_the_manifest(path):
    checksum_path(path).write_text("no digest")


DAMAGE = [flip_a_bit, cut_in_half, lose, spoil_the_manifest]


def two_checkpoints(folder, step):
    checkpointer = keeper(folder, step)
    return [checkpointer.save(f"model_000{n}.pth", Progress(iteration=4 * n + 4)) for n in range(2)]


@pytest.mark.parametrize("damage", DAMAGE)
def test_of_two_checkpoints_the_first_is_taken_when_the_last_is_damaged(damage, toy_step, tmp_path, caplog):
    _, last = two_checkpoints(tmp_path, toy_step())
    damage(last)
    with caplog.at_level(logging.WARNING, logger="fastreid"):
        assert keeper(tmp_path, toy_step()).resume().iteration == 4
    [line] = caplog.messages
    assert str(last) in line
    assert line.endswith("; trying the checkpoint before it")
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="fastreid"):
        assert keeper(tmp_path, toy_step()).resume().iteration == 4
    assert caplog.messages == []


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_run_whose_checkpoints_are_all_damaged_does_not_start_anew_by_itself(damage, toy_step, tmp_path):
    for path in two_checkpoints(tmp_path, toy_step()):
        damage(path)
    with pytest.raises(WeightsError, match=r"none of its 2 checkpoints.*model_0001.pth.*leave --resume out"):
        keeper(tmp_path, toy_step()).resume()


def test_a_torn_checkpoint_of_before_there_were_manifests_is_noticed_too(toy_step, tmp_path):
    _, last = two_checkpoints(tmp_path, toy_step())
    checksum_path(last).unlink()
    cut_in_half(last)
    assert keeper(tmp_path, toy_step()).resume().iteration == 4


def test_a_checkpoint_written_over_itself_leaves_the_one_before(toy_step, tmp_path):
    checkpointer = keeper(tmp_path, toy_step())
    for number in range(3):
        checkpointer.save("model_stopped.pth", Progress(iteration=number))
    assert checkpointer.resume().iteration == 2
    lose(tmp_path / "model_stopped.pth")
    assert keeper(tmp_path, toy_step()).resume().iteration == 1


def test_a_checkpoint_of_another_run_in_the_folder_is_not_gone_on_from(toy_step, tmp_path):
    two_checkpoints(tmp_path, toy_step())
    checkpointer = keeper(tmp_path, toy_step())
    checkpointer.set_aside()
    lose(checkpointer.save("model_0000.pth", Progress(iteration=4)))
    with pytest.raises(WeightsError, match="none of its 1 checkpoints"):
        checkpointer.resume()


def test_a_lost_pointer_does_not_lose_the_run(toy_step, tmp_path):
    two_checkpoints(tmp_path, toy_step())
    lose(tmp_path / "last_checkpoint")
    assert keeper(tmp_path, toy_step()).resume().iteration == 8


def test_weights_that_are_no_numbers_reach_no_file(toy_step, tmp_path):
    step = toy_step()
    path = keeper(tmp_path, step).save("model_best.pth", Progress())
    before = path.read_bytes()
    step.model.backbone[1].running_mean[0] = float("nan")
    with pytest.raises(NumericalError, match=r"not written, as 1 tensors hold NaN or Inf: backbone.1.running_mean"):
        keeper(tmp_path, step).save("model_best.pth", Progress())
    assert path.read_bytes() == before


def test_a_run_that_goes_on_tells_what_was_changed_where_it_may_be(toy_step, tmp_path, caplog):
    keeper(tmp_path, toy_step()).save("model_0000.pth", Progress(iteration=4))
    other = keeper(tmp_path, toy_step(), config=CONFIG.replace("MAX_EPOCH: 3", "MAX_EPOCH: 9"))
    with caplog.at_level(logging.INFO, logger="fastreid"):
        other.resume()
    assert [line for line in caplog.messages if " was " in line] == ["SOLVER.MAX_EPOCH was 3 and is 9"]
