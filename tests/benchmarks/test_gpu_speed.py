"""The patent network on a GPU, beside itself as the reference runs it (eager, float16), in one run; and the card's own rate.

MODEL.COMPILE takes minutes and is left out unless BENCH_COMPILE=1.
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
from reference_network import AsReference, config, drawings, reference_step, used_network
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from fastreid.engine.build import build_step
from fastreid.engine.compile import CompiledCaller
from fastreid.engine.inference import compute_features, eval_mode
from fastreid.engine.model import to_device
from fastreid.evaluation import expand, k_reciprocal, nearest
from fastreid.structures import Batch

pytestmark = [
    pytest.mark.benchmark,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
DEPTH, ROUNDS = "101x", 7
NUM = {256: 128, 384: 48}  # drawings a step that 80 GB hold in float32
HALF, BFLOAT = (["SOLVER.AMP.ENABLED", True, "SOLVER.AMP.DTYPE", kind] for kind in ("float16", "bfloat16"))
COMPILED = ["MODEL.COMPILE", True]
CHOICES = {
    "float32 (TF32 convolutions)": ["SOLVER.AMP.ENABLED", False],
    "float16": HALF,
    "bfloat16": BFLOAT,
    **({"bfloat16, compiled": [*BFLOAT, *COMPILED]} if os.environ.get("BENCH_COMPILE") else {}),
}


@pytest.fixture(autouse=True)
def chosen_kernels():
    torch.backends.cudnn.benchmark = True  # as the patent configs and the reference have it
    yield
    torch.backends.cudnn.benchmark = False


@pytest.fixture(scope="module")
def matrix_rate():
    """FLOP/s of the card in one large bfloat16 product, the median of several."""
    left, right = torch.randn(2, 8192, 8192, device="cuda").bfloat16()
    spans = timed({"product": (lambda: left @ right, nullcontext)}, rounds=20)["product"]
    return 2 * 8192**3 / spans


def timed(works, *, rounds=ROUNDS):
    """Seconds of each by the median of rounds in turn, after two that warm up."""
    spans = {name: [] for name in works}
    for number in range(rounds + 2):
        for name, (work, around) in works.items():
            with around():
                torch.cuda.synchronize()
                start = time.perf_counter()
                work()
                torch.cuda.synchronize()
            if number > 1:
                spans[name].append(time.perf_counter() - start)
    return {name: statistics.median(of) for name, of in spans.items()}


def told(what, num, flops, found, matrix_rate, capsys, more=""):
    reference = found["reference"]
    with capsys.disabled():
        print(
            f"\n{what}, {num} at a time, {flops / num / 1e9:.1f} GFLOP each; the card {matrix_rate / 1e12:.0f} TFLOP/s:"
        )
        for name, seconds in found.items():
            print(
                f"  {name}: {num / seconds:.0f} a second, {reference / seconds:.2f} times the reference, "
                f"{flops / seconds / matrix_rate:.1%} of the card's rate"
            )
        print(more, end="")


@functools.cache
def network_on_cpu():
    return used_network(DEPTH)


def on_gpu(cfg):
    return to_device(cfg, copy.deepcopy(network_on_cpu()))


@pytest.mark.parametrize("size_px", [256, 384])
def test_training_beside_the_reference_s_way(size_px, matrix_rate, capsys):
    num = NUM[size_px]
    batch = Batch(drawings(num, size_px).contiguous(), torch.arange(num) // 4, torch.arange(num)).to("cuda")
    network, scaler = on_gpu(config(DEPTH)).train(), torch.amp.GradScaler("cuda")
    plain = torch.optim.Adam(network.parameters(), lr=3.5e-4, weight_decay=5e-4, foreach=False)
    with FlopCounterMode(display=False) as counter:
        sum(network(batch.images, batch.targets).values()).backward()
    network.zero_grad()
    works = {"reference": (lambda: reference_step(network, plain, batch, scaler=scaler), AsReference)}
    for name, words in CHOICES.items():
        cfg = config(DEPTH, *words)
        step = build_step(cfg, on_gpu(cfg), iters_per_epoch=1)
        works[name] = (lambda step=step: step(batch), nullcontext)
    flops = counter.get_total_flops()
    told(f"training R101-IBN-NL at {size_px} px", num, flops, timed(works), matrix_rate, capsys)


@pytest.mark.parametrize("size_px", [256, 384])
def test_features_beside_the_reference_s_way(size_px, matrix_rate, capsys):
    num = NUM[size_px]
    images, works = drawings(num, size_px).contiguous().cuda(), {}
    with eval_mode(network := on_gpu(config(DEPTH))):
        torch.backends.cudnn.allow_tf32 = False
        with FlopCounterMode(display=False) as counter:
            exact = compute_features(network, images)
        torch.backends.cudnn.allow_tf32 = True
        works["reference"] = (lambda: compute_features(network, images, dtype=torch.float16), AsReference)
        cosines = []
        for name, words in CHOICES.items():
            cfg = config(DEPTH, *words)
            kinds = {"float16": torch.float16, "bfloat16": torch.bfloat16}
            dtype = kinds[cfg.SOLVER.AMP.DTYPE] if cfg.SOLVER.AMP.ENABLED else None
            model = on_gpu(cfg).eval()
            calls = CompiledCaller(lambda model=model: model, compiled=cfg.MODEL.COMPILE)

            def work(calls=calls, dtype=dtype):
                return calls.run(lambda call: compute_features(call, images, dtype=dtype), signature=("features",))

            works[name] = (work, nullcontext)
            near = nn.functional.cosine_similarity(work().double(), exact.double())
            cosines.append(f"  least cosine to float32 without TF32 of {name}: {near.min():.6f}\n")
        found = timed(works)
    flops = counter.get_total_flops()
    told(f"features of R101-IBN-NL at {size_px} px", num, flops, found, matrix_rate, capsys, "".join(cosines))


def test_searches_and_re_ranking(capsys):
    queries, gallery, _, _ = deeppatent_test()
    queries, gallery = queries.cuda(), gallery.cuda()
    works = {
        "top-10": lambda: nearest(queries, gallery, 10, precision="auto"),
        "top-10 with AQE and DBA": lambda: nearest(
            *expand(queries, gallery, k=5, alpha=2.0, precision="auto"), 10, precision="auto"
        ),
        "k-reciprocal re-ranking": lambda: k_reciprocal(queries, gallery, k1=20, k2=6, lambda_value=0.3, k=10),
    }
    found = timed({name: (work, nullcontext) for name, work in works.items()}, rounds=1)
    with capsys.disabled():
        print(f"\n{len(queries)} x {len(gallery)} x {queries.shape[1]} floats on the GPU:")
        print("\n".join(f"  {name}: {seconds:.2f} s" for name, seconds in found.items()))
