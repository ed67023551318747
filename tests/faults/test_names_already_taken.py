"""A file of a run whose name is already a link, a pipe or a folder: nothing is followed, nothing hangs.

`-m faults` tries every file of a run; the default tests those that a run appends to.
"""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from training_runs import read_errors, start_training

from fastreid.data.io.cache.store import PageCache
from fastreid.structures import Drawing
from fastreid.utils.errors import StorageError

KINDS = ("link", "dangling link", "pipe", "folder")
# Opened under their name; all others are replaced as a whole.
APPENDED = (".lock", "log.txt", "metrics.json", "unreadable_drawings")
TEXT = "a file of somebody else"


def occupy(path, kind):
    """Give a name to a link, a pipe or a folder; links point to `target` in the parent of its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    target = path.parent.parent / "target"
    if kind == "link":
        target.write_text(TEXT)
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(target)


def is_unharmed(path, kind):
    """Return whether the target of a link is as it was."""
    target = path.parent.parent / "target"
    return target.read_text() == TEXT if kind == "link" else not target.exists()


def find_problems(folder, name, kind, root):
    """Train in a folder where a name is taken; return the faults, or an empty list."""
    path = folder / "one" / name
    occupy(path, kind)
    code = start_training(folder, stages=["one"], root=root).wait()
    errors = read_errors(folder)
    problems = [] if is_unharmed(path, kind) else ["the target has changed"]
    words = {"link": "a symbolic link", "dangling link": "a symbolic link", "pipe": "a pipe", "folder": "a folder"}
    if name in APPENDED:
        expected = f"{name}: is {words[kind]}, but must be a regular file; remove it or choose another folder"
        if code != 5 or len(errors) != 1 or not errors[0].endswith(expected):
            problems.append(f"exit code {code}: {errors}")
    elif code not in (0, 5, 6) or (code != 0 and len(errors) != 1):
        problems.append(f"exit code {code}: {errors}")
    elif code == 0 and path.is_symlink():
        problems.append("the link is still there")
    return [f"{name}, {kind}: {problem}" for problem in problems]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", APPENDED)
def test_file_that_a_run_appends_to_is_not_followed(name, kind, drawings, tmp_path):
    assert find_problems(tmp_path / "run", name, kind, drawings) == []


@pytest.mark.faults
@pytest.mark.timeout(1800)
def test_no_file_of_a_run_is_followed(drawings, uninterrupted, tmp_path):
    names = sorted(path.name for path in (uninterrupted(0)[0] / "one").iterdir() if path.is_file())
    names = [name for name in names if not name.startswith("events.")]  # the time and the process are part of the name
    faults = [
        problem
        for number, (name, kind) in enumerate((name, kind) for name in names for kind in KINDS)
        for problem in find_problems(tmp_path / str(number), name, kind, drawings)
    ]
    print(f"\nR6 (names) {len(names)} files, {len(names) * len(KINDS)} tries, {len(faults)} problems")
    assert faults == []


@pytest.mark.parametrize(
    "mask",
    [0o027, *(pytest.param(mask, marks=pytest.mark.faults) for mask in (0o077, 0o022))],  # 0o027 is nobody's default
)
def test_files_of_a_run_have_the_permissions_of_the_umask(mask, tmp_path):
    few = ["DATASETS.GENERATED.NUM_TRAIN_PATENTS", "4", "DATASETS.GENERATED.NUM_TEST_PATENTS", "1"]
    options = {"stages": ["one"], "root": "new data", "umask": mask, "settings": few}
    assert start_training(tmp_path / "run", **options).wait() == 0
    written = [path for path in (tmp_path / "run").rglob("*") if path.name not in ("output", "errors", "stage.yml")]
    modes = {path.relative_to(tmp_path): path.stat().st_mode & 0o777 for path in written}
    assert len(modes) > 40
    all_bits = {path: 0o777 if (tmp_path / path).is_dir() else 0o666 for path in modes}
    assert {path for path, mode in modes.items() if mode != all_bits[path] & ~mask and path.name != "run"} == set()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("suffix", [".sqlite", ".lock"])
def test_cache_file_is_not_followed(suffix, kind, tmp_path):
    Image.fromarray(np.full((20, 30), 200, np.uint8)).save(tmp_path / "1.png")
    cache = PageCache(tmp_path / "data/cache", longest_px=10)
    path = Path(cache.path).with_suffix(suffix)
    occupy(path, kind)
    with pytest.raises(StorageError, match=rf"{suffix}: is a .*, but must be a regular file"):
        cache.fill([Drawing(str(tmp_path / "1.png"), "1.png", "1")])
    assert is_unharmed(path, kind)
