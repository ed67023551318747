import subprocess

import pytest

from fastreid.utils import checksums
from fastreid.utils.checksums import checksum_path, move_with_checksum, verify_checksum, write_with_checksum
from fastreid.utils.errors import StorageError, WeightsError


def write(path, data):
    with write_with_checksum(path) as file:
        file.write(data[:2])
        file.write(data[2:])


def test_any_change_of_a_file_is_detected(tmp_path):
    path = tmp_path / "model.pth"
    write(path, b"weights")
    verify_checksum(path)
    for data in (b"weightt", b"weight", b"weights ", b""):
        path.write_bytes(data)
        with pytest.raises(WeightsError, match=r"model.pth: damaged or changed, .* not that of model.pth.sha256"):
            verify_checksum(path)


def test_file_without_checksum_is_accepted(tmp_path):
    (tmp_path / "theirs.pth").write_bytes(b"anything")
    verify_checksum(tmp_path / "theirs.pth")


def test_checksum_file_is_compatible_with_sha256sum(tmp_path):
    path = tmp_path / "model.pth"
    write(path, b"old")
    write(path, b"new")
    result = subprocess.run(["sha256sum", "-c", checksum_path(path).name], cwd=tmp_path, capture_output=True, text=True)
    assert result.stdout == "model.pth: OK\n"
    checksum_path(path).write_bytes(subprocess.check_output(["sha256sum", path]))
    verify_checksum(path)


@pytest.mark.parametrize("first", [b"", b"old"])
def test_checksum_is_valid_between_all_renames(first, tmp_path, monkeypatch):
    """Whenever a kill can occur, the file on disk matches its checksum."""
    path, contents = tmp_path / "model.pth", []
    if first:
        write(path, first)
    write_text = checksums.write_text

    def write_and_verify(*arguments, **options):
        for action in (lambda: None, lambda: write_text(*arguments, **options)):
            action()
            contents.append(path.read_bytes() if path.exists() else b"")
            verify_checksum(path) if path.exists() else None

    monkeypatch.setattr(checksums, "write_text", write_and_verify)
    write(path, b"new")
    assert contents == ([b"old", b"old", b"new", b"new"] if first else [b"", b""])
    verify_checksum(path)


def test_kill_while_replacing_an_unverified_file(tmp_path, monkeypatch):
    (tmp_path / "model.pth").write_bytes(b"old")
    monkeypatch.setattr(checksums, "write_text", lambda path, text, **options: path.write_text(text) and stop())

    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "model.pth", b"new")
    assert (tmp_path / "model.pth").read_bytes() == b"old"
    verify_checksum(tmp_path / "model.pth")


def test_old_file_is_kept_if_the_checksum_cannot_be_written(tmp_path, monkeypatch):
    path = tmp_path / "model.pth"
    write(path, b"old")

    def raise_disk_full(*arguments, **options):
        raise StorageError("full")

    monkeypatch.setattr(checksums, "write_text", raise_disk_full)
    with pytest.raises(StorageError):
        write(path, b"new")
    assert path.read_bytes() == b"old"
    verify_checksum(path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["model.pth", "model.pth.sha256"]


def test_move_replaces_the_file_and_its_checksum(tmp_path):
    for name, data in (("a", b"one"), ("b", b"two")):
        write(tmp_path / name, data)
    move_with_checksum(tmp_path / "a", tmp_path / "b")
    verify_checksum(tmp_path / "b")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["b", "b.sha256"]
    (tmp_path / "b").write_bytes(b"two")
    with pytest.raises(WeightsError):
        verify_checksum(tmp_path / "b")
