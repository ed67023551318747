"""What the reader of lists accepts, and how patents become class numbers."""

from pathlib import Path

import pytest

from fastreid.data.datasets.base import class_numbers, read_list
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


def told(drawings):
    return [(drawing.name, drawing.patent, drawing.source) for drawing in drawings]


def test_a_line_is_a_path_and_an_id(folder):
    (drawing,) = read(folder, "a.png 17\n")
    assert drawing == Drawing(f"{folder}/images/a.png", "a.png", "17", -1, "list.txt:1")


def test_the_id_is_the_last_field_and_the_path_may_hold_spaces(folder):
    assert told(read(folder, "b c.png 1\nb.png 7 2\n")) == [
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
def test_these_spellings_are_one_list(folder, content):
    assert [(drawing.name, drawing.patent) for drawing in read(folder, content)] == [
        ("a.png", "1"),
        ("deep/ünï.png", "2"),
    ]


def test_a_list_without_ids_takes_the_whole_line_as_path(folder):
    assert told(read(folder, "b.png 7\nb c.png\n", with_ids=False)) == [
        ("b.png 7", "", "list.txt:1"),
        ("b c.png", "", "list.txt:2"),
    ]


def test_a_csv_has_a_header_ids_of_any_word_and_perhaps_cameras(folder):
    drawings = read(folder, 'ID,path,camera\nUS 1,a.png,3\n\n"US,2","b c.png",-1\n', name="list.csv")
    assert told(drawings) == [("a.png", "US 1", "list.csv:2"), ("b c.png", "US,2", "list.csv:4")]
    assert [drawing.camera for drawing in drawings] == [3, -1]


def test_a_csv_without_ids_needs_only_paths(folder):
    assert told(read(folder, "path\na.png\n", name="list.CSV", with_ids=False)) == [("a.png", "", "list.CSV:2")]


def test_a_link_inside_the_folder_is_right(folder):
    (folder / "images" / "link.png").symlink_to(folder / "images" / "a.png")
    assert read(folder, "link.png 1\n")[0].name == "link.png"


def test_the_folder_itself_may_be_a_link(folder):
    (folder / "elsewhere").symlink_to(folder / "images")
    (folder / "list.txt").write_text("a.png 1\n")
    assert len(read_list(folder / "list.txt", images=folder / "elsewhere", with_ids=True)) == 1


def test_of_several_folders_the_first_that_holds_the_file_counts(folder):
    (folder / "list.txt").write_text("images/a.png\na.png\n")
    drawings = read_list(folder / "list.txt", images=(folder / "images", folder), with_ids=False)
    assert [Path(drawing.path) for drawing in drawings] == [folder / "images/a.png"] * 2


def test_classes_are_numbered_by_their_words_sorted_as_text():
    drawings = [Drawing("x", "x", word) for word in ("2", "10", "2", "1")]
    assert class_numbers(drawings) == ([2, 1, 2, 0], ("1", "10", "2"))
