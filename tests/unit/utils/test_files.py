import os
import stat
from pathlib import Path

import pytest

from fastreid.utils.errors import StorageError
from fastreid.utils.files import TEMPORARY_MARK, atomic_write, compute_sha256, remove_temporary_files, write_text


def test_file_appears_only_when_it_is_complete(tmp_path):
    path = tmp_path / "new" / "file.txt"
    with atomic_write(path, text=True) as file:
        file.write("all")
        assert not path.exists()
    assert path.read_text() == "all"


def test_file_and_folder_are_synced_around_the_rename(tmp_path, monkeypatch):
    events, fsync, replace = [], os.fsync, os.replace

    def record_fsync(handle):
        status = os.fstat(handle)
        events.append("sync folder" if stat.S_ISDIR(status.st_mode) else f"sync file of {status.st_size} bytes")
        fsync(handle)

    def record_replace(source, target):
        events.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(os, "replace", record_replace)
    write_text(tmp_path / "file.txt", "12345")
    assert events == ["sync file of 5 bytes", "rename", "sync folder"]


def test_error_while_writing_keeps_the_old_file(tmp_path):
    path = tmp_path / "file.txt"
    write_text(path, "old")
    with pytest.raises(UnicodeEncodeError), atomic_write(path, text=True) as file:
        file.write("new \ud800")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_full_disk_raises_and_keeps_the_old_file(tmp_path):
    path = tmp_path / "file.txt"
    write_text(path, "old")
    with pytest.raises(StorageError, match="cannot be written"), atomic_write(path, text=True):
        raise OSError(28, "No space left on device")
    assert path.read_text() == "old"


def test_temporary_files_of_a_killed_process_are_removed(tmp_path):
    write_text(tmp_path / "model.pth", "whole")
    writer = atomic_write(tmp_path / "model.pth")
    writer.__enter__().write(b"half")
    [leftover] = [file.name for file in tmp_path.iterdir() if file.name != "model.pth"]
    assert remove_temporary_files(tmp_path) == [leftover]
    assert [file.read_text() for file in tmp_path.iterdir()] == ["whole"]


@pytest.mark.parametrize("name", ["report.tmp-march.txt", "a.tmp-abcdefgh", "notes.fastreid-tmp-of-mine.txt"])
def test_other_files_are_not_removed(tmp_path, name):
    (tmp_path / name).write_text("mine")
    assert remove_temporary_files(tmp_path) == []
    assert (tmp_path / name).read_text() == "mine"


def test_git_ignores_temporary_files():
    lines = (Path(__file__).parents[3] / ".gitignore").read_text().splitlines()
    assert f"*{TEMPORARY_MARK}*" in lines


def test_sha256_of_an_empty_file(tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    assert compute_sha256(tmp_path / "empty").startswith("e3b0c44298fc1c14")
