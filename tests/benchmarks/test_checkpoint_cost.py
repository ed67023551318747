"""What a checkpoint of the patent configs' network costs: its sha256 beside the same file without one."""

import time
from pathlib import Path

import pytest
import torch

from fastreid.engine.checkpoint import Checkpointer, Progress
from fastreid.engine.setup import load_config
from fastreid.engine.train_step import TrainStep
from fastreid.modeling import build_model
from fastreid.solver.build import build_optimizer
from fastreid.utils.checksums import checksum_path
from fastreid.utils.files import atomic_write

CONFIG = Path(__file__).parents[2] / "configs/patent/sbs_R101-ibn_patent_256.yml"
NUM_PATENTS = 36_000


def stepped():
    """The network and its optimizer after a step, as a checkpoint of a run has them."""
    cfg = load_config(CONFIG, ["MODEL.DEVICE", "cpu"])
    model = build_model(cfg, num_classes=NUM_PATENTS)
    step = TrainStep(model, build_optimizer(cfg, model), device=torch.device("cpu"))
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    step.optimizer.step()
    step.optimizer.zero_grad()
    return step


def seconds(work):
    """On the clock and of the processor."""
    clock, processor = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - clock, time.process_time() - processor


@pytest.mark.benchmark
@pytest.mark.timeout(1800)
def test_a_checkpoint_of_the_patent_configs(tmp_path, capsys):
    checkpointer = Checkpointer(tmp_path, stepped(), iters_per_epoch=1)
    path = tmp_path / "model_0000.pth"

    def plain():
        state = {"model": checkpointer.step.model.state_dict(), **checkpointer.step.state_dict()}
        with atomic_write(path) as file:
            torch.save(state, file)
        checksum_path(path).unlink(missing_ok=True)

    def checked():
        path.unlink(missing_ok=True)
        checkpointer.save("model_0000.pth", Progress(), is_last=False)

    rounds = [(seconds(plain), seconds(checked)) for _ in range(3)]
    without, with_it = (min(by_clock) for by_clock in zip(*rounds))
    size_mb = path.stat().st_size / 1e6
    with capsys.disabled():
        print(f"\na checkpoint of {size_mb:.0f} MB: {with_it[0]:.2f} s ({with_it[1]:.2f} s of the processor), ", end="")
        print(f"without its sha256 {without[0]:.2f} s ({without[1]:.2f} s)")
