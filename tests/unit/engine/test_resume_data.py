"""Training files that become unreadable, or are repaired, between a checkpoint and a resume."""

import os
from dataclasses import replace

import pytest
from PIL import Image

from fastreid.engine.checkpoint.index import archive_previous_run
from fastreid.engine.resume.data import (
    describe_change_since,
    describe_changed_times,
    find_repaired,
    merge_fingerprints,
)
from fastreid.engine.resume.data_fingerprint import TRAINING, compute_fingerprint
from fastreid.engine.resume.unreadable_record import RECORD_FILE, UnreadableRecord, read_record
from fastreid.structures import Drawing
from fastreid.utils import files
from fastreid.utils.errors import StorageError

NUM = 6


def write_drawings(folder):
    folder.mkdir()
    drawings = []
    for row in range(NUM):
        Image.new("L", (8, 8 + row), 40 * row).save(folder / f"{row}.png")
        drawings.append(Drawing(str(folder / f"{row}.png"), f"{row}.png", str(row // 2)))
    return drawings


def truncate(path):
    with open(path, "rb+") as file:
        file.truncate(os.path.getsize(path) // 2)


def resume(drawings, before, folder, *, skip=True):
    """Return the change since a checkpoint, the state for the next one, and the fingerprint."""
    now = compute_fingerprint(drawings, {}, skips_unreadable=skip, unreadable=read_record(folder))
    change = describe_change_since(before, now)
    return change, merge_fingerprints(before, now), now


def test_file_that_was_read_and_is_damaged_accepts_only_its_earlier_content(tmp_path):
    drawings = write_drawings(tmp_path / "data")
    state = compute_fingerprint(drawings, {}).state
    path = tmp_path / "data/3.png"
    content = path.read_bytes()
    truncate(path)
    change, state, now = resume(drawings, state, tmp_path)
    assert (change, describe_changed_times(state, now)) == ("", ([], []))
    UnreadableRecord(tmp_path, now).add([3])
    change, state, now = resume(drawings, state, tmp_path)  # still damaged
    assert (change, find_repaired(state, now)) == ("", [])
    Image.new("L", (20, 20)).save(path)
    assert "1 of 6 files have another size; first difference at drawing 4" in resume(drawings, state, tmp_path)[0]
    path.write_bytes(b"x" * len(content))
    assert resume(drawings, state, tmp_path)[0] == ""  # unreadable again
    assert "1 of 6 compared files have another content" in resume(drawings, state, tmp_path, skip=False)[0]
    path.write_bytes(content)
    for skip in (True, False):
        change, state, now = resume(drawings, state, tmp_path, skip=skip)
        assert (change, state) == ("", now.state)


def test_file_that_was_never_read_may_be_damaged_again_before_its_repair(tmp_path):
    drawings = write_drawings(tmp_path / "data")
    path = tmp_path / "data/3.png"
    truncate(path)
    before = compute_fingerprint(drawings, {})
    UnreadableRecord(tmp_path, before).add([3])
    truncate(path)
    change, state, _ = resume(drawings, before.state, tmp_path)
    assert change == ""
    Image.new("L", (20, 20)).save(path)
    change, state, now = resume(drawings, state, tmp_path)
    assert (change, state) == ("", now.state)
    Image.new("L", (30, 30)).save(path)  # a repaired file is like any other
    assert "1 of 6 files have another size" in resume(drawings, state, tmp_path)[0]


@pytest.mark.parametrize("is_deleted", [True, False])
def test_file_that_changes_during_a_run_is_not_recorded(is_deleted, tmp_path):
    drawings = write_drawings(tmp_path / "data")
    before = compute_fingerprint(drawings, {})
    truncate(tmp_path / "data/3.png")
    if is_deleted:
        os.unlink(tmp_path / "data/3.png")
    UnreadableRecord(tmp_path, before).add([2, 3])
    assert read_record(tmp_path) == {before.file_key(2)}
    Image.new("L", (20, 20)).save(tmp_path / "data/3.png")
    assert "1 of 6 files have another size" in resume(drawings, before.state, tmp_path)[0]


def test_joined_lists_with_equal_names_are_distinguished(tmp_path):
    one, two = (write_drawings(tmp_path / name) for name in ("one", "two"))
    drawings = [*one, *(replace(drawing, patent=f"two_{drawing.patent}") for drawing in two)]
    os.utime(tmp_path / "two/3.png", (1, 1))  # the keys of equal files differ
    before = compute_fingerprint(drawings, {})
    UnreadableRecord(tmp_path, before).add([3])
    for name in ("one", "two"):
        Image.new("L", (20, 20)).save(tmp_path / name / "3.png")
    change, _, now = resume(drawings, before.state, tmp_path, skip=False)
    assert change == f"{TRAINING} changed: 1 of 12 files have another size; first difference at drawing 10 (3.png)"
    assert find_repaired(before.state, now) == [3]


def test_new_run_deletes_the_record_and_writes_its_own(tmp_path):
    before = compute_fingerprint(write_drawings(tmp_path / "data"), {})
    UnreadableRecord(tmp_path, before).add([3])
    now = replace(before, unreadable=read_record(tmp_path))  # of the new run, before it starts
    archive_previous_run(tmp_path)
    assert read_record(tmp_path) == frozenset()
    UnreadableRecord(tmp_path, now).add([3])
    assert read_record(tmp_path) == {before.file_key(3)}


def test_record_that_cannot_be_written_is_one_warning(tmp_path, monkeypatch, logged_warnings):
    record = UnreadableRecord(tmp_path, compute_fingerprint(write_drawings(tmp_path / "data"), {}))

    def fail(handle, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "write_all", fail)
    for rows in ([1, 2], [3]):
        record.add(rows)
    [line] = logged_warnings
    assert line.startswith(f"{tmp_path / RECORD_FILE}: cannot be written (No space left on device: ")
    assert line.endswith("Without this record, --resume reports repaired files as changed")
    monkeypatch.undo()
    record.add([3])
    assert len(read_record(tmp_path)) == 1


def test_record_that_cannot_be_read_is_an_error(tmp_path, monkeypatch):
    path = tmp_path / RECORD_FILE
    path.mkdir()
    with pytest.raises(StorageError, match=r"unreadable_drawings: is a folder, but must be a regular file; remove it"):
        read_record(tmp_path)
    path.rmdir()
    path.write_text("")

    def fail(path, flags, *mode):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(files.os, "open", fail)
    with pytest.raises(StorageError, match=r"unreadable_drawings: cannot be read \(Permission denied\); check"):
        read_record(tmp_path)
