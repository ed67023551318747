"""The network beside itself in plain eager float32, with the reference's way of non-local blocks, IBN and optimizer."""

import time
from contextlib import nullcontext

import pytest
import torch
from reference_network import AsReference, config, drawings, reference_step, used_network
from torch import nn

from fastreid.engine.inference import compute_features, eval_mode
from fastreid.engine.train_step import TrainStep
from fastreid.solver.build import build_optimizer
from fastreid.structures import Batch

ROUNDS, NUM = 5, 16


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
            f"\ntraining R50-IBN-NL at 128 px, {NUM} a step: as the reference {NUM / found['reference']:.1f} drawings "
            "a second; "
            + ", ".join(f"{kind} {found['reference'] / found[kind]:.2f} times that" for kind in ("float32", "bfloat16"))
        )


@pytest.mark.benchmark
@pytest.mark.parametrize("size_px", [256, 384])
def test_features_beside_plain_eager_float32(size_px, capsys):
    network, images = used_network("101x"), drawings(NUM, size_px)
    with eval_mode(network):
        found = side_by_side(
            {
                "reference": (lambda: compute_features(network, images), AsReference),
                "float32": (lambda: compute_features(network, images), nullcontext),
                "bfloat16": (lambda: compute_features(network, images, dtype=torch.bfloat16), nullcontext),
            }
        )
        exact, near = compute_features(network, images), compute_features(network, images, dtype=torch.bfloat16)
    cosine = nn.functional.cosine_similarity(near.double(), exact.double()).min()
    with capsys.disabled():
        print(
            f"\nfeatures of R101-IBN-NL at {size_px} px: as the reference {NUM / found['reference']:.1f} drawings a "
            "second; "
            + ", ".join(f"{kind} {found['reference'] / found[kind]:.2f} times that" for kind in ("float32", "bfloat16"))
            + f"; the least cosine of bfloat16 to float32 {cosine:.6f}"
        )
