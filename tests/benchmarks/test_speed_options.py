"""What each choice that a config has for speed brings, beside the plain run in the same turn of rounds."""

import statistics
import time

import pytest
import torch

from fastreid.config import get_cfg
from fastreid.engine.build import build_step
from fastreid.engine.compile import CompiledCaller
from fastreid.engine.inference import compute_features, eval_mode
from fastreid.engine.model import to_device
from fastreid.modeling import build_model
from fastreid.structures import Batch

CONFIG = "configs/patent/sbs_R101-ibn_patent_256.yml"
ROUNDS, NUM, SIZE_PX = 5, 16, 128
FUSED, COMPILED = ["SOLVER.OPT_ARGS.fused", True], ["MODEL.COMPILE", True]
CHOICES = {
    "plain": [],
    "fused": FUSED,
    "compiled": COMPILED,
    "all": [*FUSED, *COMPILED],
}


def config(depth, kind, words):
    cfg = get_cfg()
    cfg.merge_from_file(CONFIG)
    width = 512 if depth == "18x" else 2048
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", "MODEL.BACKBONE.DEPTH", depth, "MODEL.BACKBONE.FEAT_DIM", width])
    cfg.merge_from_list(["SOLVER.AMP.ENABLED", kind == "bfloat16", "SOLVER.AMP.DTYPE", "bfloat16", *words])
    return cfg


def network(cfg):
    torch.manual_seed(0)
    return to_device(cfg, build_model(cfg, num_classes=100))


def images():
    return torch.rand(NUM, 3, SIZE_PX, SIZE_PX, generator=torch.Generator().manual_seed(0)) * 255


def told(what, works, capsys):
    """Print how many times as fast as the first each is, by the medians of rounds in turn; and the first rounds."""
    times = {name: [] for name in works}
    for _ in range(ROUNDS + 1):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            times[name].append(time.perf_counter() - start)
    first, *others = ((name, statistics.median(spans[1:])) for name, spans in times.items())
    with capsys.disabled():
        print(
            f"\n{what}, {NUM} of {SIZE_PX} px, medians of {ROUNDS} rounds in turn: {first[0]} {NUM / first[1]:.1f} a "
            "second; "
            + ", ".join(f"{name} {first[1] / median:.2f} times that" for name, median in others)
            + "; the first round "
            + ", ".join(f"{name} {spans[0]:.0f} s" for name, spans in times.items())
        )


@pytest.mark.benchmark
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("kind", ["float32", "bfloat16"])
@pytest.mark.parametrize("depth", ["18x", "50x"])
def test_training_by_each_choice(depth, kind, capsys):
    batch = Batch(images(), torch.arange(NUM) // 4, torch.arange(NUM))
    works = {}
    for name, words in CHOICES.items():
        cfg = config(depth, kind, words)
        step = build_step(cfg, network(cfg), iters_per_epoch=1)
        works[name] = lambda step=step: step(batch)
    told(f"training R{depth} of the patent config in {kind}", works, capsys)


@pytest.mark.benchmark
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("kind", ["float32", "bfloat16"])
@pytest.mark.parametrize("depth", ["18x", "50x"])
def test_features_by_each_choice(depth, kind, capsys):
    dtype = torch.bfloat16 if kind == "bfloat16" else None
    works = {}
    for name, words in CHOICES.items():
        if name != "fused":
            cfg = config(depth, kind, words)
            model = network(cfg)
            calls = CompiledCaller(lambda model=model: model, compiled=cfg.MODEL.COMPILE)
            works[name] = lambda model=model, calls=calls: features(model, calls, dtype)
    told(f"features of R{depth} of the patent config in {kind}", works, capsys)


def features(model, calls, dtype):
    with eval_mode(model):
        calls.run(lambda call: compute_features(call, images(), dtype=dtype), signature=("features",))
