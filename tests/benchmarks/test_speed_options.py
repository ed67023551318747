"""Speed of each config option for speed, relative to the plain network in the same rounds."""

import statistics
import time

import pytest
import torch
from reference_network import total_loss

from fastreid.config import get_cfg
from fastreid.engine.build import build_step
from fastreid.engine.compile import CompiledCaller
from fastreid.engine.features.inference import compute_features, eval_mode
from fastreid.engine.model.network import to_device
from fastreid.modeling import build_model
from fastreid.structures import Batch

CONFIG = "configs/patent/sbs_R101-ibn_patent_256.yml"
ROUNDS, NUM, SIZE_PX = 5, 16, 128
FUSED, COMPILED = ["SOLVER.OPT_ARGS.fused", True], ["MODEL.COMPILE", True]
VARIANTS = {
    "plain": [],
    "fused": FUSED,
    "compiled": COMPILED,
    "all": [*FUSED, *COMPILED],
}


def load_config(depth, dtype, options):
    cfg = get_cfg()
    cfg.merge_from_file(CONFIG)
    width = 512 if depth == "18x" else 2048
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", "MODEL.BACKBONE.DEPTH", depth, "MODEL.BACKBONE.FEAT_DIM", width])
    cfg.merge_from_list(["SOLVER.AMP.ENABLED", dtype == "bfloat16", "SOLVER.AMP.DTYPE", "bfloat16", *options])
    return cfg


def build_network(cfg):
    torch.manual_seed(0)
    return to_device(cfg, build_model(cfg, num_classes=100))


def random_images():
    return torch.rand(NUM, 3, SIZE_PX, SIZE_PX, generator=torch.Generator().manual_seed(0)) * 255


def print_speeds(title, cases, capsys):
    """Print the speed of each case relative to the first (medians; each round runs all cases) and the first rounds.

    Returns:
        The result of each case in the first round.
    """
    times, results = {name: [] for name in cases}, {}
    for _ in range(ROUNDS + 1):
        for name, function in cases.items():
            start = time.perf_counter()
            result = function()
            times[name].append(time.perf_counter() - start)
            results.setdefault(name, result)
    first, *others = ((name, statistics.median(durations[1:])) for name, durations in times.items())
    with capsys.disabled():
        print(
            f"\n{title}, {NUM} images of {SIZE_PX} px, median of {ROUNDS} rounds: {first[0]} {NUM / first[1]:.1f} per "
            "second; "
            + ", ".join(f"{name} {first[1] / median:.2f} times as fast" for name, median in others)
            + "; first round: "
            + ", ".join(f"{name} {durations[0]:.0f} s" for name, durations in times.items())
        )
    return results


@pytest.mark.benchmark
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("depth", ["18x", "50x"])
def test_training_speed_of_each_option(depth, dtype, capsys):
    batch = Batch(random_images(), torch.arange(NUM) // 4, torch.arange(NUM))
    cases = {}
    for name, options in VARIANTS.items():
        cfg = load_config(depth, dtype, options)
        step = build_step(cfg, build_network(cfg), iters_per_epoch=1)
        cases[name] = lambda step=step: step(batch)
    results = print_speeds(f"training R{depth} of the patent config in {dtype}", cases, capsys)
    losses = {name: total_loss(result) for name, result in results.items()}
    tolerance = 0.1 if dtype == "bfloat16" else 1e-3
    assert losses == dict.fromkeys(losses, pytest.approx(losses["plain"], rel=tolerance))


@pytest.mark.benchmark
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("depth", ["18x", "50x"])
def test_feature_speed_of_each_option(depth, dtype, capsys):
    torch_dtype = torch.bfloat16 if dtype == "bfloat16" else None
    cases = {}
    for name, options in VARIANTS.items():
        if name != "fused":
            cfg = load_config(depth, dtype, options)
            model = build_network(cfg)
            caller = CompiledCaller(lambda model=model: model, compiled=cfg.MODEL.COMPILE)
            cases[name] = lambda model=model, caller=caller: run_features(model, caller, torch_dtype)
    results = print_speeds(f"features of R{depth} of the patent config in {dtype}", cases, capsys)
    cosines = torch.nn.functional.cosine_similarity(results["plain"], results["compiled"])
    assert cosines.min() > 0.98


def run_features(model, caller, dtype):
    with eval_mode(model):
        return caller.run(lambda call: compute_features(call, random_images(), dtype=dtype), signature=("features",))
