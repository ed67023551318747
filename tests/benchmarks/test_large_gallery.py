"""Exact search in a memory-mapped gallery relative to faiss's IVF-PQ, in time, memory and recall.

BENCH_SHARE=1 uses 1,000,000 x 512 floats (2 GiB on disk, and temporarily the same in faiss); the default is a tenth.
Memory is measured in a separate process that only searches.
"""

import subprocess
import sys
import time

import faiss
import numpy as np
import pytest
import torch
from random_features import bench_share

from fastreid.evaluation import nearest

WIDTH, NUM_QUERIES, TOP_K = 512, 1000, 10
SEARCH = """
import re, sys, time
import numpy as np, torch
from fastreid.evaluation import nearest
def peak_mb():  # VmHWM is of this process; resource.getrusage also contains the peak of the parent
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024
queries, gallery = (np.load(path, mmap_mode="r") for path in sys.argv[1:3])
nearest(np.array(queries[:50]), np.array(gallery[:500]), 10)  # loads the libraries of torch
before_mb = peak_mb()
start = time.perf_counter()
ranking = nearest(queries, gallery, 10)
duration = time.perf_counter() - start
np.save(sys.argv[3], ranking.indices.numpy())
print(duration, peak_mb() - before_mb, before_mb)
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Write queries and a gallery of drawings in patents of seven; return their paths."""
    folder, num = tmp_path_factory.mktemp("gallery"), int(1_000_000 * bench_share())
    generator = torch.Generator().manual_seed(0)
    centers = torch.randn(num // 7 + 1, WIDTH, generator=generator)
    gallery = np.lib.format.open_memmap(folder / "gallery.npy", "w+", np.float32, (num, WIDTH))
    for rows in torch.arange(num).split(20_000):
        features = centers[rows // 7] + 1.2 * torch.randn(len(rows), WIDTH, generator=generator)
        gallery[rows[0] : rows[-1] + 1] = features.numpy()
    gallery.flush()
    patents = torch.randint(0, len(centers), (NUM_QUERIES,), generator=generator)
    queries = centers[patents] + 1.2 * torch.randn(NUM_QUERIES, WIDTH, generator=generator)
    np.save(folder / "queries.npy", queries.numpy())
    return folder / "queries.npy", folder / "gallery.npy"


@pytest.mark.benchmark
def test_mapped_gallery_and_compressed_index(files, capsys):
    result = files[0].with_name("result.npy")
    command = [sys.executable, "-c", SEARCH, *map(str, files), str(result)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    exact_s, search_mb, before_mb = map(float, done.stdout.split())
    expected = np.load(result)

    queries, gallery = np.load(files[0]), np.load(files[1], mmap_mode="r")
    assert np.array_equal(expected[:5], nearest(queries[:5], gallery, TOP_K, precision="float32").indices.numpy())
    start = time.perf_counter()
    index = faiss.index_factory(WIDTH, f"IVF{int(len(gallery) ** 0.5)},PQ64", faiss.METRIC_INNER_PRODUCT)
    # By default, faiss also trains the codes for search by Hamming distance, which is not used below. This takes 1.5 s
    # for each of the 64 parts of a code on one thread, for any number of rows.
    index.do_polysemous_training = False
    sample = np.array(gallery[:: max(1, len(gallery) // 100_000)])
    faiss.normalize_L2(sample)
    index.train(sample)
    for first in range(0, len(gallery), 50_000):
        rows = np.array(gallery[first : first + 50_000])
        faiss.normalize_L2(rows)
        index.add(rows)
    build_s = time.perf_counter() - start
    faiss.normalize_L2(queries)
    lines = []
    for probes in (8, 32, 128):
        index.nprobe = probes
        start = time.perf_counter()
        _, rows = index.search(queries, TOP_K)
        search_s = time.perf_counter() - start
        recall = np.mean([len(set(found) & set(exact)) / TOP_K for found, exact in zip(rows, expected)])
        lines.append(
            f"  IVF-PQ64, {probes} lists probed: {search_s:.2f} s = {exact_s / search_s:.1f} times as fast as exact "
            f"search, recall@{TOP_K} {recall:.3f}"
        )
    with capsys.disabled():
        print(
            f"\nexact top-{TOP_K}, {NUM_QUERIES} queries, {len(gallery)} x {WIDTH} floats on disk: {exact_s:.1f} s\n"
            f"  {search_mb:.0f} MiB for the search, {search_mb + before_mb:.0f} MiB in total; the file has "
            f"{gallery.nbytes >> 20} MiB"
        )
        print("\n".join([*lines, f"  index built in {build_s:.0f} s"]))
