"""The law of growth: a batch is worth the same on any number of processes."""

from pathlib import Path

import pytest
import torch
from processes import on_processes

from fastreid.data.samplers.instance import InferenceSampler
from fastreid.engine.inference import run_inference
from fastreid.engine.setup import load_config
from fastreid.engine.train_step import TrainStep
from fastreid.modeling import build_model
from fastreid.structures import Batch, Drawing
from fastreid.utils import comm
from fastreid.utils.seeding import keyed_torch_rng

TINY = Path(__file__).parents[2] / "end_to_end/tiny.yml"
CPU = torch.device("cpu")
EVERYTHING = ["CrossEntropyLoss", "TripletLoss", "CircleLoss", "Cosface", "FocalLoss"]
NUM, NUM_CLASSES = 16, 40
HALF = ("MODEL.HEADS.PARTIAL_FC_RATIO", "0.5")
TARGETS = torch.arange(NUM // 2).repeat(2)  # a drawing's only positive is always on another process


def images():
    with keyed_torch_rng("one or many"):
        return torch.rand(NUM, 3, 32, 32) * 255


def network(*settings):
    torch.manual_seed(0)
    names = ["MODEL.LOSSES.NAME", str(EVERYTHING), "MODEL.BACKBONE.NORM", "syncBN", "MODEL.HEADS.NORM", "syncBN"]
    return build_model(load_config(TINY, [*names, *settings]), NUM_CLASSES)


def worth(*settings):
    """What one step tells and does, in float64, where rounding is far below any fault; and features in float32."""
    model = network(*settings).double()
    model.heads.sample_classes(0, 5)
    step = TrainStep(model, torch.optim.SGD(model.parameters(), lr=0.1), device=CPU)
    share = slice(comm.get_rank() * NUM // comm.get_world_size(), (comm.get_rank() + 1) * NUM // comm.get_world_size())
    values = step(Batch(images()[share], TARGETS[share], torch.arange(NUM)[share])).values
    gradients = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
    return values, gradients, model.state_dict(), features()


def features():
    """The features of 10 drawings in batches of 3."""
    sampler = InferenceSampler(10, batch_size=3, rank=comm.get_rank(), world_size=comm.get_world_size())
    batches = (Batch(images()[rows], TARGETS[rows], torch.tensor(rows)) for rows in sampler)
    drawings = [Drawing(f"/{row}.png", f"{row}.png", str(row)) for row in range(10)]
    return run_inference(network(), batches, drawings, device=CPU).features


@pytest.fixture
def one_thread():
    """As each of several processes has; the last bits of a feature depend on it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(
    ("num_processes", "settings"),
    [
        (2, ("MODEL.LOSSES.TRI.HARD_MINING", "True")),
        (4, ("MODEL.LOSSES.TRI.HARD_MINING", "False", "MODEL.LOSSES.TRI.NORM_FEAT", "True", *HALF)),
    ],
)
def test_a_step_and_features_are_those_of_one_process(num_processes, settings, tmp_path):
    values, gradients, after, expected = worth(*settings)
    assert min(values[name] for name in ("loss_cls", "loss_triplet", "loss_circle", "loss_cosface")) > 0
    for told in on_processes(num_processes, worth, tmp_path, *settings):
        assert told[0] == pytest.approx(values, rel=1e-6)  # they are told in float32
        torch.testing.assert_close(told[1:3], (gradients, after), rtol=1e-8, atol=1e-10)
        assert torch.equal(told[3], expected)
