"""The challenge's whole test by its command: files of DeepPatent's number and scans' size, network, expansion, result.npy.

Some hundred drawn sheets stand under all names, so each is decoded and worked through as often as real ones would be.
BENCH_SHARE=1 takes all 51,967; by itself a tenth. On a CPU the network alone takes hours: give it a thousandth.
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
from random_features import patents_of
from random_sheets import encoded, sheet

REPOSITORY = Path(__file__).parents[2]
CONFIG = REPOSITORY / "configs/patent/sbs_R101-ibn_patent_test.yml"
DISTINCT = 256
WORKERS = max(1, (os.cpu_count() or 1) - 1)


def one_sheet(seed):
    return encoded(sheet(seed), "1-bit PNG")


def write_test_set(root, num):
    """`num` of queries and of database drawings in the challenge's layout."""
    with ProcessPoolExecutor() as pool:
        files = list(pool.map(one_sheet, range(DISTINCT), chunksize=8))
    for part, number in num.items():
        folder = root / "test_data" / part
        folder.mkdir(parents=True)
        names = [f"{row:05}.png" for row in range(number)]
        for row, name in enumerate(names):
            if row < DISTINCT:
                (folder / name).write_bytes(files[row])
            else:
                os.link(folder / names[row % DISTINCT], folder / name)
        (root / "test_data/lists").mkdir(exist_ok=True)
        (root / f"test_data/lists/test_{part}.txt").write_text("\n".join(names) + "\n")


@pytest.mark.benchmark
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("kind", ["bfloat16", "float32"])  # fresh weights overflow in float16
def test_the_challenge_s_test_by_its_command(kind, tmp_path, capsys):
    on_gpu = torch.cuda.is_available()
    num = {"queries": len(patents_of("test_query_patent")), "database": len(patents_of("test_db_patent"))}
    write_test_set(tmp_path, num)
    words = ["DATASETS.ROOT", tmp_path, "OUTPUT_DIR", tmp_path / "out", "MODEL.DEVICE", "cuda" if on_gpu else "cpu"]
    words += ["TEST.NETWORK_PRECISION", kind, "TEST.IMS_PER_BATCH", 128, "DATALOADER.NUM_WORKERS", WORKERS]
    command = [sys.executable, "-m", "fastreid", "test", "--config-file", CONFIG, "--random-weights"]
    start = time.perf_counter()
    done = subprocess.run(
        list(map(str, [*command, *words, "MODEL.WEIGHTS", "", "MODEL.BACKBONE.PRETRAIN", False])),
        capture_output=True,
        cwd=tmp_path,
        text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    taken = time.perf_counter() - start
    assert done.returncode == 0, done.stdout + done.stderr
    assert np.load(tmp_path / "out/result.npy").shape == (num["queries"], 10)
    with capsys.disabled():
        print(f"\nthe challenge's test, {num}, {kind}, {WORKERS} workers: {taken:.0f} s in all; its log:")
        print("\n".join(line for line in done.stdout.splitlines() if "features" in line or "rank" in line))
