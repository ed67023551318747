"""Folders of drawings: levels, skipped files, pages."""

import logging
import os

import numpy as np
import pytest
from PIL import Image
from test_image_containers import make_pdf

from fastreid.data.datasets.base import InvalidListError, read_list
from fastreid.data.datasets.combined import find_overlap, get_file_id
from fastreid.data.datasets.folder import Folder
from fastreid.data.datasets.folder_tree import SUFFIXES
from fastreid.data.io.cache.store import PageCache
from fastreid.data.io.image import read_drawing
from fastreid.structures import Drawing
from fastreid.utils.errors import EnvironmentSetupError, InputError, StorageError


def touch(path, content=b""):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def read_patents(path, *, level=0):
    """Return patent -> names of its drawings."""
    drawings = Folder(path, test_fraction=0.0, num_queries=1, level=level).train()
    patents = {}
    for drawing in drawings:
        patents.setdefault(drawing.patent, []).append(drawing.name)
    return patents


@pytest.fixture
def weeks(tmp_path):
    for week, patent in (("2024-01", "D1"), ("2024-01", "D2"), ("2024-02", "D3")):
        touch(tmp_path / week / patent / "1.png")
        touch(tmp_path / week / patent / "2.tif")
    return tmp_path


@pytest.fixture
def log(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("fastreid"), "propagate", True)
    caplog.set_level(logging.INFO)
    return caplog


def test_weekly_tree_has_one_patent_per_inner_folder(weeks, log):
    assert set(read_patents(weeks)) == {"D1", "D2", "D3"}
    assert f"{weeks}: 3 patents (each folder at level 2 is one), 6 drawings in 6 files" in log.text
    assert set(read_patents(weeks, level=1)) == {"2024-01", "2024-02"}


def test_folders_inside_a_patent_belong_to_it(tmp_path):
    for name in ("D1/1.png", "D1/details/2.png", "D2/1.png"):
        touch(tmp_path / name)
    assert read_patents(tmp_path) == {"D1": ["D1/1.png", "D1/details/2.png"], "D2": ["D2/1.png"]}


def test_drawings_at_several_levels_need_a_setting(weeks):
    touch(weeks / "D9/1.png")
    with pytest.raises(InputError, match=r"level 1: D9; level 2: 2024-01/D1, .*set DATASETS.FOLDER.LEVEL") as caught:
        read_patents(weeks)
    assert len(str(caught.value).splitlines()) == 1
    assert set(read_patents(weeks, level=1)) == {"2024-01", "2024-02", "D9"}
    with pytest.raises(InputError, match="D9 contains drawings, but is not inside a folder at level 2"):
        read_patents(weeks, level=2)


def test_folders_of_the_same_name_need_a_setting(tmp_path):
    for name in ("D1/sheets/1.png", "D2/sheets/1.png"):
        touch(tmp_path / name)
    with pytest.raises(InputError, match=r"same name \(sheets\); set DATASETS.FOLDER.LEVEL to 2 .* or to 1"):
        read_patents(tmp_path)
    assert set(read_patents(tmp_path, level=1)) == {"D1", "D2"}
    assert set(read_patents(tmp_path, level=2)) == {"sheets"}


def test_system_files_and_thumbnails_are_skipped_silently_and_others_with_counts(weeks, log):
    patent = weeks / "2024-01/D1"
    for name in ("@eaDir/1.png/SYNOPHOTO_THUMB_M.jpg", "__MACOSX/._1.png", ".thumbs/1.png", ".DS_Store", "Thumbs.db"):
        touch(patent / name)
    touch(weeks / "__MACOSX/D1/1.png")
    for name in ("a.txt", "b.TXT", "c.docx", "README"):
        touch(patent / name)
    (weeks / "2024-03/D7/deeper").mkdir(parents=True)
    (weeks / "2024-02/D8").mkdir()
    assert read_patents(weeks)["D1"] == ["2024-01/D1/1.png", "2024-01/D1/2.tif"]
    assert "; skipped 4 files (.txt 2, .docx 1, no suffix 1) and 2 folders without drawings" in log.text


@pytest.mark.parametrize(
    "name",
    ["@Recycle", "@Recently-Snapshot", ".@__thumb", "#snapshot", "#recycle", "$RECYCLE.BIN", "$Recycle.Bin"]
    + ["System Volume Information", "lost+found"],
)
def test_system_folder_of_a_drive_is_no_patent(name, weeks, log):
    touch(weeks / name / "D9/1.png")
    touch(weeks / "2024-01" / name / "1.png")
    touch(weeks / "2024-01/D1" / name / "1.png")
    assert set(read_patents(weeks)) == {"D1", "D2", "D3"}
    assert "6 drawings in 6 files" in log.text
    assert "skipped" not in log.text


def test_every_suffix_is_read(tmp_path):
    for suffix in SUFFIXES:
        if suffix != ".pdf":
            touch(tmp_path / f"D1/a{suffix.upper()}")
    assert len(read_patents(tmp_path)["D1"]) == len(SUFFIXES) - 1


def test_links_to_folders_are_followed_once(tmp_path):
    touch(tmp_path / "elsewhere/1.png")
    (tmp_path / "data/D1").mkdir(parents=True)
    (tmp_path / "data/D2").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data/D1/loop").symlink_to(tmp_path / "data")
    touch(tmp_path / "data/D1/1.png")
    assert read_patents(tmp_path / "data") == {"D1": ["D1/1.png"], "D2": ["D2/1.png"]}


def test_folder_that_cannot_be_listed_is_a_fault(weeks, monkeypatch):
    scandir = __import__("os").scandir

    def deny(path):
        if str(path).endswith("D2"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr("os.scandir", deny)
    with pytest.raises(InputError, match=r"2024-01/D2 cannot be read \(Permission denied\)"):
        read_patents(weeks)


def save_pages(path, levels):
    path.parent.mkdir(parents=True, exist_ok=True)
    pages = [Image.fromarray(np.full((20, 30), level, np.uint8)) for level in levels]
    pages[0].save(path, save_all=True, append_images=pages[1:])


def test_each_page_of_a_tiff_or_pdf_is_a_drawing(tmp_path, log):
    save_pages(tmp_path / "D1/a.tif", [10, 20, 30])
    save_pages(tmp_path / "D1/b.tif", [40])
    touch(tmp_path / "D1/c.pdf", make_pdf(b"", b""))
    touch(tmp_path / "D2/damaged.tif", b"II*\0")
    assert read_patents(tmp_path) == {
        "D1": [*(f"D1/a.tif#page={n}" for n in (1, 2, 3)), "D1/b.tif", "D1/c.pdf#page=1", "D1/c.pdf#page=2"],
        "D2": ["D2/damaged.tif"],
    }
    assert "7 drawings in 4 files" in log.text
    drawings = Folder(tmp_path, test_fraction=0.0, num_queries=1).train()
    assert [read_drawing(drawing)[0, 0] for drawing in drawings[:4]] == [10, 20, 30, 40]


def test_pdf_without_the_package_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pypdfium2", None)
    touch(tmp_path / "D1/a.pdf", make_pdf(b""))
    with pytest.raises(EnvironmentSetupError, match="pip install pypdfium2"):
        read_patents(tmp_path)


def test_file_with_too_many_pages_is_a_fault(tmp_path, monkeypatch):
    save_pages(tmp_path / "D1/a.tif", [1, 2, 3])
    monkeypatch.setattr("fastreid.data.datasets.folder_tree.MAX_PAGES", 2)
    with pytest.raises(InputError, match=r"D1/a\.tif has more than 2 pages; split the file"):
        read_patents(tmp_path)


def test_disk_error_while_counting_pages_is_a_storage_error(tmp_path, monkeypatch):
    save_pages(tmp_path / "D1/a.tif", [1])
    error = OSError(5, "Input/output error")
    monkeypatch.setattr("fastreid.data.io.source.ImageSource._call", lambda *_: (_ for _ in ()).throw(error))
    with pytest.raises(StorageError, match=r"a\.tif: cannot be read: Input/output error"):
        read_patents(tmp_path)


def test_list_may_name_pages(tmp_path):
    save_pages(tmp_path / "a.tif", [10, 20])
    (tmp_path / "list.txt").write_text("a.tif#page=2 1\na.tif#page=1 1\n")
    drawings = read_list(tmp_path / "list.txt", images=tmp_path, with_ids=True)
    assert [read_drawing(drawing)[0, 0] for drawing in drawings] == [20, 10]
    assert [(drawing.file, drawing.page) for drawing in drawings] == [(str(tmp_path / "a.tif"), n) for n in (1, 0)]
    (tmp_path / "bad.txt").write_text("b.tif#page=2 1\na.tif#page=0 1\n")
    with pytest.raises(InvalidListError, match=r"no file .*b\.tif#page=2"):
        read_list(tmp_path / "bad.txt", images=tmp_path, with_ids=True)


def test_pages_of_a_file_do_not_overlap(tmp_path):
    save_pages(tmp_path / "a.tif", [10, 20])
    first, second, whole = (Drawing(f"{tmp_path}/a.tif{page}", page, "1") for page in ("#page=1", "#page=2", ""))
    assert get_file_id(first) == get_file_id(whole) != get_file_id(second)
    data = type("Data", (), {"queries": (second,), "gallery": (whole,)})
    assert [twin for _, twin in find_overlap([first], data)] == [first]


def test_cache_distinguishes_pages(tmp_path):
    save_pages(tmp_path / "data/a.tif", [10, 20])
    save_pages(tmp_path / "data/b.tif", [10, 20])
    drawings = [Drawing(f"{tmp_path}/data/{name}", name, "1") for name in ("a.tif", "a.tif#page=2", "b.tif#page=2")]
    cache = PageCache(tmp_path / "cache", longest_px=0)
    assert cache.fill(drawings).num_decoded == 3
    assert [cache.read(drawing)[0, 0] for drawing in drawings] == [10, 20, 20]
    assert cache.size()[0] == 2  # equal files share their pages
    save_pages(tmp_path / "data/a.tif", [10, 30])
    cache.fill(drawings)
    assert cache.read(drawings[1])[0, 0] == 30
    assert cache.repair() == 0


@pytest.mark.parametrize("name", ["one\ntwo", "one\ttwo", "one\x1b[31m"])
def test_patent_name_with_control_characters_is_a_fault(name, tmp_path):
    for folder in (name, "two words", "é"):
        (tmp_path / "mine" / folder).mkdir(parents=True)
        Image.new("L", (4, 4)).save(tmp_path / "mine" / folder / "a.png")
    with pytest.raises(
        InputError, match=r"mine: the folder 'one\\.* contains a line break, tab or other control .*; rename the folder"
    ):
        Folder(tmp_path / "mine", test_fraction=0.5, num_queries=1).train()


def test_name_that_is_not_utf8_is_explained(tmp_path):
    folder = os.fsencode(tmp_path) + b"/lat\xe9"
    os.mkdir(folder)
    with open(folder + b"/a.png", "wb") as file:
        Image.new("L", (4, 4), 255).save(file, "PNG")
    with pytest.raises(InputError, match=r"lat\\\\?udce9/a.png: the name is not UTF-8; rename the folder or file"):
        Folder(tmp_path, test_fraction=0.5, num_queries=1).train()
