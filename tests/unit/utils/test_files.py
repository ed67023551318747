from pathlib import Path

import pytest

from fastreid.utils.errors import StorageError
from fastreid.utils.files import TEMPORARY_MARK, atomic_write, remove_temporary_files, compute_sha256, write_text


def test_a_file_appears_only_when_it_is_whole(tmp_path):
    path = tmp_path / "new" / "file.txt"
    with atomic_write(path, text=True) as file:
        file.write("all")
        assert not path.exists()
    assert path.read_text() == "all"


def test_a_fault_while_writing_keeps_the_old_file_and_leaves_nothing(tmp_path):
    path = tmp_path / "file.txt"
    write_text(path, "old")
    with pytest.raises(UnicodeEncodeError), atomic_write(path, text=True) as file:
        file.write("new \ud800")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_told_and_the_old_file_stays(tmp_path):
    path = tmp_path / "file.txt"
    write_text(path, "old")
    with pytest.raises(StorageError, match="cannot be written"), atomic_write(path, text=True):
        raise OSError(28, "No space left on device")
    assert path.read_text() == "old"


def test_what_a_killed_writer_left_is_removed(tmp_path):
    write_text(tmp_path / "model.pth", "whole")
    writer = atomic_write(tmp_path / "model.pth")
    writer.__enter__().write(b"half")
    [left] = [file.name for file in tmp_path.iterdir() if file.name != "model.pth"]
    assert remove_temporary_files(tmp_path) == [left]
    assert [file.read_text() for file in tmp_path.iterdir()] == ["whole"]


@pytest.mark.parametrize("name", ["report.tmp-march.txt", "a.tmp-abcdefgh", "notes.fastreid-tmp-of-mine.txt"])
def test_a_users_file_is_never_taken_for_a_temporary(tmp_path, name):
    (tmp_path / name).write_text("mine")
    assert remove_temporary_files(tmp_path) == []
    assert (tmp_path / name).read_text() == "mine"


def test_git_ignores_temporaries():
    lines = (Path(__file__).parents[3] / ".gitignore").read_text().splitlines()
    assert f"*{TEMPORARY_MARK}*" in lines


def test_the_digest_is_that_of_the_bytes(tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    assert compute_sha256(tmp_path / "empty").startswith("e3b0c44298fc1c14")
