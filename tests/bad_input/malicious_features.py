"""Payloads that come as saved features, journals, caches and whitening: name -> Payload."""

import hashlib
import io
import json
import pickle
import sqlite3
import struct

import numpy as np
import torch
import zstandard
from malicious import LARGE, Payload, file, header, shell
from PIL import Image

from fastreid.data.io.cache.store import PageCache
from fastreid.engine.feature_journal import FeatureJournal
from fastreid.evaluation.storage.manifest import Provenance, _compute_digest
from fastreid.evaluation.storage.saved_features import FeaturePart, save_features
from fastreid.structures import Drawing, Embeddings

SIDE_PX = 17_000  # of a page of more than LARGE pixels
DRAWINGS = tuple(Drawing(f"/x/{n}.png", f"{n}.png", str(n)) for n in range(6))


def npy(text, *, version=(1, 0), length=None):
    data = text.encode("latin1")
    form = "<H" if version == (1, 0) else "<I"
    head = struct.pack(form, len(data) if length is None else length)
    return b"\x93NUMPY" + bytes(version) + head + data + bytes(96)


def features(content, *, name="gallery.npy", code=2):
    """A folder of features whose manifest vouches for a file that is something else."""

    def write(folder, marker):
        rows = Embeddings.from_drawings(torch.randn(6, 4), DRAWINGS)
        parts = [FeaturePart(part, rows, DRAWINGS, "s") for part in ("queries", "gallery")]
        save_features(folder / "set", parts, provenance=Provenance("Mine", "", "", {}, "", {}))
        path = folder / "set" / name
        if path.suffix != ".json":
            told = json.loads((folder / "set/manifest.json").read_text())
            told["parts"]["gallery"]["npy"] = hashlib.sha256(content(marker)).hexdigest()
            del told["sha256"]
            (folder / "set/manifest.json").write_text(json.dumps({**told, "sha256": _compute_digest(told)}))
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
    "features that are a bare pickle": features(lambda marker: pickle.dumps(shell(marker))),
    "features that are a bomb in a zip": features(npz),
    "features that are an object by their header": features(lambda marker: npy(FIELDS.format("'|O'", "(6, 4)"))),
    "features with code in their header": features(
        lambda marker: npy(FIELDS.format(f"__import__('os').system('touch {marker}')", "(6, 4)"))
    ),
    "features of 4 TB in 96 bytes": features(lambda marker: npy(FIELDS.format("'<f4'", f"({1 << 40}, 4)"))),
    "features with fewer rows than none": features(lambda marker: npy(FIELDS.format("'<f4'", "(-6, 4)"))),
    "features whose header is 4 GB long": features(lambda marker: npy("{}", version=(2, 0), length=(1 << 32) - 1)),
    "features whose header is brackets": features(lambda marker: npy("(" * 60_000)),
    "a manifest of brackets": features(lambda marker: b"[" * 5_000_000, name="manifest.json", code=6),
    "a manifest of a number without end": features(lambda marker: b"9" * 5_000_000, name="manifest.json", code=6),
}


def journal(num, width):
    """A record that says it holds this many floats, under the name that the list's journal has."""

    def write(folder, marker):
        name = FeatureJournal(folder, "origin", ())._name
        (folder / f"{name}-000000.journal").write_bytes(struct.pack("<QII", 0, num, width) + bytes(100))
        return folder

    return Payload("journal", write, 0)


def cached(change):
    """A cache with a row that was made by hand; the page is then read from its file."""

    def write(folder, marker):
        Image.new("L", (8, 8), 200).save(folder / "a.png")
        cache = PageCache(folder / "cache", longest_px=0)
        cache.fill([Drawing(str(folder / "a.png"), "a.png", "1")])
        cache.close()
        change(cache.path)
        return folder

    return Payload("cache", write, 0)


def with_bomb(path):
    [digest] = sqlite3.connect(path).execute("SELECT digest FROM pages").fetchone()
    squeezed = zstandard.ZstdCompressor(write_checksum=True).compress(digest + bytes(SIDE_PX * SIDE_PX))
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE pages SET page = ?, height = ?, width = ?", (squeezed, SIDE_PX, SIDE_PX))


OTHERS = {
    "a journal whose record is 64 exabytes": journal((1 << 32) - 1, (1 << 32) - 1),
    "a journal of rows of no float": journal((1 << 32) - 1, 0),
    "a cache whose page is a bomb": cached(with_bomb),
    "whitening that is pickled": file("w.safetensors", "whitening", lambda marker: pickle.dumps(shell(marker)), code=6),
    "whitening with a lying header": file("w.safetensors", "whitening", lambda m: header({}, 1 << 60), code=6),
}
HOSTILE_FEATURES = FEATURES | OTHERS
