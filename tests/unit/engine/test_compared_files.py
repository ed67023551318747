"""Which files of a list have a digest in its fingerprint."""

import errno
import os

import pytest

from fastreid.engine.resume import data_fingerprint
from fastreid.engine.resume.data_fingerprint import (
    NUM_SAMPLED_FILES,
    TRAINING,
    compute_fingerprint,
    describe_change,
    num_compared_bytes,
    sample_rows,
)
from fastreid.structures import Drawing
from fastreid.utils.errors import StorageError
from fastreid.utils.files import open_regular_file


def write_drawings(folder, num):
    drawings = []
    for row in range(num):
        path = folder / f"{row}.png"
        path.write_bytes(bytes([row % 256]) * 100)
        drawings.append(Drawing(str(path), path.name, str(row // 3)))
    return drawings


def test_every_file_of_a_list_of_thousands_is_compared(tmp_path):
    drawings = write_drawings(tmp_path, 1200)
    before = compute_fingerprint(drawings, {}).state
    status = os.stat(drawings[1001].path)
    (tmp_path / drawings[1001].name).write_bytes(b"x" * 100)
    os.utime(drawings[1001].path, ns=(status.st_atime_ns, status.st_mtime_ns))
    text = describe_change(before, compute_fingerprint(drawings, {}))
    assert text == "the training list changed: 1 of 1200 compared files have another content, first 1001.png"


@pytest.mark.parametrize(
    ("num", "num_rows", "num_bytes"),
    [(0, 0, 4 << 20), (256, 256, 4 << 20), (1024, 1024, 1 << 20), (16384, 16384, 1 << 16), (16385, 256, 4 << 20)],
)
def test_compared_bytes_of_a_list_are_limited(num, num_rows, num_bytes):
    assert (len(sample_rows(num)), num_compared_bytes(num)) == (num_rows, num_bytes)


def test_very_many_files_are_sampled(tmp_path, monkeypatch):
    monkeypatch.setattr(data_fingerprint, "MAX_COMPARED_FILES", NUM_SAMPLED_FILES + 49)
    drawings = write_drawings(tmp_path, NUM_SAMPLED_FILES + 50)
    state = compute_fingerprint(drawings, {}).state["lists"][TRAINING]
    assert len(state["samples"]) == NUM_SAMPLED_FILES
    assert len(state["names"]) == NUM_SAMPLED_FILES + 50


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO])
def test_file_that_can_no_longer_be_read_is_named_with_the_reason(number, tmp_path, monkeypatch):
    drawings = write_drawings(tmp_path, 12)
    before = compute_fingerprint(drawings, {}).state

    def fail(path, flags):
        if str(path).endswith("2.png"):
            raise OSError(number, "the reason")
        return open_regular_file(path, flags)

    for module in ("engine.resume.data_fingerprint", "data.io.image"):
        monkeypatch.setattr(f"fastreid.{module}.open_regular_file", fail)
    now = compute_fingerprint(drawings, {})
    if number == errno.EIO:
        with pytest.raises(StorageError, match=r"2\.png: cannot be read: the reason; check the disk"):
            describe_change(before, now)
    else:
        assert describe_change(before, now) == (
            "the training list changed: 1 of 12 compared files have another content or cannot be read, first "
            f"{drawings[2].path}: cannot be read (the reason); check the path and its permissions"
        )
