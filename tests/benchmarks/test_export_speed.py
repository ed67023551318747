"""Drawings per second of exported networks in onnxruntime, relative to the network in torch, on the same threads."""

import os
import statistics
import time

import numpy as np
import pytest
import torch

from fastreid.engine.export import onnx_graph, quantization
from fastreid.engine.model.network import build_model_with_weights
from fastreid.engine.model.onnx_network import open_session
from fastreid.engine.setup import load_config

pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")
pytest.importorskip("timm", reason="the extra `timm` is not installed")

SIZE_PX = 224
NUM_RUNS = 7  # of each, alternating
COMMON = ("MODEL.DEVICE", "cpu", "INPUT.SIZE_TEST", [SIZE_PX, SIZE_PX], "MODEL.BACKBONE.PRETRAIN", False)
RESNET = (
    *("MODEL.BACKBONE.NAME", "build_resnet_backbone", "MODEL.BACKBONE.WITH_IBN", True),
    *("MODEL.HEADS.POOL_LAYER", "GeneralizedMeanPoolingP", "MODEL.HEADS.WITH_BNNECK", True),
)
NETWORKS = {
    "ResNet18-IBN": (*RESNET, "MODEL.BACKBONE.DEPTH", "18x", "MODEL.BACKBONE.FEAT_DIM", 512),
    "ResNet50-IBN with non-local blocks": (
        *(*RESNET, "MODEL.BACKBONE.DEPTH", "50x", "MODEL.BACKBONE.FEAT_DIM", 2048),
        *("MODEL.BACKBONE.WITH_NL", True),
    ),
    "EfficientNet-Lite0": (
        *("MODEL.BACKBONE.NAME", "build_timm_backbone"),
        *("MODEL.BACKBONE.TIMM_NAME", "efficientnet_lite0"),
    ),
}


@pytest.mark.benchmark
@pytest.mark.parametrize("name", NETWORKS)
def test_exported_network_relative_to_torch(name):
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    model = build_model_with_weights(load_config(None, [*COMMON, *NETWORKS[name]]), random_weights=True).eval()
    images = np.random.default_rng(0).uniform(0, 255, (16, 3, SIZE_PX, SIZE_PX)).astype(np.float32)
    forward = onnx_graph.ExportedForward(model, flip=False).eval()
    exact = onnx_graph.convert_to_onnx(onnx_graph.trace(forward, torch.from_numpy(images[:2]), any_size=True), opset=20)
    sessions = {
        "float32": open_session(exact, device=torch.device("cpu")),
        "int8": open_session(quantization.convert_precision(exact, "int8", images), device=torch.device("cpu")),
    }
    runs = {"torch": lambda batch: model(torch.from_numpy(batch))}
    for precision, session in sessions.items():
        runs[precision] = lambda batch, session=session: session.run(None, {"images": batch})
    for num in (1, 16):
        seconds = {kind: [] for kind in runs}
        for _ in range(NUM_RUNS):
            for kind, run in runs.items():
                start = time.perf_counter()
                with torch.inference_mode():
                    run(images[:num])
                seconds[kind].append(time.perf_counter() - start)
        medians = {kind: statistics.median(times[1:]) for kind, times in seconds.items()}
        print(
            f"\n{name}, {SIZE_PX} px, batch {num}, {torch.get_num_threads()} threads: onnxruntime is "
            f"{medians['torch'] / medians['float32']:.2f} times as fast as torch in float32, "
            f"{medians['torch'] / medians['int8']:.2f} times in int8"
        )
