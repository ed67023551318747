"""Settings with which a collection runs its model."""

import pytest
import torch
from index_pages import write_pages

from fastreid.index import embedder
from fastreid.index.embedder import Embedder
from fastreid.index.sources import Entry


@pytest.mark.parametrize(("device", "expected"), [("cpu", 4), ("cuda", 64)])
def test_batches_are_small_on_a_cpu(model, tmp_path, monkeypatch, device, expected):
    write_pages(tmp_path, ["a.png"])
    path = str(tmp_path / "a.png")
    sizes = []
    original = embedder.extract_features

    def extract_features(cfg, *args, **kwargs):
        sizes.append(cfg.TEST.IMS_PER_BATCH)
        return original(cfg, *args, **kwargs)

    monkeypatch.setattr(embedder, "extract_features", extract_features)
    monkeypatch.setattr(embedder, "resolve_device", lambda cfg: torch.device(device))
    monkeypatch.setattr(embedder, "CPU_BATCH_SIZE", 4)  # the model has 64
    drawings = Embedder(model).embed_drawings([Entry(path, 1, path, {}, str(tmp_path))])
    assert sizes == [expected]
    assert len(drawings.features) == 1
