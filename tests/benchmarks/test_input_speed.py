"""CPU time from files or the page cache to the network input, relative to fast-reid's steps.

The reference decodes each sheet in full, converts it to three equal channels, and transforms it with Pillow.
"""

import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import numpy as np
import pytest
import torch
from PIL import Image
from random_sheets import FORMATS, write_sheets
from torchvision.transforms import v2

from fastreid.config import get_cfg
from fastreid.data.io.cache.store import PageCache
from fastreid.data.loading.loader import TrainLoader
from fastreid.data.samplers.instance import TrainingSampler
from fastreid.data.transforms.build import build_train_transforms
from fastreid.structures import Drawing

NUM, BATCH, RUNS = 96, 32, 5
LONGEST_PX = 512
# Runs in a separate process, to measure its memory alone; shared pages are divided among the processes (PSS).
LOAD = """
import multiprocessing, re, sys, time, torch
from pathlib import Path
from fastreid.data.loading.loader import TestLoader, Workers
from fastreid.data.io.cache.store import PageCache
from fastreid.data.transforms.pipeline import Pipeline, Resize
from fastreid.structures import Drawing
torch.set_num_threads(1)
def memory_mb():
    total_kb = 0
    for pid in ("self", *(worker.pid for worker in multiprocessing.active_children())):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text()
        total_kb += sum(int(re.search(rf"{name}:\\s+(\\d+)", lines)[1]) for name in ("Pss_Anon", "Pss_Shmem"))
    return total_kb / 1024
drawings = [Drawing(str(path), path.name, "1") for path in sorted(Path(sys.argv[1]).iterdir())] * 40
read = PageCache(Path(sys.argv[2]), longest_px=int(sys.argv[3])).read
transform = Pipeline([Resize([256, 256], max_pixels=10**8)])
def measure(num_workers):  # drawings per second, and MiB in the middle of the pass
    workers = Workers(num_workers, timeout_s=60)
    batches = iter(TestLoader(drawings, transform=transform, batch_size=64, workers=workers, read=read))
    rows = next(batches).rows.tolist()  # all workers have started
    start = time.perf_counter()
    for index, batch in enumerate(batches):
        used_mb = memory_mb() if index == 40 else 0 if index < 40 else used_mb
        rows += batch.rows.tolist()
    rate = (len(drawings) - 64) / (time.perf_counter() - start)
    assert rows == list(range(len(drawings)))
    return rate, used_mb
print(measure(0)[0])
rates, used_mb = zip(*(measure(2) for _ in range(5)))
print(*rates, max(used_mb))
"""


@pytest.fixture(scope="module")
def drawings(tmp_path_factory):
    paths = write_sheets(tmp_path_factory.mktemp("sheets"), NUM)
    return [Drawing(str(path), path.name, str(row // 4)) for row, path in enumerate(paths)]


@pytest.fixture(scope="module")
def cache(drawings, tmp_path_factory):
    cache = PageCache(tmp_path_factory.mktemp("cache"), longest_px=LONGEST_PX)
    cache.fill(drawings)
    return cache


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def cpu_ms(function, num, runs=RUNS):
    """Return the CPU milliseconds per drawing, the median of several runs after one that warms up."""
    function()
    durations = []
    for _ in range(runs):
        start = time.process_time()
        function()
        durations.append(time.process_time() - start)
    return median(durations) / num * 1000


def read_reference_page(file):
    levels = np.asarray(Image.open(file).convert("L"))
    return Image.fromarray(np.repeat(levels[..., None], 3, axis=2))


def build_reference_transforms(size):
    return v2.Compose(
        [
            v2.RandomApply([v2.AutoAugment()], 0.1),
            v2.Resize((size, size), interpolation=v2.InterpolationMode.BICUBIC),
            v2.Pad(10),
            v2.RandomCrop((size, size)),
            v2.RandomHorizontalFlip(),
            v2.PILToTensor(),
            v2.ToDtype(torch.float32),
            v2.RandomErasing(0.5, value=[123.675, 116.28, 103.53]),
        ]
    )


def build_our_transforms(size):
    cfg = get_cfg()
    switches = [item for name in ("AUTOAUG", "PADDING", "FLIP", "REA") for item in (f"INPUT.{name}.ENABLED", True)]
    cfg.merge_from_list(["INPUT.SIZE_TRAIN", [size, size], "INPUT.AUTOAUG.PROB", 0.1, *switches])
    return build_train_transforms(cfg)


@pytest.mark.benchmark
@pytest.mark.parametrize("size", [256, 384])
def test_training_input_from_the_cache(size, drawings, cache, capsys):
    transform, reference = build_our_transforms(size), build_reference_transforms(size)

    def run_ours():
        loader = TrainLoader(
            drawings,
            transform=transform,
            sampler=TrainingSampler(NUM, batch_size=BATCH, seed=0),
            batch_size=BATCH,
            seed=0,
            read=cache.read,
        )
        batches = [next(loader) for _ in range(NUM // BATCH)]
        loader.close()
        return batches

    def run_reference():
        for start in range(0, NUM // 2, BATCH):
            torch.stack([reference(read_reference_page(drawing.path)) for drawing in drawings[start : start + BATCH]])

    assert [batch.images.shape for batch in run_ours()] == [(BATCH, 3, size, size)] * (NUM // BATCH)
    ours_ms = cpu_ms(run_ours, NUM)
    reference_ms = cpu_ms(run_reference, NUM // BATCH // 2 * BATCH or BATCH, runs=3)
    with capsys.disabled():
        print(
            f"\ntraining input of {size} px from pages of {LONGEST_PX} px: {ours_ms:.2f} CPU-ms per drawing, "
            f"reference {reference_ms:.1f}: {reference_ms / ours_ms:.1f} times as fast"
        )


@pytest.mark.benchmark
@pytest.mark.parametrize("file_format", FORMATS)
def test_first_pass_over_files(file_format, tmp_path, capsys):
    num = 12
    paths = write_sheets(tmp_path, num, file_format)
    drawings = [Drawing(str(path), path.name, "1") for path in paths]
    run_index = iter(range(1000))

    def run_ours():
        PageCache(tmp_path / f"cache{next(run_index)}", longest_px=LONGEST_PX).fill(drawings)

    def run_reference():
        for path in paths:
            page = read_reference_page(path)
            page.resize((round(page.width * LONGEST_PX / page.height), LONGEST_PX), Image.Resampling.BICUBIC)

    ours_ms, reference_ms = cpu_ms(run_ours, num), cpu_ms(run_reference, num)
    cache = PageCache(tmp_path / "cache0", longest_px=LONGEST_PX)
    page = Image.open(paths[0]).convert("L")
    exact = np.asarray(
        page.resize((round(page.width * LONGEST_PX / page.height), LONGEST_PX), Image.Resampling.BICUBIC)
    )
    difference = np.abs(cache.read(drawings[0]).astype(int) - exact)
    assert difference.mean() < 8  # gray levels
    with capsys.disabled():
        print(
            f"\nfirst pass of {file_format}: {ours_ms:.1f} CPU-ms per sheet with writing to the cache, reference "
            f"decode and resize {reference_ms:.1f}: {reference_ms / ours_ms:.1f} times as fast; difference to bicubic "
            f"in gray levels: mean {difference.mean():.2f}, maximum {difference.max()}"
        )


@pytest.mark.benchmark
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("longest_px", [LONGEST_PX, 320])
def test_two_workers_from_the_cache(longest_px, drawings, tmp_path, capsys):
    cache = PageCache(tmp_path, longest_px=longest_px)
    cache.fill(drawings)
    num_pages, num_bytes = cache.size()
    arguments = (Path(drawings[0].path).parent, tmp_path, str(longest_px))
    run = subprocess.run([sys.executable, "-c", LOAD, *arguments], capture_output=True, text=True, check=True)
    without_workers, *rates, peak_mb = map(float, run.stdout.split())
    with capsys.disabled():
        print(
            f"\ntwo workers, 256 px from pages of {longest_px} px ({num_bytes / num_pages / 1024:.1f} KiB each): "
            f"{median(rates):.0f} drawings per second ({min(rates):.0f} to {max(rates):.0f}), "
            f"{median(rates) / without_workers:.2f} times as fast as without workers; peak memory of main process and "
            f"workers {peak_mb:.0f} MiB, with torch and shared memory but without the system's file cache"
        )
