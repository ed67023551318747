"""A full disk at any file that a command writes: the previous file stays, byte for byte."""

import os
import resource
import shutil

import pytest
from commands import TINY, run_here

from fastreid.utils import files

# Command, options, settings; then the files it writes, each of which fails in turn.
WHITEN = ("TEST.WHITEN.ENABLED", True, "TEST.WHITEN.LEARN_FROM", "gallery", "TEST.WHITEN.DIM", 4)
TESTED = ("test", (), ("MODEL.WEIGHTS", "model.pth", "TEST.SCORE.PER_QUERY_FILE", "queries.csv", *WHITEN))
FILES = ("result.npy", "result.zip", "ranks.png", "queries.csv", "whitening.safetensors")
EXTRACTED = ("extract", (), ("MODEL.WEIGHTS", "model.pth"))
OTHERS = (*EXTRACTED[:2], (*EXTRACTED[2], "TEST.FLIP.ENABLED", True))  # replaces the features by others
SAVED = (
    "queries.npy",
    "queries.csv",
    "gallery.npy",
    "gallery.csv",
)  # the manifest is deleted first, so the set counts as unfinished
TUNED = ("tune", ("--features", "saved", "--steps", "AQE", "--expansion-k", "2"), ())
CHECKED = ("data check", ("--output", "out"), ())
SHOWN = ("data show", ("--samples", 1, "--output", "out/shown.png"), None)
COMPARED = ("compare", ("run", "--output", "out/curves.png"), None)
PREDICTED = (
    "predict",
    ("--config-file", TINY, "--weights", "model.pth", "--output", "out/features.npy", "out/shown.png"),
    None,
)
WRITERS = [
    *((TESTED, f"out/{name}") for name in FILES),
    *((OTHERS, f"out/features/Generated/{name}") for name in SAVED),
    *((TUNED, f"out/{name}") for name in ("tuned.yml", "tuning.csv")),
    *((CHECKED, f"out/{name}") for name in ("data.json", "data.png")),
    *((SHOWN, "out/shown.png"), (COMPARED, "out/curves.png"), (PREDICTED, "out/features.npy")),
]


@pytest.fixture(scope="module")
def inputs(trained, tmp_path_factory):
    """A folder with weights, and the metrics of a run."""
    folder = tmp_path_factory.mktemp("full disk")
    shutil.copy(trained / "model_best.pth", folder / "model.pth")
    shutil.copytree(trained, folder / "run", ignore=shutil.ignore_patterns("*.pth*"))
    return folder


def call(writer, folder, drawings):
    command, options, settings = writer
    config = ("--config-file", TINY) if settings is not None or command == "data show" else ()
    root = ("DATASETS.ROOT", drawings, "OUTPUT_DIR", folder / "out") if settings is not None else ()
    return run_here(command, *config, *options, *root, *(settings or ()), folder=folder)


def fill_disk(path, patch):
    """Make writing the temporary file of a file fail; a size limit has the effect of a full disk."""
    original, (soft, hard) = files.create_temporary_file, resource.getrlimit(resource.RLIMIT_FSIZE)

    def create(target):
        temporary = original(target)
        if target.name == path.name and os.path.samefile(target.parent, path.parent):
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
        return temporary

    def unlink(name, **options):
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        return remove(name, **options)

    remove = os.unlink
    patch.setattr(files, "create_temporary_file", create)
    patch.setattr(os, "unlink", unlink)


def find_problems(writer, path, *, drawings, patch):
    """Run a command with a full disk for one file and return the problems; "" if there are none."""
    before = path.read_bytes()
    with patch.context() as full:
        fill_disk(path, full)
        code, _, errors = call(writer, path.parents[len(path.parts) - path.parts.index("out") - 1], drawings)
    problems = [f"exit code {code}"] * (code != 5)
    problems += [f"error {errors!r}"] * (f"{path.name}: cannot be written" not in errors)
    problems += ["several lines"] * (len(errors.splitlines()) != 1)
    problems += ["the file changed"] * (path.read_bytes() != before)
    problems += ["a temporary file is left"] * bool(list(path.parent.glob("*.fastreid-tmp-*")))
    return "; ".join(problems)


def test_full_disk_keeps_previous_files(inputs, drawings, monkeypatch):
    for writer in (TESTED, EXTRACTED):
        assert call(writer, inputs, drawings)[0] == 0
    shutil.copytree(inputs / "out/features/Generated", inputs / "saved")
    for writer in (TUNED, CHECKED, SHOWN, COMPARED, PREDICTED):
        code, _, errors = call(writer, inputs, drawings)
        assert code == 0, errors
    faults = {}
    for writer, name in WRITERS:
        if writer is OTHERS:
            assert call(EXTRACTED, inputs, drawings)[0] == 0
        fault = find_problems(writer, inputs / name, drawings=drawings, patch=monkeypatch)
        faults |= {name: fault} if fault else {}
    print(f"\nR4 (commands) {len(WRITERS) - len(faults)}/{len(WRITERS)}")
    assert faults == {}
