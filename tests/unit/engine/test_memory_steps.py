"""A training step updates the memory of earlier features; a resumed run has the same one."""

from pathlib import Path

import pytest
import tiny_backbone
import torch
from processes import run_in_processes

from fastreid.engine.build import build_step
from fastreid.engine.checkpoint.checkpointer import Checkpointer, Progress
from fastreid.engine.setup import load_config
from fastreid.engine.step.train_step import NonFiniteLossError
from fastreid.modeling import build_model
from fastreid.structures import Batch
from fastreid.utils import comm
from fastreid.utils.errors import InputError, WeightsError
from fastreid.utils.seeding import keyed_torch_rng

TINY = Path(tiny_backbone.__file__).with_name("tiny.yml")
MEMORY = ("MODEL.LOSSES.NAME", "['TripletLoss', 'CircleLoss']", "MODEL.LOSSES.MEMORY.SIZE", "20")
SYNC = ("MODEL.BACKBONE.NORM", "syncBN", "MODEL.HEADS.NORM", "syncBN")


def make_step(*settings):
    cfg = load_config(TINY, [*MEMORY, *SYNC, *settings])
    torch.manual_seed(0)
    return build_step(cfg, build_model(cfg, 4).double(), iters_per_epoch=4)


def make_batch(iteration):
    with keyed_torch_rng("memory", iteration):
        images = torch.rand(8, 3, 32, 32) * 255
    share = slice(comm.get_rank() * 8 // comm.get_world_size(), (comm.get_rank() + 1) * 8 // comm.get_world_size())
    return Batch(images[share], torch.arange(8)[share] % 4, torch.arange(8)[share])


def train(step, iterations):
    return [step(make_batch(iteration)).values["total_loss"] for iteration in iterations]


def test_memory_changes_the_losses_from_the_second_iteration_on():
    with_memory, without = train(make_step(), range(3)), train(make_step("MODEL.LOSSES.MEMORY.SIZE", "0"), range(3))
    assert with_memory[0] == without[0]
    assert abs(with_memory[1] - without[1]) > 1e-3
    late = make_step("MODEL.LOSSES.MEMORY.START_ITER", "2")
    assert train(late, range(3)) == without
    assert len(late.memory.targets) == 8


def test_resumed_run_has_the_same_bits(tmp_path):
    whole, first, second = (make_step() for _ in range(3))
    expected = train(whole, range(6))
    train(first, range(4))
    Checkpointer(tmp_path, first, iters_per_epoch=4).save("model_0000.pth", Progress(iteration=4))
    Checkpointer(tmp_path, second, iters_per_epoch=4).resume()
    assert train(second, range(4, 6)) == expected[4:]
    assert torch.equal(second.memory.features, whole.memory.features)
    assert not any("memory" in name for name in whole.model.state_dict())


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Return the checkpoint of a step after two iterations."""
    step = make_step()
    train(step, range(2))
    folder = tmp_path_factory.mktemp("saved")
    return Checkpointer(folder, step, iters_per_epoch=2).save("model_0000.pth", Progress(iteration=2))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("features", torch.full((16, 32), torch.nan), "not a record of a finite feature for each target"),
        ("targets", torch.zeros(3), "memory.targets is a tensor float32 3, not"),
        ("position", 99, "not a record of a finite feature for each target"),
        ("num_steps", -1, "memory.num_steps is -1"),
        (None, None, "memory is missing"),
    ],
)
def test_damaged_memory_is_an_error(key, value, message, saved, tmp_path):
    state = torch.load(saved, weights_only=True)
    if key is None:
        del state["memory"]
    else:
        state["memory"][key] = value
    torch.save(state, tmp_path / saved.name)
    (tmp_path / "last_checkpoint").write_text(saved.name)
    with pytest.raises(WeightsError, match=message):
        Checkpointer(tmp_path, make_step(), iters_per_epoch=2).resume()


def test_smaller_bank_cannot_resume(saved):
    with pytest.raises(WeightsError, match=r"more than MODEL\.LOSSES\.MEMORY\.SIZE 9 features"):
        Checkpointer(saved.parent, make_step("MODEL.LOSSES.MEMORY.SIZE", "9"), iters_per_epoch=2).resume()


def test_failed_iteration_is_not_stored():
    step = make_step()
    train(step, range(1))
    before = step.memory.features.clone()
    batch = make_batch(1)
    with pytest.raises(NonFiniteLossError):
        step(Batch(batch.images * torch.nan, batch.targets, batch.rows))
    assert torch.equal(step.memory.features, before)
    assert step.memory.num_steps == 1


def train_in_process():
    step = make_step("SOLVER.OPT", "SGD")
    return train(step, range(3)), step.memory.features, step.memory.targets


def test_every_process_has_the_bank_of_one_process(tmp_path):
    values, features, targets = train_in_process()
    for result in run_in_processes(2, train_in_process, tmp_path):
        assert result[0] == pytest.approx(values, rel=1e-6)
        torch.testing.assert_close(result[1], features, rtol=1e-7, atol=1e-8)
        assert torch.equal(result[2], targets)


def test_memory_needs_pairs_and_no_compilation():
    with pytest.raises(InputError, match=r"MEMORY\.SIZE is 20, but no loss of MODEL\.LOSSES\.NAME compares pairs"):
        make_step("MODEL.LOSSES.NAME", "['CrossEntropyLoss']")
    with pytest.raises(InputError, match=r"MODEL\.COMPILE and MODEL\.LOSSES\.MEMORY\.SIZE cannot be combined"):
        make_step("MODEL.COMPILE", "True")
