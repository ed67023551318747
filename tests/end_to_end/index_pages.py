"""Pages, a tiny model and additions in other processes, for the tests of collections."""

import json
from pathlib import Path

import numpy as np
import tiny_backbone  # noqa: F401  # registers the backbone of tiny.yml
import torch
from PIL import Image

from fastreid.engine.model.directory import ModelCard, save_model_directory
from fastreid.engine.model.network import build_model_with_weights
from fastreid.engine.setup import load_config

TINY = Path(__file__).parent / "tiny.yml"


def write_model(folder, seed=0):
    """Write the model directory of a tiny network with random weights, and return its path."""
    torch.manual_seed(seed)
    cfg = load_config(TINY, ["MODEL.DEVICE", "cpu"])
    save_model_directory(folder, cfg, build_model_with_weights(cfg, random_weights=True), ModelCard("tiny"))
    return str(folder)


def draw_page(seed, size_px=64):
    """Return a page of random strokes, uint8 (H, W)."""
    rng = np.random.default_rng(seed)
    page = np.full((size_px, size_px), 255, np.uint8)
    for _ in range(12):
        row, column = rng.integers(0, size_px - 8, 2)
        page[row : row + rng.integers(1, 8), column : column + rng.integers(8, 40)] = 0
    return page


def write_pages(folder, names, first=0):
    """Write a page for each name, each with its own seed."""
    for seed, name in enumerate(names, first):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw_page(seed)).save(folder / name)


def add_in_small_batches(collection, folder, model, progress, hits=""):
    """Add a folder in batches of two drawings; the file `progress` exists as soon as the addition starts.

    With `hits`, a saved query that all drawings fulfill adds its new hits to this file.
    """
    import fastreid.index
    from fastreid.index import ingest
    from fastreid.index.hit_file import HitFile

    ingest.BATCH_SIZE = 2
    is_new = not fastreid.index.exists(collection)
    opened = fastreid.index.create(collection, model=model) if is_new else fastreid.index.open(collection)
    opened.embedder.predictor  # noqa: B018  # loads the network
    Path(progress).write_text(json.dumps({"drawings": opened.count()}))
    if not hits:
        opened.add([folder])
        return
    picture = str(next(Path(folder).rglob("*.png")))
    monitor = fastreid.index.QueryMonitor([fastreid.index.SavedQuery("all", (picture,), k=1000)])
    opened.add([folder], monitor=monitor)
    opened.report_hits(monitor, HitFile(Path(hits)).add)


SEVERAL_VALUES = (
    *("06-01|07-02", "07-02", "06-01", "06", "1|06-011", "a_b|c", "axb|c", "5%|x", "51|x", 'x|A\'s "B"', "c|a_b"),
    *("c|axb", None, "|".join(map(str, range(100, 140)))),
)
FILTERS_OF_SEVERAL_VALUES = (
    *("= 06-01", "= '06-01|07-02'", "!= 07-02", "= 06", "IN (06, 07-02, x)", "NOT IN (06, 07-02)", "STARTSWITH 06"),
    *(
        "STARTSWITH a_b",
        "= a_b",
        "= 5%",
        "STARTSWITH 5%",
        "= 'A''s \"B\"'",
        "STARTSWITH '06-01|0'",
        "IS NULL",
        "< 06-1",
    ),
    *("STARTSWITH ''", "= 120", "not startswith 12", "= ''"),
)


def check_several_values(collection, model, column):
    """Check that a back end agrees with `matches` on texts with several values in a column."""
    from fastreid.index.filter_syntax import parse_filter
    from fastreid.index.filters import matches

    rows = [{"id": str(number), column: value} for number, value in enumerate(SEVERAL_VALUES)]
    dim = collection.manifest.dim
    features = torch.eye(dim)[torch.arange(len(rows)) % dim]
    collection.add_features(features, rows, model=model)
    for condition in FILTERS_OF_SEVERAL_VALUES:
        where = f"NOT {column} {condition[4:]}" if condition.startswith("not ") else f"{column} {condition}"
        node = parse_filter(where, collection.columns())
        expected = {row["id"] for row in rows if matches(node, row)}
        found = {row["id"] for block in collection.scan(["id"], where) for row in block}
        assert found == expected, where
        found = {hit.id for hit in collection.search_features(features[:1], model=model, k=50, where=where)}
        assert found == expected, where
