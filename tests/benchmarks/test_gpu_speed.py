"""Speed of the patent network on a GPU relative to fast-reid's form (eager, float16), and use of the GPU's peak rate.

MODEL.COMPILE takes minutes and is measured only with BENCH_COMPILE=1.
"""

import copy
import functools
import os
import statistics
import time
from contextlib import nullcontext

import pytest
import torch
from random_features import deeppatent_test
from reference_network import (
    ReferenceBlocks,
    build_warm_network,
    load_config,
    random_images,
    reference_step,
    total_loss,
)
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from fastreid.engine.build import build_step
from fastreid.engine.compile import CompiledCaller
from fastreid.engine.features.inference import compute_features, eval_mode
from fastreid.engine.model.network import to_device
from fastreid.evaluation import expand, k_reciprocal, nearest
from fastreid.structures import Batch

pytestmark = [
    pytest.mark.benchmark,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
DEPTH, ROUNDS = "101x", 7
NUM = {256: 128, 384: 48}  # drawings per step, by size in px; they fit into 80 GB in float32
HALF, BFLOAT = (["SOLVER.AMP.ENABLED", True, "SOLVER.AMP.DTYPE", dtype] for dtype in ("float16", "bfloat16"))
COMPILED = ["MODEL.COMPILE", True]
VARIANTS = {
    "float32 (TF32 convolutions)": ["SOLVER.AMP.ENABLED", False],
    "float16": HALF,
    "bfloat16": BFLOAT,
    **({"bfloat16, compiled": [*BFLOAT, *COMPILED]} if os.environ.get("BENCH_COMPILE") else {}),
}


@pytest.fixture(autouse=True)
def cudnn_benchmark():
    torch.backends.cudnn.benchmark = True  # as in the patent configs and in fast-reid
    yield
    torch.backends.cudnn.benchmark = False


@pytest.fixture(scope="module")
def peak_rate():
    """Return the FLOP/s of the GPU in one large bfloat16 product, the median of several."""
    left, right = torch.randn(2, 8192, 8192, device="cuda").bfloat16()
    duration = median_seconds({"product": (lambda: left @ right, nullcontext)}, rounds=20)["product"]
    return 2 * 8192**3 / duration


def median_seconds(cases, *, rounds=ROUNDS):
    """Return the median time of each case (function, context); each round runs all cases, and two rounds warm up."""
    durations = {name: [] for name in cases}
    for index in range(rounds + 2):
        for name, (function, context) in cases.items():
            with context():
                torch.cuda.synchronize()
                start = time.perf_counter()
                function()
                torch.cuda.synchronize()
            if index > 1:
                durations[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in durations.items()}


def print_speeds(title, num, flops, durations, peak_rate, capsys, footer=""):
    """Print the speed of each case relative to the reference and to the peak rate of the GPU."""
    reference = durations["reference"]
    with capsys.disabled():
        print(
            f"\n{title}, batches of {num}, {flops / num / 1e9:.1f} GFLOP per image; "
            f"peak rate {peak_rate / 1e12:.0f} TFLOP/s:"
        )
        for name, seconds in durations.items():
            print(
                f"  {name}: {num / seconds:.0f} images per second, {reference / seconds:.2f} times the reference, "
                f"{flops / seconds / peak_rate:.1%} of the peak rate"
            )
        print(footer, end="")


@functools.cache
def network_on_cpu():
    return build_warm_network(DEPTH)


def build_on_gpu(cfg):
    return to_device(cfg, copy.deepcopy(network_on_cpu()))


@pytest.mark.parametrize("size_px", [256, 384])
def test_training_speed_on_gpu(size_px, peak_rate, capsys):
    num = NUM[size_px]
    batch = Batch(random_images(num, size_px).contiguous(), torch.arange(num) // 4, torch.arange(num)).to("cuda")
    network, scaler = build_on_gpu(load_config(DEPTH)).train(), torch.amp.GradScaler("cuda")
    plain = torch.optim.Adam(network.parameters(), lr=3.5e-4, weight_decay=5e-4, foreach=False)
    with FlopCounterMode(display=False) as counter:
        loss = sum(network(batch.images, batch.targets).values())
        loss.backward()
    network.zero_grad()
    cases = {"reference": (lambda: reference_step(network, plain, batch, scaler=scaler), ReferenceBlocks)}
    for name, options in VARIANTS.items():
        cfg = load_config(DEPTH, *options)
        step = build_step(cfg, build_on_gpu(cfg), iters_per_epoch=1)
        assert total_loss(step(batch)) == pytest.approx(loss.item(), rel=0.1), name
        cases[name] = (lambda step=step: step(batch), nullcontext)
    flops = counter.get_total_flops()
    print_speeds(f"training R101-IBN-NL at {size_px} px", num, flops, median_seconds(cases), peak_rate, capsys)


@pytest.mark.parametrize("size_px", [256, 384])
def test_feature_speed_on_gpu(size_px, peak_rate, capsys):
    num = NUM[size_px]
    images, cases = random_images(num, size_px).contiguous().cuda(), {}
    with eval_mode(network := build_on_gpu(load_config(DEPTH))):
        torch.backends.cudnn.allow_tf32 = False
        with FlopCounterMode(display=False) as counter:
            exact = compute_features(network, images)
        torch.backends.cudnn.allow_tf32 = True
        cases["reference"] = (lambda: compute_features(network, images, dtype=torch.float16), ReferenceBlocks)
        cosines = []
        for name, options in VARIANTS.items():
            cfg = load_config(DEPTH, *options)
            dtypes = {"float16": torch.float16, "bfloat16": torch.bfloat16}
            dtype = dtypes[cfg.SOLVER.AMP.DTYPE] if cfg.SOLVER.AMP.ENABLED else None
            model = build_on_gpu(cfg).eval()
            caller = CompiledCaller(lambda model=model: model, compiled=cfg.MODEL.COMPILE)

            def run(caller=caller, dtype=dtype):
                return caller.run(lambda call: compute_features(call, images, dtype=dtype), signature=("features",))

            cases[name] = (run, nullcontext)
            cosine = nn.functional.cosine_similarity(run().double(), exact.double())
            assert cosine.min() > 0.98
            cosines.append(f"  minimum cosine of {name} to float32 without TF32: {cosine.min():.6f}\n")
        durations = median_seconds(cases)
    flops = counter.get_total_flops()
    title = f"features of R101-IBN-NL at {size_px} px"
    print_speeds(title, num, flops, durations, peak_rate, capsys, footer="".join(cosines))


def plain_top_10(queries, gallery):
    """Return the 10 gallery rows with the largest cosines, in float32 and without exactness, as plain torch does it."""
    queries, gallery = nn.functional.normalize(queries), nn.functional.normalize(gallery)
    return torch.cat([(block @ gallery.T).topk(10).indices for block in queries.split(4096)])


def test_search_and_rerank_speed_on_gpu(capsys):
    queries, gallery, _, _ = deeppatent_test()
    queries, gallery = queries.cuda(), gallery.cuda()
    exact, plain = nearest(queries, gallery, 10, precision="auto").indices, plain_top_10(queries, gallery)
    assert (exact == plain).double().mean() > 0.999  # rounding orders a few near-equal cosines differently
    searches = {
        "reference": lambda: plain_top_10(queries, gallery),
        "top-10": lambda: nearest(queries, gallery, 10, precision="auto"),
        "top-10 with AQE and DBA": lambda: nearest(
            *expand(queries, gallery, k=5, alpha=2.0, precision="auto"), 10, precision="auto"
        ),
        "k-reciprocal re-ranking": lambda: k_reciprocal(queries, gallery, k1=20, k2=6, lambda_value=0.3, k=10),
    }
    durations = median_seconds({name: (search, nullcontext) for name, search in searches.items()}, rounds=1)
    with capsys.disabled():
        print(f"\n{len(queries)} x {len(gallery)} x {queries.shape[1]} floats on the GPU; reference: inexact top-10:")
        for name, seconds in durations.items():
            print(f"  {name}: {seconds:.3f} s, {seconds / durations['reference']:.2f} times the reference")
