"""From files or the cache to the network's input, beside the reference's way written out plainly, in one run.

The reference decodes each sheet whole, makes three equal channels of it, and changes it step by step with Pillow.
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
# In a process of its own, whose memory holds nothing else; each share of what processes share counts once.
LOAD = """
import multiprocessing, re, sys, time, torch
from pathlib import Path
from fastreid.data.loading.loader import TestLoader, Workers
from fastreid.data.io.cache.store import PageCache
from fastreid.data.transforms.pipeline import Pipeline, Resize
from fastreid.structures import Drawing
torch.set_num_threads(1)
def memory_mib():
    held = 0
    for pid in ("self", *(worker.pid for worker in multiprocessing.active_children())):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text()
        held += sum(int(re.search(rf"{name}:\\s+(\\d+)", lines)[1]) for name in ("Pss_Anon", "Pss_Shmem"))
    return held / 1024
drawings = [Drawing(str(path), path.name, "1") for path in sorted(Path(sys.argv[1]).iterdir())] * 40
read, held = PageCache(Path(sys.argv[2]), longest_px=int(sys.argv[3])).read, 0
transform = Pipeline([Resize([256, 256], max_pixels=10**8)])
for _ in range(5):
    batches = iter(TestLoader(drawings, transform=transform, batch_size=64, workers=Workers(2, timeout_s=60), read=read))
    next(batches)  # the workers are there
    num, start = 0, time.perf_counter()
    for number, batch in enumerate(batches):
        held = max(held, memory_mib()) if number == 40 else held
        num += len(batch.rows)
    print(num / (time.perf_counter() - start))
print(held)
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


def cpu_ms(work, num, runs=RUNS):
    """CPU milliseconds a drawing, the median of several runs after one that warms up."""
    work()
    taken = []
    for _ in range(runs):
        start = time.process_time()
        work()
        taken.append(time.process_time() - start)
    return median(taken) / num * 1000


def reference_page(file):
    levels = np.asarray(Image.open(file).convert("L"))
    return Image.fromarray(np.repeat(levels[..., None], 3, axis=2))


def reference_transforms(size):
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


def our_transforms(size):
    cfg = get_cfg()
    switches = [item for name in ("AUTOAUG", "PADDING", "FLIP", "REA") for item in (f"INPUT.{name}.ENABLED", True)]
    cfg.merge_from_list(["INPUT.SIZE_TRAIN", [size, size], "INPUT.AUTOAUG.PROB", 0.1, *switches])
    return build_train_transforms(cfg)


@pytest.mark.benchmark
@pytest.mark.parametrize("size", [256, 384])
def test_training_input_from_the_cache_beside_the_reference(size, drawings, cache, capsys):
    transform, reference = our_transforms(size), reference_transforms(size)

    def ours():
        loader = TrainLoader(
            drawings,
            transform=transform,
            sampler=TrainingSampler(NUM, batch_size=BATCH, seed=0),
            batch_size=BATCH,
            seed=0,
            read=cache.read,
        )
        for _ in range(NUM // BATCH):
            next(loader)
        loader.close()

    def theirs():
        for start in range(0, NUM // 2, BATCH):
            torch.stack([reference(reference_page(drawing.path)) for drawing in drawings[start : start + BATCH]])

    mine, plain = cpu_ms(ours, NUM), cpu_ms(theirs, NUM // BATCH // 2 * BATCH or BATCH, runs=3)
    with capsys.disabled():
        print(
            f"\n{size} px, train transforms, from pages of {LONGEST_PX} px: {mine:.2f} CPU-ms a drawing, the "
            f"reference's way {plain:.1f}: {plain / mine:.1f} times"
        )


@pytest.mark.benchmark
@pytest.mark.parametrize("kind", FORMATS)
def test_the_first_pass_beside_the_references_decode_and_resize(kind, tmp_path, capsys):
    num = 12
    paths = write_sheets(tmp_path, num, kind)
    drawings = [Drawing(str(path), path.name, "1") for path in paths]
    turn = iter(range(1000))

    def ours():
        PageCache(tmp_path / f"cache{next(turn)}", longest_px=LONGEST_PX).fill(drawings)

    def theirs():
        for path in paths:
            page = reference_page(path)
            page.resize((round(page.width * LONGEST_PX / page.height), LONGEST_PX), Image.Resampling.BICUBIC)

    mine, plain = cpu_ms(ours, num), cpu_ms(theirs, num)
    cache = PageCache(tmp_path / "cache0", longest_px=LONGEST_PX)
    page = Image.open(paths[0]).convert("L")
    exact = np.asarray(
        page.resize((round(page.width * LONGEST_PX / page.height), LONGEST_PX), Image.Resampling.BICUBIC)
    )
    off = np.abs(cache.read(drawings[0]).astype(int) - exact)
    with capsys.disabled():
        print(
            f"\nfirst pass of {kind}: {mine:.1f} CPU-ms a sheet, written to the cache too; the reference's decode and "
            f"resize {plain:.1f}: {plain / mine:.1f} times; levels off plain bicubic: {off.mean():.2f} in the mean, "
            f"{off.max()} at most"
        )


@pytest.mark.benchmark
@pytest.mark.parametrize("longest_px", [LONGEST_PX, 320])
def test_two_workers_from_the_cache_without_augmentation(longest_px, drawings, tmp_path, capsys):
    cache = PageCache(tmp_path, longest_px=longest_px)
    cache.fill(drawings)
    num_pages, num_bytes = cache.size()
    words = (Path(drawings[0].path).parent, tmp_path, str(longest_px))
    run = subprocess.run([sys.executable, "-c", LOAD, *words], capture_output=True, text=True, check=True)
    *rates, held = map(float, run.stdout.split())
    with capsys.disabled():
        print(
            f"\ntwo workers, 256 px from pages of {longest_px} px ({num_bytes / num_pages / 1024:.1f} KiB each): "
            f"{median(rates):.0f} drawings a second ({min(rates):.0f} to {max(rates):.0f}); main process and workers "
            f"hold {held:.0f} MiB at the most, torch itself and shared memory included, the page cache not"
        )
