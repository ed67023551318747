"""Pages, a tiny model and additions in other processes, for the tests of collections."""

import json
from pathlib import Path

import numpy as np
import tiny_backbone  # noqa: F401  # registers the backbone of tiny.yml
import torch
from PIL import Image

from fastreid.engine.model import build_model_with_weights
from fastreid.engine.model_directory import ModelCard, save_model_directory
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


def add_in_small_batches(collection, folder, model, progress):
    """Add a folder in batches of two drawings; the file `progress` exists as soon as the addition starts."""
    import fastreid.index
    from fastreid.index import ingest

    ingest.BATCH_SIZE = 2
    is_new = not fastreid.index.exists(collection)
    opened = fastreid.index.create(collection, model=model) if is_new else fastreid.index.open(collection)
    opened.embedder.predictor  # noqa: B018  # loads the network
    Path(progress).write_text(json.dumps({"drawings": opened.count()}))
    opened.add([folder])
