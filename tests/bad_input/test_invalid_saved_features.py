"""Folders of saved features that are refused, whatever happened to them, in one line and with the right exit code."""

import contextlib
import hashlib
import io
import json
import random
import shutil

import numpy as np
import pytest
import torch

from fastreid.evaluation.storage.manifest import Provenance, _digest
from fastreid.evaluation.storage.saved_features import FeaturePart, find_feature_folders, load_features, save_features
from fastreid.structures import Drawing, Embeddings
from fastreid.utils.cli import explain_error
from fastreid.utils.errors import FastreidError, InputError, NumericalError, StorageError, WeightsError

PROVENANCE = Provenance("Mine", "", "", {}, "", {})
NUM, WIDTH = 6, 4


@pytest.fixture
def folder(tmp_path):
    """A whole folder of queries and gallery."""
    listed = tuple(Drawing(f"/x/{n}.png", f"{n}.png", str(n)) for n in range(NUM))
    features = torch.randn(NUM, WIDTH, generator=torch.Generator().manual_seed(0))
    parts = [
        FeaturePart(name, Embeddings.from_drawings(features + shift, listed), listed, "s")
        for name, shift in (("queries", 0), ("gallery", 1))
    ]
    save_features(tmp_path / "set", parts, provenance=PROVENANCE)
    return tmp_path / "set"


def edit(folder, name, change):
    """Change a file and make the manifest agree, as somebody would who makes such a folder by hand."""
    path = folder / name
    path.write_bytes(change(path.read_bytes()))
    part, ending = name.split(".")
    content = json.loads((folder / "manifest.json").read_text())
    content["parts"][part][ending] = hashlib.sha256(path.read_bytes()).hexdigest()
    del content["sha256"]
    (folder / "manifest.json").write_text(json.dumps({**content, "sha256": _digest(content)}))


def refused(folder, fault, words=""):
    """Loading ends with this fault, told in one line that ends with what to do."""
    with pytest.raises(fault, match=words) as caught:
        load_features(folder, "gallery")
    line, code = explain_error(caught.value)
    assert code == fault.exit_code
    assert len(line.splitlines()) == 1
    assert str(folder) in line


def flip(path, place, bit=0):
    content = bytearray(path.read_bytes())
    content[place] ^= 1 << bit
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["gallery.npy", "gallery.csv"])
@pytest.mark.parametrize("place", [0, 9, 60, -1])
def test_a_flipped_bit_is_refused(name, place, folder):
    flip(folder / name, place)
    refused(folder, WeightsError, "not the file that was written .* run fastreid extract again")


@pytest.mark.parametrize("name", ["gallery.npy", "gallery.csv"])
@pytest.mark.parametrize("length", [0, 5, 100, -1])
def test_a_truncated_file_is_refused(name, length, folder):
    (folder / name).write_bytes((folder / name).read_bytes()[:length])
    refused(folder, WeightsError, "not the file that was written")


def test_files_that_changed_places_are_refused(folder):
    shutil.move(folder / "queries.npy", folder / "other.npy")
    shutil.move(folder / "gallery.npy", folder / "queries.npy")
    shutil.move(folder / "other.npy", folder / "gallery.npy")
    refused(folder, WeightsError, "gallery.npy: not the file that was written")


@pytest.mark.parametrize("name", ["gallery.npy", "gallery.csv"])
def test_a_lost_file_is_told_as_lost(name, folder):
    (folder / name).unlink()
    refused(folder, StorageError, f"{name}: cannot be read")


def test_a_folder_without_a_manifest_is_unfinished(folder):
    (folder / "manifest.json").unlink()
    refused(folder, InputError, "no manifest.json, so the extraction into it did not finish")
    for where in (folder, folder.parent):
        with pytest.raises(InputError, match="did not finish"):
            find_feature_folders(where)


def test_a_folder_whose_first_file_was_being_written_is_unfinished(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set/queries.npy.fastreid-tmp-abcdefgh").write_bytes(b"half")
    with pytest.raises(InputError, match="did not finish"):
        find_feature_folders(tmp_path)


@pytest.mark.parametrize(
    ("where", "words"), [("nowhere", "no such folder"), ("", "no features of queries and gallery")]
)
def test_a_folder_of_something_else_is_refused(where, words, tmp_path):
    (tmp_path / "pictures").mkdir()
    with pytest.raises(InputError, match=words):
        find_feature_folders(tmp_path / where)


def test_a_part_that_was_not_saved_is_told_with_those_that_were(folder):
    with pytest.raises(InputError, match="there are features of queries, gallery, none of train; see --split"):
        load_features(folder, "train")


def test_another_format_is_told_by_its_number(folder):
    text = (folder / "manifest.json").read_text().replace('"format": 1', '"format": 2')
    (folder / "manifest.json").write_text(text)
    refused(folder, InputError, "features of format 2; this fastreid reads 1")


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b"null", b"\xff\xfe", b"[" * 100_000, b'{"format": 1}'])
def test_a_manifest_of_nonsense_is_damaged(content, folder):
    (folder / "manifest.json").write_bytes(content)
    refused(folder, WeightsError, "manifest.json: damaged")


def test_no_flipped_bit_of_a_manifest_is_overlooked(folder):
    whole = (folder / "manifest.json").read_bytes()
    chance = random.Random(0)
    for _ in range(200):
        place, bit = chance.randrange(len(whole)), chance.randrange(8)
        (folder / "manifest.json").write_bytes(whole)
        flip(folder / "manifest.json", place, bit)
        with contextlib.suppress(FastreidError):
            load_features(folder, "gallery")
            same = json.loads((folder / "manifest.json").read_bytes()) == json.loads(whole)
            assert same  # a blank that became another blank


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (b"row,name,patent,camera,path", b"row,name,patent,path", "the header is not row,name,patent,camera,path"),
        (b"5,5.png,5,-1,/x/5.png\r\n", b"", "5 drawings, but features of 6"),
        (
            b"5,5.png,5,-1,/x/5.png\r\n",
            b"5,5.png,5,-1,/x/5.png\r\n6,6.png,6,-1,/x/6.png\r\n",
            "7 drawings, but features",
        ),
        (b"5,5.png", b"4,5.png", "gallery.csv:7: not row 5"),
        (b"5,5.png,5,-1", b"5,5.png,5,one", "not row 5"),
        (b"5,5.png,5,-1", b"5,5.png,5", "not row 5"),
        (b"5,5.png,5", b'5,"5.png,5', "not row 5"),
    ],
)
def test_a_list_that_does_not_fit_is_refused_with_its_line(old, new, words, folder):
    edit(folder, "gallery.csv", lambda content: content.replace(old, new))
    refused(folder, InputError, words)


def as_npy(array):
    def change(content):
        file = io.BytesIO()
        np.save(file, array)
        return file.getvalue()

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (as_npy(np.ones((NUM, WIDTH))), r"float64 \(6, 4\), not float32"),
        (as_npy(np.ones((NUM, WIDTH), ">f4")), r">f4 \(6, 4\), not float32"),
        (as_npy(np.ones((WIDTH, NUM), "f4").T), "in C order"),
        (as_npy(np.ones((NUM + 1, WIDTH), "f4")), r"float32 \(7, 4\), not float32 \(6, 4\)"),
        (as_npy(np.ones((NUM, WIDTH + 1), "f4")), r"float32 \(6, 5\), not"),
        (as_npy(np.ones(NUM * WIDTH, "f4")), r"float32 \(24,\), not"),
        (as_npy(np.array([{}])), "not an array of numpy"),
        (lambda content: content + b"\0\0\0\0", "and nothing else"),
        (lambda content: content[:-4], "not an array of numpy, or cut short"),
        (lambda content: content.replace(b"NUMPY", b"NAMPY"), "not an array of numpy"),
        (lambda content: content[:10], "not an array of numpy"),
        (lambda content: content.replace(b"(6, 4)", b"(9, 9)"), "not an array of numpy"),
        (lambda content: content.replace(b"(6, 4)", b"(0, 4)"), "not"),
    ],
)
def test_an_array_of_another_kind_is_refused(change, words, folder):
    edit(folder, "gallery.npy", change)
    refused(folder, InputError, words)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0])
def test_features_of_no_number_are_named_by_their_drawings(value, folder):
    array = np.load(folder / "gallery.npy")
    array[3] = value
    edit(folder, "gallery.npy", as_npy(array))
    with pytest.raises(NumericalError, match=r"1 of 6 features are NaN, Inf or zero: 3\.png"):
        load_features(folder, "gallery")


def test_a_part_of_another_name_or_list_is_not_written(folder):
    features, listed = load_features(folder, "gallery")
    with pytest.raises(InputError, match="no part of a set is called 'query'; there are queries, gallery, train"):
        FeaturePart("query", features, listed, "s")
    with pytest.raises(InputError, match="those of another list"):
        FeaturePart("queries", features, listed[::-1], "s")
