import pytest

from fastreid.utils.errors import StorageError
from fastreid.utils.files import atomic_write, remove_stale, sha256_of, write_text


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
    (tmp_path / "model.pth.tmp-abc").write_bytes(b"half")
    (tmp_path / "model.pth").write_bytes(b"whole")
    assert remove_stale(tmp_path) == ["model.pth.tmp-abc"]
    assert [file.name for file in tmp_path.iterdir()] == ["model.pth"]


def test_the_digest_is_that_of_the_bytes(tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    assert sha256_of(tmp_path / "empty").startswith("e3b0c44298fc1c14")
