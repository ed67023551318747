"""The index of a large collection relative to its own exact search: recall, time, memory, filters and changes.

BENCH_SHARE=1 uses 1,000,000 x 512 floats: 2 GiB on disk, and 2 GiB of memory for the exact search; the default is a
tenth. The features have the statistics of those of a network (`random_features.NetworkFeatures`).
"""

import dataclasses
import statistics
import subprocess
import sys
import time

import pytest
import torch
from random_features import NetworkFeatures, bench_share

import fastreid.index
from fastreid.index import IndexSettings, ModelIdentity
from fastreid.index.manifest import write_manifest

pytest.importorskip("lancedb", reason="the extra `search` is not installed")

MODEL, DIM, K, NUM_QUERIES = ModelIdentity("random features", "0" * 64), 512, 10, 30
FILTERS = {"no filter": "", "half": "number < 500", "a tenth": "number < 100", "a hundredth": "number < 10"}
SEARCH = """
import re, sys, time
import torch
import fastreid.index
from fastreid.index import ModelIdentity
def memory_mb():
    return int(re.search(r"VmRSS:\\s+(\\d+)", open("/proc/self/status").read())[1]) // 1024
queries, model = torch.load(sys.argv[2]), ModelIdentity("random features", "0" * 64)
torch.mv(queries, queries[0])  # loads the libraries of torch
collection, before_mb = fastreid.index.open(sys.argv[1]), memory_mb()
start = time.perf_counter()
collection.search_features(queries[:1], model=model, k=10)
first_s = time.perf_counter() - start
for query in queries:
    collection.search_features(query[None], model=model, k=10)
print(before_mb, memory_mb() - before_mb, round(first_s, 2))
"""


def make_rows(features, first, last):
    """Return metadata of some rows; `number` is 0 to 999 with equal frequency."""
    patents = features.patents[first:last].tolist()
    return [
        {
            "id": f"{row:08}",
            "patent": f"D{patent}",
            "number": row * 7919 % 1000,
            "path": f"/data/patents/D{patent}/{row:08}.png",
        }
        for row, patent in enumerate(patents, first)
    ]


def search(collection, query, where=""):
    return [hit.id for hit in collection.search_features(query[None], model=MODEL, k=K, where=where)]


def measure(function):
    """Return the result, the time and the processor time of a call, both in ms."""
    start, used = time.perf_counter(), time.process_time()
    result = function()
    return result, 1000 * (time.perf_counter() - start), 1000 * (time.process_time() - used)


def compare(exact, indexed, queries, where):
    """Return a line with the recall and the times of a filter; both searches alternate, so both see the same load."""
    recalls, times = [], []
    for collection in (exact, indexed):
        search(collection, queries[0], where)
    for query in queries:
        true, *exact_ms = measure(lambda q=query: search(exact, q, where))
        found, *index_ms = measure(lambda q=query: search(indexed, q, where))
        recalls.append(len(set(true) & set(found)) / len(true))
        times.append((*exact_ms, *index_ms))
    exact_ms, exact_cpu_ms, index_ms, index_cpu_ms = map(statistics.median, zip(*times))
    ratio = statistics.median(row[0] / row[2] for row in times)
    return (
        f"recall@{K} {statistics.mean(recalls):.3f}, {index_ms:.1f} ms ({index_cpu_ms:.1f} ms of processor time), "
        f"exact in memory {exact_ms:.1f} ms ({exact_cpu_ms:.1f} ms): {ratio:.1f} times as fast"
    )


def build(folder, features):
    """Create a collection of all drawings but the last hundredth; return it and the seconds."""
    num = len(features.patents)
    collection = fastreid.index.create(folder, model=MODEL, dim=DIM, settings=IndexSettings(exact_max_rows=num))
    duration, stop = 0.0, num - num // 100
    for first, block in features.iter_blocks():
        block = block[: max(0, stop - first)]
        rows = make_rows(features, first, first + len(block))
        duration += measure(lambda b=block, r=rows: collection.add_features(b, r, model=MODEL))[1] / 1000
    return collection, duration


@pytest.mark.benchmark
@pytest.mark.timeout(7200)
def test_index_of_a_large_collection(tmp_path, capsys):
    features = NetworkFeatures(int(1_000_000 * bench_share()), DIM)
    num, queries = len(features.patents), features.sample_queries(NUM_QUERIES)
    exact, added_s = build(tmp_path / "collection", features)
    settings = IndexSettings(exact_max_rows=num // 5)
    write_manifest(exact.folder, dataclasses.replace(exact.manifest, settings=settings))
    collection = fastreid.index.open(tmp_path / "collection")
    _, built_ms, built_cpu_ms = measure(collection.compact)
    queries_file = tmp_path / "queries.pt"
    torch.save(queries, queries_file)
    command = [sys.executable, "-c", SEARCH, str(collection.folder), str(queries_file)]
    memory = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    lines = [
        f"index, {collection.count()} x {DIM}: {collection.info()['search']}",
        f"additions without a network {added_s:.0f} s, compaction with the index {built_ms / 1000:.0f} s "
        f"({built_cpu_ms / 1000:.0f} s of processor time)",
        f"another process: {memory[0]} MiB after the imports, {memory[1]} more after {NUM_QUERIES} searches; the first "
        f"one took {memory[2]} s",
        *(f"{name}: {compare(exact, collection, queries, where)}" for name, where in FILTERS.items()),
    ]
    size_mb = {path.name: sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) >> 20
               for path in (tmp_path / "collection" / "lance" / "drawings.lance").iterdir()}  # fmt: skip
    lines.append(f"MiB on disk: {size_mb}")
    expected = [search(exact, query) for query in queries]
    exact._backend._matrix = None  # its memory
    lines += check_changes(collection, features, queries, expected)
    with capsys.disabled():
        print("\n" + "\n  ".join(lines))


def check_changes(collection, features, queries, expected):
    """Add, remove and compact; a reader sees each change. Return lines of measurements."""
    reader = fastreid.index.open(collection.folder)
    before = [search(reader, query) for query in queries]
    num = len(features.patents)
    first = num - num // 100
    block = features.sample_block(first, num)
    _, added_ms, _ = measure(lambda: collection.add_features(block, make_rows(features, first, num), model=MODEL))
    new = [f"{row:08}" for row in range(first, num)]
    assert [search(reader, block[row])[0] for row in range(10)] == new[:10]  # rows outside of the index
    outside_ms = statistics.median(measure(lambda q=query: search(reader, q))[1] for query in queries)
    _, removed_ms, _ = measure(lambda: collection.remove(where=f"id >= {new[0]}"))
    assert not {name for row in range(10) for name in search(reader, block[row])} & set(new)
    assert [search(reader, query) for query in queries] == before
    _, compacted_ms, _ = measure(collection.compact)
    after = [search(reader, query) for query in queries]
    recalls = [statistics.mean(len(set(a) & set(b)) / K for a, b in zip(found, expected)) for found in (before, after)]
    return [
        f"{len(new)} rows more: added in {added_ms / 1000:.1f} s, {outside_ms:.1f} ms a query before they are in the "
        f"index; removed in {removed_ms / 1000:.1f} s; compacted in {compacted_ms / 1000:.1f} s; recall@{K} "
        f"{recalls[0]:.3f} before and {recalls[1]:.3f} after"
    ]
