"""Folders that are built once for all workers of pytest-xdist."""

import fcntl
import os
import shutil


def build_once(tmp_path_factory, name, build):
    """Return the folder of a name; the first worker that needs it calls `build(folder)`, others wait.

    Tests must not change the folder.
    """
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent  # the folder of the whole run
    folder, marker = base / name, base / f"{name}.built"
    with open(base / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not marker.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            build(folder)
            marker.touch()
    return folder
