"""A disk that fills up at any file that a tool writes: what was there before stays, byte for byte."""

import os
import resource
import shutil
import tempfile

import pytest
from commands import TINY, run_here

# The tool, its words, and the files it writes, each of which the disk refuses in turn.
WHITEN = ("TEST.WHITEN.ENABLED", True, "TEST.WHITEN.LEARN_FROM", "database", "TEST.WHITEN.DIM", 4)
TESTED = ("test.py", (), ("MODEL.WEIGHTS", "model.pth", "TEST.SCORE.PER_QUERY_FILE", "queries.csv", *WHITEN))
FILES = ("result.npy", "result.zip", "ranks.png", "queries.csv", "whitening.safetensors")
EXTRACTED = ("extract.py", (), ("MODEL.WEIGHTS", "model.pth"))
OTHERS = (*EXTRACTED[:2], (*EXTRACTED[2], "TEST.FLIP.ENABLED", True))  # other features in their place
SAVED = (
    "queries.npy",
    "queries.csv",
    "gallery.npy",
    "gallery.csv",
)  # the manifest goes first: unfinished from there on
TUNED = ("tune_postprocessing.py", ("--features", "saved", "--steps", "AQE", "--expansion-k", "2"), ())
CHECKED = ("check_data.py", ("--output", "out"), ())
SHOWN = ("show_augmentations.py", ("--draws", 1, "--output", "out/shown.png"), None)
COMPARED = ("compare_runs.py", ("run", "--output", "out/curves.png"), None)
WRITERS = [
    *((TESTED, f"out/{name}") for name in FILES),
    *((OTHERS, f"out/features/Generated/{name}") for name in SAVED),
    *((TUNED, f"out/{name}") for name in ("tuned.yml", "tuning.csv")),
    *((CHECKED, f"out/{name}") for name in ("data.json", "data.png")),
    *((SHOWN, "out/shown.png"), (COMPARED, "out/curves.png")),
]


@pytest.fixture(scope="module")
def stock(trained, tmp_path_factory):
    """A folder with weights, saved features and a run's metrics."""
    folder = tmp_path_factory.mktemp("full disk")
    shutil.copy(trained / "model_best.pth", folder / "model.pth")
    shutil.copytree(trained, folder / "run", ignore=shutil.ignore_patterns("*.pth*"))
    return folder


def call(writer, folder, drawings):
    tool, options, settings = writer
    config = ("--config-file", TINY) if settings is not None or tool == "show_augmentations.py" else ()
    root = ("DATASETS.ROOT", drawings, "OUTPUT_DIR", folder / "out") if settings is not None else ()
    return run_here(tool, *config, *options, *root, *(settings or ()), folder=folder)


def refuse(path, patch):
    """Let the system refuse what is written to the temporary of a file; a limit on sizes does what a full disk would."""
    plain, (soft, hard) = tempfile.mkstemp, resource.getrlimit(resource.RLIMIT_FSIZE)

    def mkstemp(*, prefix, dir):
        found = plain(prefix=prefix, dir=dir)
        if prefix.startswith(f"{path.name}.fastreid") and os.path.samefile(dir, path.parent):
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
        return found

    def unlink(name, **options):
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        return remove(name, **options)

    remove = os.unlink
    patch.setattr(tempfile, "mkstemp", mkstemp)
    patch.setattr(os, "unlink", unlink)


def tried(writer, path, *, drawings, patch):
    """What is wrong with how a tool met a disk that is full for one of its files; "" when nothing is."""
    before = path.read_bytes()
    with patch.context() as refused:
        refuse(path, refused)
        code, _, errors = call(writer, path.parents[len(path.parts) - path.parts.index("out") - 1], drawings)
    wrong = [f"exit code {code}"] * (code != 5) + [f"told {errors!r}"] * (
        f"{path.name}: cannot be written" not in errors
    )
    wrong += ["several lines"] * (len(errors.splitlines()) != 1) + ["it changed"] * (path.read_bytes() != before)
    wrong += ["a temporary stays"] * bool(list(path.parent.glob("*.fastreid-tmp-*")))
    return "; ".join(wrong)


def test_a_full_disk_keeps_every_file_that_a_tool_wrote_before(stock, drawings, monkeypatch):
    for writer in (TESTED, EXTRACTED):
        assert call(writer, stock, drawings)[0] == 0
    shutil.copytree(stock / "out/features/Generated", stock / "saved")
    for writer in (TUNED, CHECKED, SHOWN, COMPARED):
        code, _, errors = call(writer, stock, drawings)
        assert code == 0, errors
    faults = {}
    for writer, name in WRITERS:
        if writer is OTHERS:
            assert call(EXTRACTED, stock, drawings)[0] == 0
        fault = tried(writer, stock / name, drawings=drawings, patch=monkeypatch)
        faults |= {name: fault} if fault else {}
    print(f"\nR4 (tools) {len(WRITERS) - len(faults)}/{len(WRITERS)}")
    assert faults == {}
