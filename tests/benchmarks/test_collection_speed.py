"""Collections relative to faiss and to plain extraction: one exact query, the index of a large one, and additions.

BENCH_SHARE=1 indexes 1,000,000 x 512 floats (2 GiB on disk); the default is a tenth.
"""

import dataclasses
import re
import statistics
import time
from pathlib import Path

import faiss
import pytest
import torch
from index_pages import write_model, write_pages
from random_features import bench_share

import fastreid.index
from fastreid.engine.features import extract_features
from fastreid.engine.model_zoo import load_model_config
from fastreid.engine.predictor import Predictor
from fastreid.index import IndexSettings, ModelIdentity
from fastreid.index.manifest import write_manifest
from fastreid.structures import Drawing

pytest.importorskip("lancedb", reason="the extra `search` is not installed")

MODEL, DIM, K, NUM_QUERIES, BLOCK = ModelIdentity("random features", "0" * 64), 512, 10, 30, 50_000


def median_ms(function, queries):
    """Return the median time of a call for each query, in ms, after one call that loads the data."""
    function(queries[0])
    times = []
    for query in queries:
        start = time.perf_counter()
        function(query)
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times)


def iter_features(num):
    """Yield (first row, features) of drawings in patents of seven, as those of DeepPatent."""
    generator = torch.Generator().manual_seed(0)
    centers = torch.randn(num // 7 + 1, DIM, generator=generator)
    for rows in torch.arange(num).split(BLOCK):
        yield int(rows[0]), centers[rows // 7] + 1.2 * torch.randn(len(rows), DIM, generator=generator)


def sample_queries(num):
    generator = torch.Generator().manual_seed(0)
    centers = torch.randn(num // 7 + 1, DIM, generator=generator)
    patents = torch.randint(0, len(centers), (NUM_QUERIES,), generator=generator)
    return centers[patents] + 1.2 * torch.randn(NUM_QUERIES, DIM, generator=generator)


def build(folder, num, **settings):
    collection = fastreid.index.create(folder, model=MODEL, dim=DIM, settings=IndexSettings(**settings))
    for first, features in iter_features(num):
        rows = [{"id": f"{row:08}", "patent": f"D{row // 7}"} for row in range(first, first + len(features))]
        collection.add_features(features, rows, model=MODEL)
    return collection


def memory_mb():
    return int(re.search(r"VmRSS:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024


@pytest.mark.benchmark
def test_one_exact_query(tmp_path, capsys):
    num = 100_000
    collection = build(tmp_path / "collection", num)
    flat = faiss.IndexFlatIP(DIM)
    for _, features in iter_features(num):
        flat.add(torch.nn.functional.normalize(features).numpy())
    queries = sample_queries(num)
    reference_ms = median_ms(lambda query: flat.search(query[None].numpy(), K), queries)
    lines = []
    for name, options in (
        ("all drawings", {}),
        ("grouped by patent", {"group": "patent"}),
        ("a filter passing half", {"where": "id < 00050000"}),
        ("a filter passing 70", {"where": "id < 00000070"}),
    ):
        ms = median_ms(lambda query, o=options: collection.search_features(query[None], model=MODEL, k=K, **o), queries)
        lines.append(f"  {name}: {ms:.1f} ms, {ms / reference_ms:.2f} times faiss IndexFlatIP ({reference_ms:.1f} ms)")
    with capsys.disabled():
        print(f"\none query, {num} x {DIM}, exact:\n" + "\n".join(lines))


@pytest.mark.benchmark
@pytest.mark.timeout(3600)
def test_index_of_a_large_collection(tmp_path, capsys):
    num = int(1_000_000 * bench_share())
    exact = build(tmp_path / "collection", num, exact_max_rows=num)
    queries = sample_queries(num)
    exact_ms = median_ms(lambda query: exact.search_features(query[None], model=MODEL, k=K), queries)
    expected = [{hit.id for hit in exact.search_features(query[None], model=MODEL, k=K)} for query in queries]
    settings = IndexSettings(exact_max_rows=num // 10)
    write_manifest(exact.folder, dataclasses.replace(exact.manifest, settings=settings))
    collection = fastreid.index.open(tmp_path / "collection")
    start = time.perf_counter()
    collection.compact()  # builds the index
    built_s = time.perf_counter() - start
    before_mb = memory_mb()
    ms = median_ms(lambda query: collection.search_features(query[None], model=MODEL, k=K), queries)
    used_mb = memory_mb() - before_mb
    found = [{hit.id for hit in collection.search_features(query[None], model=MODEL, k=K)} for query in queries]
    recall = statistics.mean(len(names & true) / K for names, true in zip(found, expected, strict=True))
    with capsys.disabled():
        print(
            f"\nIVF-PQ index, {num} x {DIM}: recall@{K} {recall:.3f}, {ms:.1f} ms a query, {exact_ms / ms:.1f} times "
            f"as fast as the exact search in memory ({exact_ms:.1f} ms); {used_mb:.0f} MiB; built in {built_s:.0f} s; "
            f"{collection.info()['search']}"
        )


@pytest.mark.benchmark
def test_addition_and_extraction(tmp_path, capsys):
    """The tiny network makes this the worst case: with a real one, the rest costs less in comparison."""
    model = write_model(tmp_path / "model")
    names = [f"D{number // 4}/{number}.png" for number in range(600)]
    write_pages(tmp_path / "pages", names)
    drawings = [Drawing(str(tmp_path / "pages" / name), name, name) for name in names]
    cfg = load_model_config(model)
    network = Predictor.from_cfg(cfg).model
    start = time.perf_counter()
    extract_features(cfg, network, drawings)
    extraction_s = time.perf_counter() - start
    collection = fastreid.index.create(tmp_path / "collection", model=model)
    start = time.perf_counter()
    report = collection.add([tmp_path / "pages"])
    addition_s = time.perf_counter() - start
    assert report.num_embedded == len(names)
    extra_ms = 1000 * (addition_s - extraction_s) / len(names)
    with capsys.disabled():
        print(
            f"\n{len(names)} drawings: addition {addition_s:.1f} s, {addition_s / extraction_s:.2f} times extraction "
            f"alone; {extra_ms:.2f} ms more for each drawing"
        )
