"""Collections relative to faiss and to plain extraction: one exact query, and additions."""

import statistics
import time

import faiss
import pytest
import torch
from index_pages import write_model, write_pages

import fastreid.index
from fastreid.engine.features.extract import extract_features
from fastreid.engine.model.zoo import load_model_config
from fastreid.engine.predictor import Predictor
from fastreid.index import ModelIdentity
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


def build(folder, num):
    collection = fastreid.index.create(folder, model=MODEL, dim=DIM)
    for first, features in iter_features(num):
        rows = [{"id": f"{row:08}", "patent": f"D{row // 7}"} for row in range(first, first + len(features))]
        collection.add_features(features, rows, model=MODEL)
    return collection


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
