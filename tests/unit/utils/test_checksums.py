import subprocess

import pytest

from fastreid.utils import checksums as checked
from fastreid.utils.checksums import verify_checksum, write_with_checksum, checksum_path, move_with_checksum
from fastreid.utils.errors import StorageError, WeightsError


def write(path, data):
    with write_with_checksum(path) as file:
        file.write(data[:2])
        file.write(data[2:])


def test_what_was_written_is_whole_and_anything_else_is_not(tmp_path):
    path = tmp_path / "model.pth"
    write(path, b"weights")
    verify_checksum(path)
    for data in (b"weightt", b"weight", b"weights ", b""):
        path.write_bytes(data)
        with pytest.raises(WeightsError, match=r"model.pth: damaged or changed, .* not that of model.pth.sha256"):
            verify_checksum(path)


def test_a_file_without_a_digest_is_taken_as_it_is(tmp_path):
    (tmp_path / "theirs.pth").write_bytes(b"anything")
    verify_checksum(tmp_path / "theirs.pth")


def test_sha256sum_reads_what_lies_beside_a_file_and_the_other_way_round(tmp_path):
    path = tmp_path / "model.pth"
    write(path, b"old")
    write(path, b"new")
    done = subprocess.run(["sha256sum", "-c", checksum_path(path).name], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout == "model.pth: OK\n"
    checksum_path(path).write_bytes(subprocess.check_output(["sha256sum", path]))
    verify_checksum(path)


@pytest.mark.parametrize("first", [b"", b"old"])
def test_between_any_two_changes_of_names_the_file_is_known(first, tmp_path, monkeypatch):
    """At each moment a kill could fall on, whatever is there is whole."""
    path, seen = tmp_path / "model.pth", []
    if first:
        write(path, first)
    plain = checked.write_text

    def look(*arguments):
        for moment in (lambda: None, lambda: plain(*arguments)):
            moment()
            seen.append(path.read_bytes() if path.exists() else b"")
            verify_checksum(path) if path.exists() else None

    monkeypatch.setattr(checked, "write_text", look)
    write(path, b"new")
    assert seen == ([b"old", b"old", b"new", b"new"] if first else [b"", b""])
    verify_checksum(path)


def test_a_file_of_before_there_were_digests_stays_known_while_it_is_replaced(tmp_path, monkeypatch):
    (tmp_path / "model.pth").write_bytes(b"old")
    monkeypatch.setattr(checked, "write_text", lambda path, text: path.write_text(text) and stop())

    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "model.pth", b"new")
    assert (tmp_path / "model.pth").read_bytes() == b"old"
    verify_checksum(tmp_path / "model.pth")


def test_a_disk_that_is_full_for_the_digest_keeps_the_old_file_too(tmp_path, monkeypatch):
    path = tmp_path / "model.pth"
    write(path, b"old")

    def full(*arguments):
        raise StorageError("full")

    monkeypatch.setattr(checked, "write_text", full)
    with pytest.raises(StorageError):
        write(path, b"new")
    assert path.read_bytes() == b"old"
    verify_checksum(path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["model.pth", "model.pth.sha256"]


def test_a_file_that_gets_another_name_takes_its_digest_along(tmp_path):
    for name, data in (("a", b"one"), ("b", b"two")):
        write(tmp_path / name, data)
    move_with_checksum(tmp_path / "a", tmp_path / "b")
    verify_checksum(tmp_path / "b")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["b", "b.sha256"]
    (tmp_path / "b").write_bytes(b"two")
    with pytest.raises(WeightsError):
        verify_checksum(tmp_path / "b")
