"""Temporary folders of killed processes are deleted by the next one, those of running processes are not."""

import os
import tempfile

from fastreid.utils.temporary_folders import make_temporary_folder

PREFIX = "fastreid-test-"


def make_old(folder):
    os.utime(folder, (1e9, 1e9))
    return folder


def test_remains_of_a_killed_process_are_deleted(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    killed, foreign = tmp_path / f"{PREFIX}killed", tmp_path / f"{PREFIX}foreign"
    for folder in (killed, foreign):
        folder.mkdir()
        (folder / "1.sqlite").write_text("x")
    (killed / ".lock").touch()
    make_old(foreign)  # without a lock file: not made by this function
    with make_temporary_folder(PREFIX):
        assert killed.exists()  # could have been made just now
    make_old(killed)
    with make_temporary_folder(PREFIX) as running:
        assert not killed.exists()
        make_old(running)
        with make_temporary_folder(PREFIX) as other:
            assert running.is_dir()
            assert other != running
        assert not other.exists()
    assert [path.name for path in tmp_path.iterdir()] == [foreign.name]
