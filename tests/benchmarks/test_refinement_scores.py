"""mAP of collections of real drawings with and without query expansion and re-ranking of the best 200 results."""

import statistics
import time
from pathlib import Path

import pytest

import fastreid.index
from fastreid.index import Refinement

pytest.importorskip("lancedb", reason="the extra `search` is not installed")

DATA = Path(__file__).parents[3] / "shared/data"
ORDERS = {
    "by score": None,
    "query expansion": Refinement(expand=True),
    "k-reciprocal": Refinement(rerank="k-reciprocal"),
    "SuperGlobal": Refinement(rerank="superglobal"),
    "query expansion, k-reciprocal": Refinement(expand=True, rerank="k-reciprocal"),
}


def average_precision(patents, patent, num):
    """Return the average precision of a ranking of patents, of which `num` are the one of the query."""
    ranks = [rank for rank, one in enumerate(patents, 1) if one == patent]
    return sum(found / rank for found, rank in enumerate(ranks, 1)) / num


@pytest.mark.benchmark
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("dataset", ["uspto_design", "uspto_2007"])
def test_refinement_of_real_drawings(tmp_path, capsys, dataset):
    folder = DATA / dataset / "train_data"
    if not folder.is_dir():
        pytest.skip(f"there is no {folder}")
    collection = fastreid.index.create(tmp_path / "collection")
    collection.add([folder / "val_db_patent.txt"])
    lines = [line.split() for line in (folder / "val_query_patent.txt").read_text().splitlines()]
    pages = [str(folder / "patent_data" / path) for path, _ in lines]
    features = collection.embedder.embed_pictures(pages)
    counts = {patent: collection.count(f"patent = {patent}") for _, patent in lines}
    print_lines = []
    for name, refinement in ORDERS.items():
        precisions, is_first, start = [], [], time.perf_counter()
        for query, (_, patent) in zip(features, lines, strict=True):
            found = collection.search(features=query[None], k=200, refinement=refinement)
            precisions.append(average_precision([hit.patent for hit in found], patent, counts[patent]))
            is_first.append(found[0].patent == patent)
        ms = 1000 * (time.perf_counter() - start) / len(lines)
        scores = f"mAP {100 * statistics.mean(precisions):.1f}, Rank-1 {100 * statistics.mean(is_first):.1f}"
        print_lines.append(f"  {name}: {scores}, {ms:.0f} ms a query")
    with capsys.disabled():
        print(f"\n{dataset}, {len(lines)} queries, best 200 of {collection.count()}:\n" + "\n".join(print_lines))
