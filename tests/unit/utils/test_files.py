import errno
import os
import resource
import shutil
import stat
from pathlib import Path
from types import SimpleNamespace

import pytest

from fastreid.utils.errors import StorageError
from fastreid.utils.files import (
    TEMPORARY_MARK,
    append_line,
    atomic_write,
    compute_sha256,
    open_own_file,
    remove_temporary_files,
    write_error,
    write_text,
)
from fastreid.utils.locks import exclusive_lock


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


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
@pytest.mark.parametrize(("content", "size"), [("x" * 12, "12 bytes"), ("ä" * 800_000, "1.6 MB")])
def test_full_disk_error_has_the_size_of_the_whole_file(number, content, size, tmp_path, monkeypatch):
    def fail(handle):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StorageError, match=rf"file.txt: cannot be written \({os.strerror(number)}: {size} needed"):
        write_text(tmp_path / "file.txt", content)
    assert list(tmp_path.iterdir()) == []


def write_in_parts(path):
    with atomic_write(path) as file:
        for _ in range(50):
            file.write(bytes(100_000))


def test_size_is_exact_although_writing_stops_early(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(StorageError, match=r"\(File too large: 5\.0 MB needed\); free space"):
            write_in_parts(tmp_path / "file")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


def test_free_space_is_that_of_the_file_system(tmp_path, monkeypatch):
    usage = SimpleNamespace(total=9999, free=1234)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage if folder == tmp_path else None)
    error = write_error(tmp_path / "new/file", OSError(errno.ENOSPC, "No space left on device"), num_bytes=5_000_000)
    assert "(No space left on device: 5.0 MB needed, 1,234 bytes free); free space or choose another" in str(error)


def test_too_many_open_files_are_not_a_full_disk(tmp_path):
    error = write_error(tmp_path / "file", OSError(errno.EMFILE, "Too many open files"))
    assert (error.exit_code, str(error)[:20]) == (3, "too many open files:")


@pytest.mark.parametrize("mask", [0o077, 0o022, 0o027, 0o002])
def test_permissions_are_those_of_the_umask(mask, tmp_path):
    previous = os.umask(mask)
    try:
        write_text(tmp_path / "new/file.txt", "text")
        append_line(tmp_path / "new/lines", "text")
        with exclusive_lock(tmp_path / "new/.lock", activity="testing", config_key="OUTPUT_DIR"):
            pass
    finally:
        os.umask(previous)
    files = [path for path in (tmp_path / "new").iterdir() if path.is_file()]
    assert len(files) == 3
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o666 & ~mask}
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o777 & ~mask


def occupy(path, kind):
    target = path.with_name("target")
    if kind == "link":
        target.write_text("as it was")
    makers = {"pipe": os.mkfifo, "folder": os.mkdir}
    makers.get(kind, lambda path: os.symlink(target, path))(path)


@pytest.mark.parametrize("kind", ["link", "dangling link", "pipe", "folder"])
@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_WRONLY | os.O_CREAT | os.O_APPEND, os.O_RDWR | os.O_CREAT])
def test_only_a_regular_file_is_opened_under_its_name(kind, flags, tmp_path):
    occupy(tmp_path / "file", kind)
    with pytest.raises(StorageError, match=r"file: is a (symbolic link|pipe|folder), but must be a regular file"):
        open_own_file(tmp_path / "file", flags)
    assert not (tmp_path / "target").exists() or (tmp_path / "target").read_text() == "as it was"


def test_line_is_appended_completely_or_not_at_all(tmp_path, monkeypatch):
    append_line(tmp_path / "lines", "one")
    write = os.write

    def write_half(handle, data):
        if len(data) < 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(handle, bytes(data[: len(data) // 2]))

    monkeypatch.setattr(os, "write", write_half)
    with pytest.raises(StorageError, match=r"lines: cannot be written \(No space left on device: 12 bytes needed, "):
        append_line(tmp_path / "lines", "two and two")
    monkeypatch.undo()
    append_line(tmp_path / "lines", "three")
    assert (tmp_path / "lines").read_text() == "one\nthree\n"
