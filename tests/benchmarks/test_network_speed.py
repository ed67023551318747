"""The network beside itself in plain eager float32, with the reference's way of non-local blocks, IBN and optimizer."""

import time
from contextlib import nullcontext

import pytest
import torch
from torch import nn

from fastreid.config import get_cfg
from fastreid.engine.inference import evaluating, features_of
from fastreid.engine.step import TrainStep
from fastreid.layers import attention, norm
from fastreid.modeling import build_model
from fastreid.solver.build import build_optimizer
from fastreid.structures import Batch

CONFIG = "configs/patent/sbs_R101-ibn_patent_256.yml"
ROUNDS, NUM = 5, 16


def config(depth):
    cfg = get_cfg()
    cfg.merge_from_file(CONFIG)
    cfg.merge_from_list(["MODEL.BACKBONE.DEPTH", depth])
    return cfg


def with_all_pairs(theta, phi, g):
    """The non-local sum through the matrix of all pairs of places, as the reference has it."""
    likeness = theta.flatten(2).transpose(1, 2) @ phi.flatten(2) / theta[0, 0].numel()
    return (likeness @ g.flatten(2).transpose(1, 2)).transpose(1, 2).reshape(theta.shape)


def split_and_copied(self, maps):
    """IBN with its two halves copied, as the reference has it."""
    first, rest = torch.split(maps, self.num_instance, 1)
    return torch.cat((self.IN(first.contiguous()), self.BN(rest.contiguous())), 1)


class AsReference:
    """Inside, the network works as the reference wrote it."""

    def __enter__(self):
        self.kept = attention.gather_places, norm.IBN.forward
        attention.gather_places, norm.IBN.forward = with_all_pairs, split_and_copied

    def __exit__(self, *fault):
        attention.gather_places, norm.IBN.forward = self.kept


def drawings(num, size_px):
    generator = torch.Generator().manual_seed(0)
    pages = (torch.rand(num, 1, size_px // 8, size_px // 8, generator=generator) > 0.1).float() * 255
    return nn.functional.interpolate(pages, size=(size_px, size_px)).expand(-1, 3, -1, -1)


def used_network(depth):
    """A network whose batch norms have seen drawings and whose non-local blocks are at work."""
    torch.manual_seed(0)
    model = build_model(config(depth), num_classes=100)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".NL_" in name and "W.1.weight" in name:
                parameter.fill_(0.1)
        model.train()
        for _ in range(20):
            model.backbone((drawings(8, 64) - 127) / 60)
    return model


def side_by_side(works):
    """Seconds of each, the best of several rounds in turn."""
    best = dict.fromkeys(works, float("inf"))
    for number in range(ROUNDS + 1):
        for name, (work, around) in works.items():
            with around():
                start = time.perf_counter()
                work()
                if number:  # the first warms up
                    best[name] = min(best[name], time.perf_counter() - start)
    return best


def reference_step(model, optimizer, batch):
    losses = model(batch.images, batch.targets)
    total = sum(losses.values())
    optimizer.zero_grad()
    total.backward()
    optimizer.step()
    return total.item()


@pytest.mark.benchmark
def test_training_beside_plain_eager_float32(capsys):
    batch = Batch(drawings(NUM, 128), torch.arange(NUM) // 4, torch.arange(NUM))
    cfg, networks = config("50x"), [used_network("50x") for _ in range(3)]
    steps = [
        TrainStep(network, build_optimizer(cfg, network), device=torch.device("cpu"), dtype=dtype)
        for network, dtype in zip(networks[1:], (None, torch.bfloat16))
    ]
    plain = torch.optim.Adam(networks[0].parameters(), lr=3.5e-4, weight_decay=5e-4, foreach=False)
    networks[0].train()
    found = side_by_side(
        {
            "reference": (lambda: reference_step(networks[0], plain, batch), AsReference),
            "float32": (lambda: steps[0](batch), nullcontext),
            "bfloat16": (lambda: steps[1](batch), nullcontext),
        }
    )
    with capsys.disabled():
        print(
            f"\ntraining R50-IBN-NL at 128 px, {NUM} a step: as the reference {NUM / found['reference']:.1f} drawings a second; "
            + ", ".join(f"{kind} {found['reference'] / found[kind]:.2f} times that" for kind in ("float32", "bfloat16"))
        )


@pytest.mark.benchmark
@pytest.mark.parametrize("size_px", [256, 384])
def test_features_beside_plain_eager_float32(size_px, capsys):
    network, images = used_network("101x"), drawings(NUM, size_px)
    with evaluating(network):
        found = side_by_side(
            {
                "reference": (lambda: features_of(network, images), AsReference),
                "float32": (lambda: features_of(network, images), nullcontext),
                "bfloat16": (lambda: features_of(network, images, dtype=torch.bfloat16), nullcontext),
            }
        )
        exact, near = features_of(network, images), features_of(network, images, dtype=torch.bfloat16)
    cosine = nn.functional.cosine_similarity(near.double(), exact.double()).min()
    with capsys.disabled():
        print(
            f"\nfeatures of R101-IBN-NL at {size_px} px: as the reference {NUM / found['reference']:.1f} drawings a second; "
            + ", ".join(f"{kind} {found['reference'] / found[kind]:.2f} times that" for kind in ("float32", "bfloat16"))
            + f"; the least cosine of bfloat16 to float32 {cosine:.6f}"
        )
