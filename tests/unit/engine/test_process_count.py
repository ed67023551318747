"""A training step and features are the same with any number of processes."""

from pathlib import Path

import pytest
import tiny_backbone
import torch
from processes import run_in_processes
from torch import nn

from fastreid.data.samplers.instance import InferenceSampler
from fastreid.engine.build import build_step
from fastreid.engine.features.inference import run_inference
from fastreid.engine.setup import load_config
from fastreid.engine.step.train_step import TrainStep
from fastreid.modeling import BACKBONES, build_model
from fastreid.structures import Batch, Drawing
from fastreid.utils import comm
from fastreid.utils.seeding import keyed_torch_rng

TINY = Path(tiny_backbone.__file__).with_name("tiny.yml")
RESNET = (
    "MODEL.BACKBONE.NAME",
    "build_resnet_backbone",
    "MODEL.BACKBONE.DEPTH",
    "18x",
    "MODEL.BACKBONE.WITH_IBN",
    "True",
)
CPU = torch.device("cpu")
LOSSES = ["CrossEntropyLoss", "TripletLoss", "CircleLoss", "Cosface", "FocalLoss"]
NUM_DRAWINGS, NUM_CLASSES = 16, 40
PARTIAL_FC = ("MODEL.HEADS.PARTIAL_FC_RATIO", "0.5")
TARGETS = torch.arange(NUM_DRAWINGS // 2).repeat(2)  # the only positive of a drawing is always on another process


def random_images():
    with keyed_torch_rng("one or many"):
        return torch.rand(NUM_DRAWINGS, 3, 32, 32) * 255


def build_network(*settings):
    torch.manual_seed(0)
    names = ["MODEL.LOSSES.NAME", str(LOSSES), "MODEL.BACKBONE.NORM", "syncBN", "MODEL.HEADS.NORM", "syncBN"]
    return build_model(load_config(TINY, [*names, *settings]), NUM_CLASSES)


def train_one_step(*settings):
    """Return values, gradients and weights of one step in float64 (negligible rounding), and float32 features."""
    model = build_network(*settings).double()
    model.heads.sample_classes(0, 5)
    step = TrainStep(model, torch.optim.SGD(model.parameters(), lr=0.1), device=CPU)
    share = slice(
        comm.get_rank() * NUM_DRAWINGS // comm.get_world_size(),
        (comm.get_rank() + 1) * NUM_DRAWINGS // comm.get_world_size(),
    )
    values = step(Batch(random_images()[share], TARGETS[share], torch.arange(NUM_DRAWINGS)[share])).values
    gradients = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
    return values, gradients, model.state_dict(), compute_all_features()


def compute_all_features():
    """Return the features of 10 drawings in batches of 3."""
    sampler = InferenceSampler(10, batch_size=3, rank=comm.get_rank(), world_size=comm.get_world_size())
    batches = (Batch(random_images()[rows], TARGETS[rows], torch.tensor(rows)) for rows in sampler)
    drawings = [Drawing(f"/{row}.png", f"{row}.png", str(row)) for row in range(10)]
    return run_inference(build_network(), batches, drawings, device=CPU).features


@pytest.fixture
def one_thread():
    """Use one thread, as each of several processes does; the last bits of features depend on it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(
    ("num_processes", "settings"),
    [
        (2, (*RESNET, "MODEL.BACKBONE.FEAT_DIM", "512", "MODEL.LOSSES.TRI.HARD_MINING", "True")),
        (4, ("MODEL.LOSSES.TRI.HARD_MINING", "False", "MODEL.LOSSES.TRI.NORM_FEAT", "True", *PARTIAL_FC)),
        (2, (*PARTIAL_FC, "MODEL.HEADS.SUB_CENTERS", "3", "MODEL.HEADS.CLS_LAYER", "ArcSoftmax")),
    ],
)
def test_step_and_features_do_not_depend_on_process_count(num_processes, settings, tmp_path):
    values, gradients, after, expected = train_one_step(*settings)
    assert min(values[name] for name in ("loss_cls", "loss_triplet", "loss_circle", "loss_cosface")) > 0
    for result in run_in_processes(num_processes, train_one_step, tmp_path, *settings):
        assert result[0] == pytest.approx(values, rel=1e-6)  # all-reduced in float32
        torch.testing.assert_close(result[1:3], (gradients, after), rtol=1e-8, atol=1e-10)
        assert torch.equal(result[3], expected)


class UnusedNorm(nn.Module):
    """Backbone whose forward pass does not reach one of its layers, as in many timm networks."""

    feature_dim = 4

    def __init__(self):
        super().__init__()
        self.conv, self.head_norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, images):
        return self.conv(images)


def train_with_unreached_parameters():
    """Return the norm that the forward pass does not reach, after two steps with weight decay."""
    BACKBONES.register("unused_norm")(lambda cfg: UnusedNorm())
    settings = ["MODEL.BACKBONE.NAME", "unused_norm", "MODEL.BACKBONE.FEAT_DIM", 4, "SOLVER.WEIGHT_DECAY_NORM", 0.1]
    cfg = load_config(TINY, settings)
    torch.manual_seed(0)
    model = build_model(cfg, NUM_CLASSES)
    step = build_step(cfg, model, iters_per_epoch=1)
    for _ in range(2):
        step(Batch(random_images(), TARGETS, torch.arange(NUM_DRAWINGS)))
    return model.backbone.head_norm


def test_parameters_that_the_forward_pass_does_not_reach_are_frozen(tmp_path):
    for norm in run_in_processes(2, train_with_unreached_parameters, tmp_path):
        assert not norm.weight.requires_grad
        assert torch.equal(norm.weight, torch.ones(4))
