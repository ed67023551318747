"""A gallery that stays in its file: exact search beside faiss's IVF-PQ, in time, memory and recall.

BENCH_SHARE=1 takes 1,000,000 x 512 floats (2 GiB on the disk, and as much again for a moment in faiss); by itself a tenth.
Memory is measured in a process of its own, which sees nothing but the two files.
"""

import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from random_features import share_of_the_test

from fastreid.evaluation import nearest

WIDTH, NUM_QUERIES, TOP_K = 512, 1000, 10
SEARCH = """
import re, sys, time
import numpy as np, torch
from fastreid.evaluation import nearest
def peak_mib():  # of this process alone; resource.getrusage also has what the one that started it held
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024
queries, gallery = (np.load(path, mmap_mode="r") for path in sys.argv[1:3])
nearest(np.array(queries[:50]), np.array(gallery[:500]), 10)  # what torch loads at its first work
held = peak_mib()
start = time.perf_counter()
found = nearest(queries, gallery, 10)
taken = time.perf_counter() - start
np.save(sys.argv[3], found.indices.numpy())
print(taken, peak_mib() - held, held)
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Queries and a gallery of drawings in patents of seven, written in pieces."""
    folder, num = tmp_path_factory.mktemp("gallery"), int(1_000_000 * share_of_the_test())
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(num // 7 + 1, WIDTH, generator=generator)
    gallery = np.lib.format.open_memmap(folder / "gallery.npy", "w+", np.float32, (num, WIDTH))
    for rows in torch.arange(num).split(20_000):
        drawn = centres[rows // 7] + 1.2 * torch.randn(len(rows), WIDTH, generator=generator)
        gallery[rows[0] : rows[-1] + 1] = drawn.numpy()
    gallery.flush()
    chosen = torch.randint(0, len(centres), (NUM_QUERIES,), generator=generator)
    queries = centres[chosen] + 1.2 * torch.randn(NUM_QUERIES, WIDTH, generator=generator)
    np.save(folder / "queries.npy", queries.numpy())
    return folder / "queries.npy", folder / "gallery.npy"


@pytest.mark.benchmark
def test_a_mapped_gallery_beside_a_compressed_index(files, capsys):
    faiss = pytest.importorskip("faiss")
    found = files[0].with_name("found.npy")
    command = [sys.executable, "-c", SEARCH, *map(str, files), str(found)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    exact, beside, held = map(float, done.stdout.split())
    wanted = np.load(found)

    queries, gallery = np.load(files[0]), np.load(files[1], mmap_mode="r")
    assert np.array_equal(wanted[:5], nearest(queries[:5], gallery, TOP_K, precision="float32").indices.numpy())
    start = time.perf_counter()
    index = faiss.index_factory(WIDTH, f"IVF{int(len(gallery) ** 0.5)},PQ64", faiss.METRIC_INNER_PRODUCT)
    sample = np.array(gallery[:: max(1, len(gallery) // 100_000)])
    faiss.normalize_L2(sample)
    index.train(sample)
    for first in range(0, len(gallery), 50_000):
        rows = np.array(gallery[first : first + 50_000])
        faiss.normalize_L2(rows)
        index.add(rows)
    built = time.perf_counter() - start
    faiss.normalize_L2(queries)
    lines = []
    for probes in (8, 32, 128):
        index.nprobe = probes
        start = time.perf_counter()
        _, rows = index.search(queries, TOP_K)
        taken = time.perf_counter() - start
        recall = np.mean([len(set(one) & set(other)) / TOP_K for one, other in zip(rows, wanted)])
        lines.append(f"  IVF-PQ64, {probes} lists looked into: {taken:.2f} s, recall@{TOP_K} {recall:.3f}")
    with capsys.disabled():
        print(f"\nexact top-{TOP_K} of {NUM_QUERIES} queries in {len(gallery)} x {WIDTH} mapped floats: {exact:.1f} s,")
        print(
            f"  {beside:.0f} MiB more at the most, {beside + held:.0f} MiB in all; the file has {gallery.nbytes >> 20} "
            "MiB"
        )
        print("\n".join([*lines, f"  built in {built:.0f} s"]))
