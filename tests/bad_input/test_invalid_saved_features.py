"""Damaged or invalid folders of saved features fail with a one-line message and the right exit code."""

import contextlib
import hashlib
import io
import json
import random
import shutil

import numpy as np
import pytest
import torch

from fastreid.evaluation.storage.manifest import Provenance, _compute_digest
from fastreid.evaluation.storage.saved_features import FeaturePart, find_feature_folders, load_features, save_features
from fastreid.structures import Drawing, Embeddings
from fastreid.utils.cli import explain_error
from fastreid.utils.errors import FastreidError, InputError, NumericalError, StorageError, WeightsError

PROVENANCE = Provenance("Mine", "", "", {}, "", {})
NUM, WIDTH = 6, 4


@pytest.fixture
def folder(tmp_path):
    """A valid folder of queries and gallery."""
    listed = tuple(Drawing(f"/x/{n}.png", f"{n}.png", str(n)) for n in range(NUM))
    features = torch.randn(NUM, WIDTH, generator=torch.Generator().manual_seed(0))
    parts = [
        FeaturePart(name, Embeddings.from_drawings(features + shift, listed), listed, "s")
        for name, shift in (("queries", 0), ("gallery", 1))
    ]
    save_features(tmp_path / "set", parts, provenance=PROVENANCE)
    return tmp_path / "set"


def edit(folder, name, change):
    """Change a file and update its digest in the manifest, like a folder that was written by hand."""
    path = folder / name
    path.write_bytes(change(path.read_bytes()))
    part, ending = name.split(".")
    content = json.loads((folder / "manifest.json").read_text())
    content["parts"][part][ending] = hashlib.sha256(path.read_bytes()).hexdigest()
    del content["sha256"]
    (folder / "manifest.json").write_text(json.dumps({**content, "sha256": _compute_digest(content)}))


def assert_load_fails(folder, error_type, message=""):
    """Check that loading raises this error with a one-line message that names the folder."""
    with pytest.raises(error_type, match=message) as caught:
        load_features(folder, "gallery")
    line, code = explain_error(caught.value)
    assert code == error_type.exit_code
    assert len(line.splitlines()) == 1
    assert str(folder) in line


def flip_bit(path, position, bit=0):
    content = bytearray(path.read_bytes())
    content[position] ^= 1 << bit
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["gallery.npy", "gallery.csv"])
@pytest.mark.parametrize("position", [0, 9, 60, -1])
def test_flipped_bit_is_detected(name, position, folder):
    flip_bit(folder / name, position)
    assert_load_fails(folder, WeightsError, "damaged or changed .* run `fastreid extract` again")


@pytest.mark.parametrize("name", ["gallery.npy", "gallery.csv"])
@pytest.mark.parametrize("length", [0, 5, 100, -1])
def test_truncated_file_is_detected(name, length, folder):
    (folder / name).write_bytes((folder / name).read_bytes()[:length])
    assert_load_fails(folder, WeightsError, "damaged or changed")


def test_swapped_files_are_detected(folder):
    shutil.move(folder / "queries.npy", folder / "other.npy")
    shutil.move(folder / "gallery.npy", folder / "queries.npy")
    shutil.move(folder / "other.npy", folder / "gallery.npy")
    assert_load_fails(folder, WeightsError, "gallery.npy: damaged or changed")


@pytest.mark.parametrize("name", ["gallery.npy", "gallery.csv"])
def test_missing_file_raises_storage_error(name, folder):
    (folder / name).unlink()
    assert_load_fails(folder, StorageError, f"{name}: cannot be read")


def test_folder_without_manifest_is_incomplete(folder):
    (folder / "manifest.json").unlink()
    assert_load_fails(folder, InputError, "no manifest.json, so the extraction into it did not finish")
    for path in (folder, folder.parent):
        with pytest.raises(InputError, match="did not finish"):
            find_feature_folders(path)


def test_folder_with_temporary_file_is_incomplete(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set/queries.npy.fastreid-tmp-abcdefgh").write_bytes(b"half")
    with pytest.raises(InputError, match="did not finish"):
        find_feature_folders(tmp_path)


@pytest.mark.parametrize(
    ("name", "message"), [("nowhere", "no such folder"), ("", "no features of queries and gallery")]
)
def test_folder_without_features_raises(name, message, tmp_path):
    (tmp_path / "pictures").mkdir()
    with pytest.raises(InputError, match=message):
        find_feature_folders(tmp_path / name)


def test_missing_part_lists_the_saved_ones(folder):
    with pytest.raises(
        InputError, match="contains features of queries, gallery, but not of train; see `fastreid extract --split`"
    ):
        load_features(folder, "train")


def test_unsupported_format_is_named(folder):
    text = (folder / "manifest.json").read_text().replace('"format": 1', '"format": 2')
    (folder / "manifest.json").write_text(text)
    assert_load_fails(folder, InputError, "features of format 2; this fastreid reads 1")


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b"null", b"\xff\xfe", b"[" * 100_000, b'{"format": 1}'])
def test_invalid_manifest_is_damaged(content, folder):
    (folder / "manifest.json").write_bytes(content)
    assert_load_fails(folder, WeightsError, "manifest.json: damaged")


def test_flipped_bits_of_the_manifest_are_detected(folder):
    original = (folder / "manifest.json").read_bytes()
    generator = random.Random(0)
    for _ in range(200):
        position, bit = generator.randrange(len(original)), generator.randrange(8)
        (folder / "manifest.json").write_bytes(original)
        flip_bit(folder / "manifest.json", position, bit)
        with contextlib.suppress(FastreidError):
            load_features(folder, "gallery")
            is_same = json.loads((folder / "manifest.json").read_bytes()) == json.loads(original)
            assert is_same  # another kind of white space


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"row,name,patent,camera,path", b"row,name,patent,path", "the header is not row,name,patent,camera,path"),
        (b"5,5.png,5,-1,/x/5.png\r\n", b"", "5 drawings, but 6 features"),
        (
            b"5,5.png,5,-1,/x/5.png\r\n",
            b"5,5.png,5,-1,/x/5.png\r\n6,6.png,6,-1,/x/6.png\r\n",
            "7 drawings, but 6 features",
        ),
        (b"5,5.png", b"4,5.png", "gallery.csv:7: not row 5"),
        (b"5,5.png,5,-1", b"5,5.png,5,one", "not row 5"),
        (b"5,5.png,5,-1", b"5,5.png,5", "not row 5"),
        (b"5,5.png,5", b'5,"5.png,5', "not row 5"),
    ],
)
def test_invalid_list_raises_with_its_line(old, new, message, folder):
    edit(folder, "gallery.csv", lambda content: content.replace(old, new))
    assert_load_fails(folder, InputError, message)


def as_npy(array):
    def change(content):
        file = io.BytesIO()
        np.save(file, array)
        return file.getvalue()

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (as_npy(np.ones((NUM, WIDTH))), r"float64 \(6, 4\), not exactly float32"),
        (as_npy(np.ones((NUM, WIDTH), ">f4")), r">f4 \(6, 4\), not exactly float32"),
        (as_npy(np.ones((WIDTH, NUM), "f4").T), "in C order"),
        (as_npy(np.ones((NUM + 1, WIDTH), "f4")), r"float32 \(7, 4\), not exactly float32 \(6, 4\)"),
        (as_npy(np.ones((NUM, WIDTH + 1), "f4")), r"float32 \(6, 5\), not"),
        (as_npy(np.ones(NUM * WIDTH, "f4")), r"float32 \(24,\), not"),
        (as_npy(np.array([{}])), "not a NumPy array"),
        (lambda content: content + b"\0\0\0\0", "not exactly float32"),
        (lambda content: content[:-4], "not a NumPy array, or truncated"),
        (lambda content: content.replace(b"NUMPY", b"NAMPY"), "not a NumPy array"),
        (lambda content: content[:10], "not a NumPy array"),
        (lambda content: content.replace(b"(6, 4)", b"(9, 9)"), "not a NumPy array"),
        (lambda content: content.replace(b"(6, 4)", b"(0, 4)"), "not"),
    ],
)
def test_invalid_array_raises(change, message, folder):
    edit(folder, "gallery.npy", change)
    assert_load_fails(folder, InputError, message)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0])
def test_invalid_features_are_named_by_their_drawings(value, folder):
    array = np.load(folder / "gallery.npy")
    array[3] = value
    edit(folder, "gallery.npy", as_npy(array))
    with pytest.raises(NumericalError, match=r"1 of 6 features are NaN, Inf or zero: 3\.png"):
        load_features(folder, "gallery")


def test_part_with_invalid_name_or_list_raises(folder):
    features, listed = load_features(folder, "gallery")
    with pytest.raises(InputError, match="unknown part 'query' of a dataset; available: queries, gallery, train"):
        FeaturePart("query", features, listed, "s")
    with pytest.raises(InputError, match="belong to another image list"):
        FeaturePart("queries", features, listed[::-1], "s")
