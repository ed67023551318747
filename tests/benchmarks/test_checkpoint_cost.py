"""Time of saving a checkpoint of the patent configs, with and without its SHA-256 and checks."""

import time
from pathlib import Path

import pytest
import torch

from fastreid.engine.checkpoint.checkpointer import Checkpointer, Progress
from fastreid.engine.setup import load_config
from fastreid.engine.step.train_step import TrainStep
from fastreid.modeling import build_model
from fastreid.solver.build import build_optimizer
from fastreid.utils.checksums import checksum_path, verify_checksum
from fastreid.utils.files import atomic_write

CONFIG = Path(__file__).parents[2] / "configs/patent/sbs_R101-ibn_patent_256.yml"
NUM_PATENTS = 36_000


def build_step_with_state():
    """Return a training step whose optimizer has state for all parameters."""
    cfg = load_config(CONFIG, ["MODEL.DEVICE", "cpu"])
    model = build_model(cfg, num_classes=NUM_PATENTS)
    step = TrainStep(model, build_optimizer(cfg, model), device=torch.device("cpu"))
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    step.optimizer.step()
    step.optimizer.zero_grad()
    return step


def measure_seconds(function):
    """Return the wall time and the CPU time of a call."""
    wall, cpu = time.perf_counter(), time.process_time()
    function()
    return time.perf_counter() - wall, time.process_time() - cpu


@pytest.mark.benchmark
@pytest.mark.timeout(1800)
def test_checkpoint_of_the_patent_configs(tmp_path, capsys):
    checkpointer = Checkpointer(tmp_path, build_step_with_state(), iters_per_epoch=1)
    path = tmp_path / "model_0000.pth"

    def save_plain():
        state = {"model": checkpointer.step.model.state_dict(), **checkpointer.step.state_dict()}
        with atomic_write(path) as file:
            torch.save(state, file)
        checksum_path(path).unlink(missing_ok=True)

    def save_checked():
        path.unlink(missing_ok=True)
        checkpointer.save("model_0000.pth", Progress(), is_last=False)

    rounds = [(measure_seconds(save_plain), measure_seconds(save_checked)) for _ in range(3)]
    plain, checked = (min(times) for times in zip(*rounds))
    size_mb = path.stat().st_size / 1e6
    verify_checksum(path)
    saved = torch.load(path, mmap=True, weights_only=True)["model"]
    assert all(torch.equal(saved[name], value) for name, value in checkpointer.step.model.state_dict().items())
    with capsys.disabled():
        print(
            f"\ncheckpoint of {size_mb:.0f} MB: {checked[0]:.2f} s (CPU {checked[1]:.2f} s), "
            f"{checked[0] / plain[0]:.2f} times a plain torch.save of {plain[0]:.2f} s (CPU {plain[1]:.2f} s)"
        )
