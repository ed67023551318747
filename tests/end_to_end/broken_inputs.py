"""A folder with broken inputs of every kind: weights, features, pages and runs."""

import io
import os
import pickle

import numpy as np
import torch
from commands import TINY
from PIL import Image

from fastreid.evaluation.storage.manifest import Provenance
from fastreid.evaluation.storage.saved_features import FeaturePart, save_features
from fastreid.structures import Drawing, Embeddings
from fastreid.utils.checksums import write_with_checksum

DRAWINGS = tuple(Drawing(f"/x/{index}.png", f"{index}.png", str(index // 2)) for index in range(12))


def encode_page(kind, *, seed=0, **options):
    levels = np.random.default_rng(seed).integers(0, 256, (40, 32), dtype=np.uint8)
    memory = io.BytesIO()
    Image.fromarray(levels).save(memory, format=kind, **options)
    return memory.getvalue()


def broken_pages():
    valid = {kind: encode_page(kind.upper().replace("JPG", "JPEG").replace("TIF", "TIFF")) for kind in SUFFIXES}
    cut = {f"cut.{kind}": data[: len(data) * 2 // 3] for kind, data in valid.items()}
    memory = io.BytesIO()
    Image.fromarray(np.full((4, 4), np.nan, np.float32)).save(memory, format="TIFF")
    others = {"empty": b"", "text": b"not an image at all", "zeros": bytes(5000), "pnm": b"P5 2 2 255 abcd"}
    return cut | others | {"head.png": valid["png"][:33], "nan.tif": memory.getvalue()}


SUFFIXES = ("png", "jpg", "tif", "gif", "bmp")


def write_broken_inputs(folder, trained, drawings):
    """Fill a folder with broken variants of the weights of a trained run; `drawings` is the data root of tiny.yml."""
    (folder / "tiny.yml").write_text(TINY.read_text().replace("DATASETS:\n", f"DATASETS:\n  ROOT: {drawings}\n"))
    (folder / "variants.yml").write_text("rotations: {INPUT: {LINE_AUG: {OPS: [rot90]}}}\n")
    for name in ("pages", "bad", "run", "damaged", "bare"):
        (folder / name).mkdir()
    (folder / "outside.png").write_bytes(encode_page("PNG"))
    (folder / "pages/deep").mkdir()
    (folder / "pages/out.png").symlink_to(folder / "outside.png")
    (folder / "pages/far").symlink_to(folder)
    (folder / "pages/a.png").write_bytes(encode_page("PNG"))
    for index in range(16):
        (folder / f"pages/{index}.png").write_bytes(encode_page("PNG", seed=index))
    for name, content in (broken_pages() | {"../pages/bad.png": broken_pages()["cut.png"]}).items():
        (folder / "bad" / name).write_bytes(content)
    (folder / "run/metrics.json").write_text('{"iteration": 1, "total_loss": 1.0}\n')
    for name in ("damaged", "bare"):
        (folder / name / "last_checkpoint").write_text("model_0000.pth")
    write_weights(folder, torch.load(trained / "model_best.pth", weights_only=True)["model"])
    write_features(folder)


class RunsCommand:
    def __reduce__(self):
        return os.system, ("touch executed",)


def write_weights(folder, state):
    first, last = "backbone.conv1.weight", "heads.bottleneck.0.weight"
    bad = {
        "good": {"model": state},
        "tensor": torch.zeros(3),
        "other": {"model": state | {first: 3}},
        "empty": {"model": {}},
        "missing": {"model": {name: tensor for name, tensor in state.items() if name != first}},
        "extra": {"model": state | {"other.weight": torch.zeros(3)}},
        "wide": {"model": state | {"heads.weight": torch.zeros(3, 3)}},
        "nan": {"model": state | {first: state[first] * float("nan")}},
        "large": {"model": state | {last: torch.full_like(state[last], 3e38)}},
        "shape": {"model": state | {first: torch.zeros(64, 3, 3, 3)}},
    }
    for name, content in bad.items():
        torch.save(content, folder / f"{name}.pth")
    torch.save({"model": state}, folder / "bare/model_0000.pth")
    for name in ("damaged.pth", "damaged.safetensors", "damaged/model_0000.pth"):
        (folder / name).write_bytes(b"PK\x03\x04 damaged")
    (folder / "code.pth").write_bytes(pickle.dumps({"model": RunsCommand()}))
    with write_with_checksum(folder / "flipped.pth") as file:
        torch.save({"model": state}, file)
    content = bytearray((folder / "flipped.pth").read_bytes())
    content[-1000] ^= 1
    (folder / "flipped.pth").write_bytes(content)


def write_features(folder):
    for name in ("features", "unfinished", "changed", "zeros", "nan", "manifest"):
        features = torch.randn(12, 4, generator=torch.Generator().manual_seed(0))
        parts = [
            FeaturePart(part, Embeddings.from_drawings(features, DRAWINGS), DRAWINGS, "s")
            for part in ("queries", "gallery")
        ]
        if name in ("zeros", "nan"):
            features[3] *= 0 if name == "zeros" else float("nan")  # not checked, since the tensor is shared
        save_features(folder / name, parts, provenance=Provenance("Mine", "", "", {}, "", {}))
    (folder / "unfinished/manifest.json").unlink()
    (folder / "manifest/manifest.json").write_text("{}")
    (folder / "changed/gallery.npy").write_bytes((folder / "changed/gallery.npy").read_bytes()[:-1] + b"x")
