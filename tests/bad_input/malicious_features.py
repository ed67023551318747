"""Malicious saved features, journals, caches and whitening files: name -> Payload."""

import hashlib
import io
import json
import pickle
import sqlite3
import struct

import numpy as np
import torch
import zstandard
from malicious import LARGE, Payload, header, shell, single_file
from PIL import Image

from fastreid.data.io.cache.store import PageCache
from fastreid.engine.features.journal import FeatureJournal
from fastreid.evaluation.storage.manifest import Provenance, _compute_digest
from fastreid.evaluation.storage.saved_features import FeaturePart, save_features
from fastreid.structures import Drawing, Embeddings

SIDE_PX = 17_000  # side of a page with more than LARGE pixels
DRAWINGS = tuple(Drawing(f"/x/{n}.png", f"{n}.png", str(n)) for n in range(6))


def npy(text, *, version=(1, 0), length=None):
    data = text.encode("latin1")
    form = "<H" if version == (1, 0) else "<I"
    head = struct.pack(form, len(data) if length is None else length)
    return b"\x93NUMPY" + bytes(version) + head + data + bytes(96)


def features(content, *, name="gallery.npy", code=2):
    """Return a payload of a features folder whose manifest contains the checksum of a malicious file."""

    def write(folder, marker):
        rows = Embeddings.from_drawings(torch.randn(6, 4), DRAWINGS)
        parts = [FeaturePart(part, rows, DRAWINGS, "s") for part in ("queries", "gallery")]
        save_features(folder / "set", parts, provenance=Provenance("Mine", "", "", {}, "", {}))
        path = folder / "set" / name
        if path.suffix != ".json":
            manifest = json.loads((folder / "set/manifest.json").read_text())
            manifest["parts"]["gallery"]["npy"] = hashlib.sha256(content(marker)).hexdigest()
            del manifest["sha256"]
            (folder / "set/manifest.json").write_text(json.dumps({**manifest, "sha256": _compute_digest(manifest)}))
        path.write_bytes(content(marker))
        return folder / "set"

    return Payload("features", write, code)


def pickled_array(marker):
    memory = io.BytesIO()
    np.save(memory, np.array([[shell(marker)]], dtype=object), allow_pickle=True)
    return memory.getvalue()


def npz(marker):
    memory = io.BytesIO()
    np.savez_compressed(memory, features=np.zeros(LARGE // 4, "f4"))
    return memory.getvalue()


FIELDS = "{{'descr': {}, 'fortran_order': False, 'shape': {}, }}\n"
FEATURES = {
    "features that are pickled": features(pickled_array),
    "features that are a plain pickle": features(lambda marker: pickle.dumps(shell(marker))),
    "features that are a zip bomb": features(npz),
    "features with an object dtype": features(lambda marker: npy(FIELDS.format("'|O'", "(6, 4)"))),
    "features with code in their header": features(
        lambda marker: npy(FIELDS.format(f"__import__('os').system('touch {marker}')", "(6, 4)"))
    ),
    "features of 4 TB in 96 bytes": features(lambda marker: npy(FIELDS.format("'<f4'", f"({1 << 40}, 4)"))),
    "features with a negative number of rows": features(lambda marker: npy(FIELDS.format("'<f4'", "(-6, 4)"))),
    "features with a header of 4 GB": features(lambda marker: npy("{}", version=(2, 0), length=(1 << 32) - 1)),
    "features with a header of only brackets": features(lambda marker: npy("(" * 60_000)),
    "a manifest of only brackets": features(lambda marker: b"[" * 5_000_000, name="manifest.json", code=6),
    "a manifest of one endless number": features(lambda marker: b"9" * 5_000_000, name="manifest.json", code=6),
}


def journal(num, width):
    """Return a payload of a journal whose record claims to have this many floats."""

    def write(folder, marker):
        name = FeatureJournal(folder, "origin", ())._name
        (folder / f"{name}-000000.journal").write_bytes(struct.pack("<QII", 0, num, width) + bytes(100))
        return folder

    return Payload("journal", write, 0)


def cached(change):
    """Return a payload of a cache with a manipulated row; the page is then read from its image file."""

    def write(folder, marker):
        Image.new("L", (8, 8), 200).save(folder / "a.png")
        cache = PageCache(folder / "cache", longest_px=0)
        cache.fill([Drawing(str(folder / "a.png"), "a.png", "1")])
        cache.close()
        change(cache.path)
        return folder

    return Payload("cache", write, 0)


def insert_bomb(path):
    [digest] = sqlite3.connect(path).execute("SELECT digest FROM pages").fetchone()
    squeezed = zstandard.ZstdCompressor(write_checksum=True).compress(digest + bytes(SIDE_PX * SIDE_PX))
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE pages SET page = ?, height = ?, width = ?", (squeezed, SIDE_PX, SIDE_PX))


OTHERS = {
    "a journal with a record of 64 exabytes": journal((1 << 32) - 1, (1 << 32) - 1),
    "a journal with rows of width 0": journal((1 << 32) - 1, 0),
    "a cache whose page is a compression bomb": cached(insert_bomb),
    "whitening that is a pickle": single_file(
        "w.safetensors", "whitening", lambda marker: pickle.dumps(shell(marker)), code=6
    ),
    "whitening with a wrong header length": single_file(
        "w.safetensors", "whitening", lambda m: header({}, 1 << 60), code=6
    ),
}
MALICIOUS_FEATURES = FEATURES | OTHERS
