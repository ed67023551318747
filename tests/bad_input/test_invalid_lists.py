import errno
import unicodedata

import pytest
from invalid_inputs import CSV_LISTS, LIST_LINES

from fastreid.data.datasets.base import RetrievalData, read_list
from fastreid.data.datasets.folder import ImageLists
from fastreid.structures import Drawing
from fastreid.utils.errors import EnvironmentSetupError, InputError


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images/deep").mkdir(parents=True)
    (tmp_path / "outside.png").write_bytes(b"")
    (tmp_path / "images/a.png").write_bytes(b"")
    (tmp_path / "images/out.png").symlink_to(tmp_path / "outside.png")
    (tmp_path / "images/far").symlink_to(tmp_path)
    return tmp_path


def get_error(folder, content, *, name="list.txt"):
    """Return the error of an invalid list, after checking that it has one line per fault and at most 20 of them."""
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError) as caught:
        read_list(folder / name, images=folder / "images", with_ids=True)
    heading, *lines = str(caught.value).split("\n")
    assert not lines or heading.endswith(" faults")
    assert len(lines) <= 21
    assert all(line.startswith("  ") for line in lines)
    return str(caught.value)


@pytest.mark.parametrize(
    ("line", "expected"),
    LIST_LINES,
)
def test_fault_of_a_line_has_its_number(folder, line, expected):
    message = get_error(folder, f"\n{line}\n")
    assert "list.txt:2: " in message
    assert expected in message


def test_repeated_path_is_reported_with_both_lines(folder):
    assert "list.txt:3: a.png is also in line 1" in get_error(folder, "a.png 1\n\n./a.png 1\n")


def test_path_with_two_ids_is_reported_with_both(folder):
    assert "list.txt:2: a.png is also in line 1 with ids 1 and 2" in get_error(folder, "a.png 1\na.png 2\n")


def test_line_that_is_not_utf8_is_reported(folder):
    assert "list.txt:2: not UTF-8 text" in get_error(folder, b"a.png 1\n\xff\xfe.png 1\n")
    message = get_error(folder, "Möbel.png 1\n".encode("cp1252"))
    assert "list.txt:1: not UTF-8 text: column 2 is the byte 0xf6, which is 'ö' in Windows-1252; save the" in message
    assert "column 1 is the byte 0x81; save" in get_error(folder, b"\x81.png 1\n")  # no character in Windows-1252


def test_damaged_utf16_is_reported(folder):
    message = get_error(folder, "a.png 1\n".encode("utf-16")[:-1])
    assert "list.txt: starts with the byte-order mark of UTF-16, but byte 16 is not UTF-16 (truncated data)" in message
    assert get_error(folder, "a.png 1\nb.png 2\n".encode("utf-16-le")).endswith(
        "list.txt: UTF-16 without a byte-order mark; save the list as UTF-8"
    )


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("a.png US{}", "the id 'US0' is not an integer; use .csv for text ids"),
        ("/data/{}.png 1", "/data/0.png is an absolute path; write it relative to "),
        ("images/deep/{}.png 1", "no file "),
    ],
)
def test_fault_of_all_lines_is_reported_once(folder, line, fault):
    message = get_error(folder, "\n".join(line.format(number) for number in range(30)))
    assert f"list.txt:1: {fault}" in message
    assert message.endswith(" (the other 29 lines have the same fault)")
    assert "\n" not in message


def test_path_that_repeats_the_folder_is_explained(folder):
    assert get_error(folder, "images/a.png 1").endswith(f"; paths are relative to {folder / 'images'}: write a.png")


@pytest.mark.parametrize("content", ["", "\n \n", "\ufeff"])
def test_empty_list_is_named(folder, content):
    message = get_error(folder, content)
    assert message == f"{folder}/list.txt: the list is empty; add one line per drawing: a path and an id"


def test_all_empty_lists_are_reported(folder):
    for name in ("a.txt", "b.txt"):
        (folder / name).write_text("")
    lists = ImageLists(folder / "images", train=None, query=folder / "a.txt", gallery=folder / "b.txt")
    with pytest.raises(InputError) as caught:
        lists.test()
    assert [line.split(": ")[0] for line in str(caught.value).split("\n")] == [f"{folder}/a.txt", f"{folder}/b.txt"]


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
def test_one_file_in_two_unicode_forms_is_repeated(folder, forms):
    name = "Mo\u0308bel.png"
    (folder / "images" / unicodedata.normalize("NFC", name)).write_bytes(b"")
    content = "".join(f"{unicodedata.normalize(form, name)} 1\n" for form in forms)
    assert "bel.png is also in line 1" in get_error(folder, content)


def test_control_characters_in_names_are_escaped(folder):
    message = get_error(folder, "a\u2028b\x0bc\x1b[31m.png 1\n")
    assert message.splitlines() == [message]
    assert "a\\u2028b\\x0bc\\x1b[31m.png" in message


def test_first_twenty_faults_and_the_total_are_reported(folder):
    lines = ["a.png 1", "a.png", *(f"gone{number}.png 1" for number in range(30))]
    message = get_error(folder, "\n".join(lines))
    assert message.splitlines()[0] == f"{folder}/list.txt: 31 faults"
    assert message.splitlines()[-1] == "  ... and 11 more"
    assert len(message.splitlines()) == 22
    assert "list.txt:2: 'a.png' has 1 field" in message
    assert "gone18.png" in message
    assert "gone19.png" not in message


def test_syntax_faults_and_missing_files_are_reported_together(folder):
    message = get_error(folder, "gone.png 1\na.png\nb.png x\n")
    assert all(f"list.txt:{line}: " in message for line in (1, 2, 3))


@pytest.mark.parametrize(
    ("content", "expected"),
    CSV_LISTS,
)
def test_fault_of_a_csv_is_reported(folder, content, expected):
    assert expected in get_error(folder, content, name="list.csv")


def test_missing_list_names_the_settings_of_the_data_folder(tmp_path):
    (tmp_path / "lists").mkdir()
    message = r"list\.txt: cannot read the list \(No such file or directory\); {} set DATASETS\.ROOT"
    with pytest.raises(InputError, match=message.format(f"{tmp_path} contains lists/;")):
        read_list(tmp_path / "list.txt", images=tmp_path, with_ids=True)
    with pytest.raises(InputError, match=message.format(f"{tmp_path}/lists is empty;")):
        read_list(tmp_path / "lists/list.txt", images=tmp_path, with_ids=True)
    with pytest.raises(InputError, match=message.format(f"{tmp_path}/a/b does not exist, {tmp_path} contains lists/;")):
        read_list(tmp_path / "a/b/list.txt", images=tmp_path, with_ids=True)
    for number in range(15):
        (tmp_path / f"lists/{number:02}.txt").touch()
    with pytest.raises(InputError, match=r"contains 00\.txt, 01\.txt, .* 09\.txt and 5 more; set"):
        read_list(tmp_path / "lists/list.txt", images=tmp_path, with_ids=True)


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.EMFILE, r"too many open files: this process may open \d+; raise the limit"),
        (errno.ENFILE, "too many open files on this machine"),
        (errno.ENOMEM, "not enough memory; lower"),
    ],
)
def test_list_that_exhausts_a_resource_is_not_a_wrong_path(number, reason, folder, monkeypatch):
    def fail(path):
        raise OSError(number, "reason")

    (folder / "list.txt").write_text("a.png 1\n")
    monkeypatch.setattr("fastreid.data.datasets.list_lines.read_file_bytes", fail)
    with pytest.raises(EnvironmentSetupError, match=rf"list\.txt: cannot read the list: {reason}"):
        read_list(folder / "list.txt", images=folder, with_ids=True)


def test_empty_queries_or_gallery_raise():
    drawing = Drawing("a.png", "a.png", "1")
    for queries, gallery, part in (((), (drawing,), "query"), ((drawing,), (), "gallery")):
        with pytest.raises(InputError, match=f"Mine: the {part} list is empty"):
            RetrievalData("Mine", (), queries, gallery)
