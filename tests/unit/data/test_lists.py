import unicodedata
from pathlib import Path

import pytest

from fastreid.data.datasets.base import InvalidListError, encode_labels, read_list, read_lists
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
        "\ufeffa.png 1\r\ndeep/ünï.png 2\r\n".encode("utf-16-le"),
        "\ufeffa.png 1\ndeep/ünï.png 2\n".encode("utf-16-be"),
        "\ufeffa.png 1\ndeep/ünï.png 2\n".encode("utf-32-le"),
        "a.png 1  \ndeep/u\u0308ni\u0308.png\t2 \n".encode(),
    ],
    ids=[
        "plain",
        "no last newline",
        "CRLF",
        "byte-order mark",
        "blank",
        "backslash",
        "UTF-16",
        "big-endian UTF-16",
        "UTF-32",
        "NFD and trailing spaces",
    ],
)
def test_equivalent_spellings_give_the_same_list(folder, content):
    drawings = read(folder, content)
    assert [(unicodedata.normalize("NFC", drawing.name), drawing.patent) for drawing in drawings] == [
        ("a.png", "1"),
        ("deep/ünï.png", "2"),
    ]
    assert drawings[1].path == f"{folder}/images/deep/ünï.png"


def test_composed_name_finds_a_decomposed_file(folder):
    decomposed = folder / "images/Mo\u0308bel/U\u0308.tif"
    decomposed.parent.mkdir()
    decomposed.touch()
    drawings = read(folder, "Möbel/Ü.tif 1\nMöbel/Ü.tif#page=2 1\n")
    assert [drawing.path for drawing in drawings] == [str(decomposed), f"{decomposed}#page=2"]
    assert drawings[0].name == "Möbel/Ü.tif"
    (folder / "images/Möbel").mkdir()
    (folder / "images/Möbel/Ü.tif").touch()
    assert read(folder, "Möbel/Ü.tif 1\n")[0].path == f"{folder}/images/Möbel/Ü.tif"  # the exact name first


def test_ids_may_be_of_any_length_and_minus_one_is_unknown(folder):
    drawings = read(folder, "a.png 9223372036854775808123\nb c.png -1\nb.png 7 -2\n")
    assert [drawing.patent for drawing in drawings] == ["9223372036854775808123", "", "-2"]
    drawings = read(folder, "path,id\na.png,-1\nb c.png,Mo\u0308bel\n", name="list.csv")
    assert [drawing.patent for drawing in drawings] == ["", "Möbel"]


def test_without_ids_the_whole_line_is_the_path(folder):
    assert summarize(read(folder, "b.png 7\nb c.png\n", with_ids=False)) == [
        ("b.png 7", "", "list.txt:1"),
        ("b c.png", "", "list.txt:2"),
    ]


def test_csv_has_header_text_ids_and_optional_cameras(folder):
    drawings = read(folder, 'ID,path,camera\nUS 1,a.png,3\n\n"US,2","b c.png",-1\n', name="list.csv")
    assert summarize(drawings) == [("a.png", "US 1", "list.csv:2"), ("b c.png", "US,2", "list.csv:4")]
    assert [drawing.camera for drawing in drawings] == [3, -1]


@pytest.mark.parametrize("delimiter", [";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_csv_of_a_spreadsheet_is_read(folder, delimiter, encoding):
    rows = (("id", "path"), ("US,2", "a.png"), (f'"a{delimiter}b"', '"b c.png"'))
    content = "".join(f"{delimiter.join(row)}\r\n" for row in rows)
    if delimiter == "\t":
        content = content.replace("a\tb", "ab")  # a tab is invalid in an id
    drawings = read(folder, content.encode(encoding), name="list.csv")
    assert [drawing.patent for drawing in drawings] == ["US,2", "ab" if delimiter == "\t" else "a;b"]
    assert [drawing.name for drawing in drawings] == ["a.png", "b c.png"]


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


def test_faults_of_several_lists_are_reported_together(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    for name, lines in (("one.txt", "a.png 1\nb.png 2"), ("two.txt", "a.png 1"), ("three.txt", "c.png x")):
        (tmp_path / name).write_text(lines)
    readers = [
        lambda name=name: read_list(tmp_path / name, images=tmp_path, with_ids=True)
        for name in ("one.txt", "two.txt", "three.txt")
    ]
    with pytest.raises(InvalidListError, match=r"(?s)one.txt:2: no file .*three.txt:1: the id 'x'") as caught:
        read_lists(*readers)
    assert [len(drawings) for drawings in caught.value.valid] == [1, 1, 0]


def test_only_fault_of_a_list_names_its_path_once(tmp_path):
    (tmp_path / "a.csv").write_text("path,id\nnothing.png,1\n")
    with pytest.raises(InvalidListError) as caught:
        read_list(tmp_path / "a.csv", images=tmp_path, with_ids=True)
    assert str(caught.value).startswith(f"{tmp_path}/a.csv:2: no file ")


def test_file_that_cannot_be_looked_up_has_the_reason(tmp_path):
    (tmp_path / "a.txt").write_text(f"{'x' * 300}.png 1\n")
    with pytest.raises(InvalidListError, match=r"a.txt:1: no file .*x\.png \(File name too long\)$"):
        read_list(tmp_path / "a.txt", images=tmp_path, with_ids=True)
