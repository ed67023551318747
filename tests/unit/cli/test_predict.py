"""`fastreid predict`: images, settings and the files that it writes."""

import csv

import numpy as np
import pytest
import torch
from PIL import Image

from fastreid.cli.predict import format_neighbors, list_images, split_settings, write_features
from fastreid.structures import Ranking
from fastreid.utils.errors import InputError


@pytest.mark.parametrize(
    ("words", "images", "opts"),
    [
        (["a.png", "b"], ["a.png", "b"], []),
        (["a.png", "MODEL.WEIGHTS", "w.pth"], ["a.png"], ["MODEL.WEIGHTS", "w.pth"]),
        (["A.PNG", "SEED", "1"], ["A.PNG"], ["SEED", "1"]),
        (["a.png", "TEST.METRC", "x"], ["a.png"], ["TEST.METRC", "x"]),
        (["./SEED"], ["./SEED"], []),
        ([], [], []),
    ],
)
def test_settings_are_split_from_images(words, images, opts):
    assert split_settings(words) == (images, opts)


def test_folders_are_searched_with_subfolders(tmp_path):
    for name in ("b.png", "a/c.TIF", "a/notes.txt", "z.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    images = list_images([str(tmp_path), str(tmp_path / "a/notes.txt")])
    assert images == [str(tmp_path / name) for name in ("a/c.TIF", "b.png", "z.jpg", "a/notes.txt")]


def test_missing_paths_and_empty_folders_are_errors(tmp_path):
    with pytest.raises(InputError, match="gone: no such file or folder"):
        list_images([str(tmp_path / "gone")])
    with pytest.raises(InputError, match=r"contains no drawing \(\.png, "):
        list_images([str(tmp_path)])


def test_all_missing_paths_are_listed(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"(?s)3 faults.*gone1: no such.*empty: contains no drawing.*gone2: no such"):
        list_images([str(tmp_path / name) for name in ("gone1", "empty", "gone2")])


def test_neighbors_are_in_columns_and_equal_pages_have_zero():
    distances = torch.tensor([[-1e-9, 0.5, 12.34567], [1e-5, 123456.75, 123457.0]])
    ranking = Ranking(torch.tensor([[2, 0, 1], [0, 1, 2]]), distances)
    assert list(format_neighbors(["x.png", "y\n.png"], ["a.png", "b c.png", "d.png"], ranking)) == [
        "x.png",
        "  1       0.0000  d.png",
        "  2       0.5000  a.png",
        "  3      12.3457  b c.png",
        "y\\n.png",
        "  1       0.0000  a.png",
        "  2  123456.7500  b c.png",
        "  3  123457.0000  d.png",
    ]


def test_npy_and_csv_have_the_same_features(tmp_path):
    features = torch.tensor([[0.1, -2.0], [1 / 3, 1e-8]])
    for name in ("a.npy", "a.csv"):
        write_features(tmp_path / name, ["x.png", 'y "1".png'], features)
    assert np.load(tmp_path / "a.npy").dtype == np.float32
    assert np.load(tmp_path / "a.npy").tolist() == features.tolist()
    with open(tmp_path / "a.csv", newline="", encoding="utf-8") as file:
        head, *rows = csv.reader(file)
    assert head == ["image", "0", "1"]
    assert [row[0] for row in rows] == ["x.png", 'y "1".png']
    assert np.array([row[1:] for row in rows], np.float32).tolist() == features.tolist()


def test_home_folder_in_an_image_path_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a.png").touch()
    assert list_images(["~/a.png", "~"]) == [str(tmp_path / "a.png")] * 2


def test_pages_of_a_file_are_images_and_thumbnails_are_not(tmp_path):
    pages = [Image.new("L", (9, 9), level) for level in (10, 20)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    (tmp_path / "@eaDir").mkdir()
    pages[0].save(tmp_path / "@eaDir/a.jpg")
    addresses = [f"{tmp_path}/a.tif#page={number}" for number in (1, 2)]
    assert list_images([str(tmp_path)]) == addresses
    assert list_images([addresses[1]]) == addresses[1:]
