"""Every fault of a list is told with its line, all in one pass."""

import pytest
from invalid_inputs import CSVS, LINES

from fastreid.data.datasets.base import RetrievalData, read_list
from fastreid.structures import Drawing
from fastreid.utils.errors import InputError


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images/deep").mkdir(parents=True)
    (tmp_path / "outside.png").write_bytes(b"")
    (tmp_path / "images/a.png").write_bytes(b"")
    (tmp_path / "images/out.png").symlink_to(tmp_path / "outside.png")
    (tmp_path / "images/far").symlink_to(tmp_path)
    return tmp_path


def refusal(folder, content, *, name="list.txt"):
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError) as refused:
        read_list(folder / name, images=folder / "images", with_ids=True)
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize(
    ("line", "words"),
    LINES,
)
def test_a_fault_of_a_line_is_told_with_its_number(folder, line, words):
    message = refusal(folder, f"\n{line}\n")
    assert "list.txt:2: " in message
    assert words in message


def test_a_path_that_stands_twice_is_told_with_both_lines(folder):
    assert "list.txt:3: a.png stands here and in line 1" in refusal(folder, "a.png 1\n\n./a.png 1\n")


def test_a_path_with_two_ids_is_told_with_both(folder):
    assert "list.txt:2: a.png stands here and in line 1 with ids 1 and 2" in refusal(folder, "a.png 1\na.png 2\n")


def test_a_line_that_is_not_utf8_is_told(folder):
    assert "list.txt:2: not UTF-8 text" in refusal(folder, b"a.png 1\n\xff\xfe.png 1\n")


def test_a_name_cannot_break_the_line_or_steer_the_terminal(folder):
    message = refusal(folder, "a\u2028b\x0bc\x1b[31m.png 1\n")
    assert message.splitlines() == [message]
    assert "a\\u2028b\\x0bc\\x1b[31m.png" in message


def test_all_faults_are_told_at_once_the_first_twenty_and_the_total(folder):
    lines = ["a.png 1", "a.png", *(f"gone{number}.png 1" for number in range(30))]
    message = refusal(folder, "\n".join(lines))
    assert "31 faults, the first 20: " in message
    assert "list.txt:2: 'a.png' has 1 field" in message
    assert "gone18.png" in message
    assert "gone19.png" not in message


def test_faults_of_form_and_missing_files_are_told_together(folder):
    message = refusal(folder, "gone.png 1\na.png\nb.png x\n")
    assert all(f"list.txt:{line}: " in message for line in (1, 2, 3))


@pytest.mark.parametrize(
    ("content", "words"),
    CSVS,
)
def test_a_fault_of_a_csv_is_told(folder, content, words):
    assert words in refusal(folder, content, name="list.csv")


def test_a_missing_list_says_where_the_data_is_set(tmp_path):
    with pytest.raises(InputError, match=r"list\.txt: no list can be read here .* set DATASETS\.ROOT"):
        read_list(tmp_path / "list.txt", images=tmp_path, with_ids=True)


def test_an_empty_part_of_a_test_is_refused():
    drawing = Drawing("a.png", "a.png", "1")
    for queries, gallery, part in (((), (drawing,), "query"), ((drawing,), (), "database")):
        with pytest.raises(InputError, match=f"Mine: the {part} list is empty"):
            RetrievalData("Mine", (), queries, gallery)
