"""Time of the challenge's whole test by its command, relative to the network alone on images that are in memory.

The command decodes, extracts features, expands queries, searches, and writes result.npy.
The files have the number of DeepPatent's test drawings and the size of its scans. They are links to 256 random sheets,
and each is decoded and processed. BENCH_SHARE=1 uses all 51,967; the default is a tenth. On a CPU use
BENCH_SHARE=0.001, because the network takes hours for all.
"""

import os
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from random_features import load_patents
from random_sheets import encode_sheet, make_sheet
from reference_network import random_images

from fastreid.engine.features.inference import compute_features, eval_mode
from fastreid.engine.model.network import to_device
from fastreid.engine.setup import load_config
from fastreid.modeling import build_model

REPOSITORY = Path(__file__).parents[2]
CONFIG = REPOSITORY / "configs/patent/sbs_R101-ibn_patent_test.yml"
NUM_SHEETS, BATCH = 256, 128
WORKERS = max(1, (os.cpu_count() or 1) - 1)


def make_file(seed):
    return encode_sheet(make_sheet(seed), "1-bit PNG")


def write_test_set(root, num):
    """Write `num` files of queries and gallery in the layout of the challenge."""
    with ProcessPoolExecutor() as pool:
        files = list(pool.map(make_file, range(NUM_SHEETS), chunksize=8))
    for part, num_files in num.items():
        folder = root / "test_data" / part
        folder.mkdir(parents=True)
        names = [f"{row:05}.png" for row in range(num_files)]
        for row, name in enumerate(names):
            if row < NUM_SHEETS:
                (folder / name).write_bytes(files[row])
            else:
                os.link(folder / names[row % NUM_SHEETS], folder / name)
        (root / "test_data/lists").mkdir(exist_ok=True)
        (root / f"test_data/lists/test_{part}.txt").write_text("\n".join(names) + "\n")


def seconds_of_network(num, device, dtype):
    """Return the time of the network alone for `num` images, from that of a batch; the first call warms up."""
    cfg = load_config(CONFIG, ["MODEL.DEVICE", device, "MODEL.BACKBONE.PRETRAIN", False])
    model = to_device(cfg, build_model(cfg, num_classes=2))
    images = random_images(min(BATCH, num), cfg.INPUT.SIZE_TEST[0]).contiguous().to(device)
    dtype = None if dtype == "float32" else getattr(torch, dtype)
    with eval_mode(model):
        for _ in range(2):
            start = time.perf_counter()
            compute_features(model, images, dtype=dtype)  # waits for the GPU
    return (time.perf_counter() - start) / len(images) * num


@pytest.mark.benchmark
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])  # random weights overflow in float16
def test_challenge_test_by_command(dtype, tmp_path, capsys):
    on_gpu = torch.cuda.is_available()
    num = {"queries": len(load_patents("test_query_patent")), "database": len(load_patents("test_db_patent"))}
    write_test_set(tmp_path, num)
    options = ["DATASETS.ROOT", tmp_path, "OUTPUT_DIR", tmp_path / "out", "MODEL.DEVICE", "cuda" if on_gpu else "cpu"]
    options += ["TEST.NETWORK_PRECISION", dtype, "TEST.IMS_PER_BATCH", BATCH, "DATALOADER.NUM_WORKERS", WORKERS]
    command = [sys.executable, "-m", "fastreid", "test", "--config-file", CONFIG, "--random-weights"]
    start = time.perf_counter()
    done = subprocess.run(
        list(map(str, [*command, *options, "MODEL.WEIGHTS", "", "MODEL.BACKBONE.PRETRAIN", False])),
        capture_output=True,
        cwd=tmp_path,
        text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    duration = time.perf_counter() - start
    assert done.returncode == 0, done.stdout + done.stderr
    assert np.load(tmp_path / "out/result.npy").shape == (num["queries"], 10)
    network_s = seconds_of_network(sum(num.values()), "cuda" if on_gpu else "cpu", dtype)
    with capsys.disabled():
        rate = sum(num.values()) / duration
        print(
            f"\nchallenge test, {num}, {dtype}, {WORKERS} workers: {duration:.0f} s, {rate:.1f} drawings per second, "
            f"{duration / network_s:.2f} times the network alone ({network_s:.0f} s):"
        )
        print("\n".join(line for line in done.stdout.splitlines() if "features" in line or "rank" in line))
