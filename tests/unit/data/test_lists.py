from pathlib import Path

import pytest

from fastreid.data.datasets.base import encode_labels, read_list
from fastreid.structures import Drawing


@pytest.fixture
def folder(tmp_path):
    for name in ("a.png", "b c.png", "deep/ünï.png", "b.png 7"):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return tmp_path


def read(folder, content, *, name="list.txt", with_ids=True):
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_list(folder / name, images=folder / "images", with_ids=with_ids)


def summarize(drawings):
    return [(drawing.name, drawing.patent, drawing.source) for drawing in drawings]


def test_line_is_a_path_and_an_id(folder):
    (drawing,) = read(folder, "a.png 17\n")
    assert drawing == Drawing(f"{folder}/images/a.png", "a.png", "17", -1, "list.txt:1")


def test_id_is_the_last_field_and_path_may_contain_spaces(folder):
    assert summarize(read(folder, "b c.png 1\nb.png 7 2\n")) == [
        ("b c.png", "1", "list.txt:1"),
        ("b.png 7", "2", "list.txt:2"),
    ]


@pytest.mark.parametrize(
    "content",
    [
        b"a.png 1\ndeep/\xc3\xbcn\xc3\xaf.png 2\n",
        b"a.png 1\ndeep/\xc3\xbcn\xc3\xaf.png 2",
        b"a.png 1\r\ndeep/\xc3\xbcn\xc3\xaf.png 2\r\n",
        b"\xef\xbb\xbfa.png 1\ndeep/\xc3\xbcn\xc3\xaf.png 2\n",
        b"\n  a.png \t 01  \n\n./deep//\xc3\xbcn\xc3\xaf.png 2\n\n",
        b"a.png 1\ndeep\\\xc3\xbcn\xc3\xaf.png 2\n",
    ],
    ids=["plain", "no last newline", "CRLF", "byte-order mark", "blank", "backslash"],
)
def test_equivalent_spellings_give_the_same_list(folder, content):
    assert [(drawing.name, drawing.patent) for drawing in read(folder, content)] == [
        ("a.png", "1"),
        ("deep/ünï.png", "2"),
    ]


def test_without_ids_the_whole_line_is_the_path(folder):
    assert summarize(read(folder, "b.png 7\nb c.png\n", with_ids=False)) == [
        ("b.png 7", "", "list.txt:1"),
        ("b c.png", "", "list.txt:2"),
    ]


def test_csv_has_header_text_ids_and_optional_cameras(folder):
    drawings = read(folder, 'ID,path,camera\nUS 1,a.png,3\n\n"US,2","b c.png",-1\n', name="list.csv")
    assert summarize(drawings) == [("a.png", "US 1", "list.csv:2"), ("b c.png", "US,2", "list.csv:4")]
    assert [drawing.camera for drawing in drawings] == [3, -1]


def test_csv_without_ids_needs_only_paths(folder):
    assert summarize(read(folder, "path\na.png\n", name="list.CSV", with_ids=False)) == [("a.png", "", "list.CSV:2")]


def test_link_inside_the_folder_is_valid(folder):
    (folder / "images" / "link.png").symlink_to(folder / "images" / "a.png")
    assert read(folder, "link.png 1\n")[0].name == "link.png"


def test_folder_may_be_a_link(folder):
    (folder / "elsewhere").symlink_to(folder / "images")
    (folder / "list.txt").write_text("a.png 1\n")
    assert len(read_list(folder / "list.txt", images=folder / "elsewhere", with_ids=True)) == 1


def test_first_folder_that_contains_the_file_is_used(folder):
    (folder / "list.txt").write_text("images/a.png\na.png\n")
    drawings = read_list(folder / "list.txt", images=(folder / "images", folder), with_ids=False)
    assert [Path(drawing.path) for drawing in drawings] == [folder / "images/a.png"] * 2


def test_labels_follow_the_ids_sorted_as_text():
    drawings = [Drawing("x", "x", patent) for patent in ("2", "10", "2", "1")]
    assert encode_labels(drawings) == ([2, 1, 2, 0], ("1", "10", "2"))
