import re
import shutil
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from commands import TINY, is_short_error, run_here
from PIL import Image

from fastreid.data.build import build_sampler
from fastreid.engine.data import build_datasets
from fastreid.engine.setup import load_config

CACHE = ("DATASETS.CACHE.ENABLED", True)
SKIP = ("INPUT.ON_BAD_IMAGE", "skip")
WHITEN = ("TEST.WHITEN.ENABLED", True, "TEST.WHITEN.LEARN_FROM", "train", "TEST.WHITEN.DIM", 8)


@pytest.fixture
def root(drawings, tmp_path):
    return shutil.copytree(drawings, tmp_path / "data")


def read_paths(root, name):
    """Return the path and patent id of each line of a list."""
    pages = {path.name: path for path in root.rglob("*.png")}
    lines = next(root.rglob(name)).read_text().splitlines()
    return [(pages[line.split()[0].rpartition("/")[2]], line.split()[-1]) for line in lines]


def call(tool, root, *options, code=0):
    exit_code, output, errors = run_here(
        tool, "--config-file", TINY, *options, "DATASETS.ROOT", root, folder=root.parent
    )
    assert exit_code == code, output + errors
    assert code == 0 or is_short_error(errors)
    return errors if code else output


def test_whitening_skips_unreadable_training_drawings(root, trained):
    unreadable = read_paths(root, "train_patent_trn.txt")[0][0]
    unreadable.write_bytes(b"no image")
    options = ("MODEL.WEIGHTS", trained / "model_best.pth", *WHITEN, "OUTPUT_DIR", "out")
    assert f"{unreadable.name}: not an image" in call("test", root, *options, code=2)
    rankings = []
    for more in ((), CACHE):
        output = call("test", root, *options, *SKIP, *more)
        assert output.count(f"{unreadable.name}: not an image") == 1
        rankings.append(np.load(root.parent / "out/result.npy", allow_pickle=True))
    assert (rankings[0] == rankings[1]).all()


def test_training_reads_headers_before_the_first_iteration(root):
    paths = [path for path, _ in read_paths(root, "train_patent_trn.txt")]
    paths[0].write_bytes(b"no image")
    paths[5].write_bytes(b"")
    errors = call("train", root, "OUTPUT_DIR", "out", code=2)
    assert errors.startswith("unreadable training drawings; set INPUT.ON_BAD_IMAGE skip, or replace them before a new")
    assert f"{paths[0].name}: not an image; allowed are " in errors
    assert f"{paths[5].name}: an empty file (0 bytes)\n" in errors
    assert "remove" not in errors
    assert not (root.parent / "out/metrics.json").exists()


def test_image_that_stops_training_is_skipped_by_the_resumed_run(root):
    path = max((path for path, _ in read_paths(root, "train_patent_trn.txt")), key=lambda path: path.stat().st_size)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])  # with a valid header
    options = ("OUTPUT_DIR", "out", "SOLVER.MAX_EPOCH", 2)
    errors = call("train", root, *options, code=2)
    assert f"{path.name}: a corrupt image (" in errors
    assert "; replace the file, or set INPUT.ON_BAD_IMAGE skip to train without it" in errors
    assert "remove" not in errors
    if "saved out/model_stopped.pth" in errors:
        assert errors.rstrip().endswith("; continue with --resume")
    output = call("train", root, "--resume", *options, *SKIP)
    assert f"{path.name}: a corrupt image (" in output
    output = call("train", root, "--resume", *options, *SKIP, "SOLVER.MAX_EPOCH", 1)
    assert "the run is finished: its checkpoint is at epoch 2, beyond SOLVER.MAX_EPOCH 1" in output


@pytest.mark.parametrize("options", [(), SKIP, (*SKIP, *CACHE), ("DATALOADER.NUM_WORKERS", 2)])
def test_unreadable_image_may_be_repaired_before_a_resume(options, root):
    drawings = build_datasets(load_config(TINY, ["DATASETS.ROOT", str(root)]))[0]
    first, second = islice(build_sampler(load_config(TINY), drawings).batches(), 2)
    path = next(Path(drawings[row].path) for row in second if row not in first)
    other = next(Path(one.path) for one in drawings if one.path != str(path))
    content = path.read_bytes()
    options = ("OUTPUT_DIR", "out", "SOLVER.MAX_EPOCH", 1, *options)
    path.write_bytes(content[: len(content) // 2])
    output = call("train", root, *options, code=0 if "skip" in options else 2)
    assert f"{path.name}: a corrupt image (" in output
    path.write_bytes(content)
    output = call("train", root, "--resume", *options, "SOLVER.MAX_EPOCH", 2)
    assert re.search(rf"1 file that this run could not read changed, first \S*{path.name}; used from now on", output)
    other.write_bytes(other.read_bytes() + b"more")
    errors = call("train", root, "--resume", *options, "SOLVER.MAX_EPOCH", 3, code=2)
    assert f"1 of {len(drawings)} files have another size" in errors


def test_image_that_a_new_run_reads_cannot_be_replaced(root):
    path = read_paths(root, "train_patent_trn.txt")[0][0]
    Image.new("L", (200, 200), 99).save(path)
    options = ("OUTPUT_DIR", "out", "SOLVER.MAX_EPOCH", 1)
    output = call("train", root, *options, *SKIP, "INPUT.MAX_PIXELS", 20_000)
    assert f"{path.name}: " in output
    assert f"{path.name}: " not in call("train", root, *options)
    Image.new("L", (300, 300), 99).save(path)
    errors = call("train", root, "--resume", *options, "SOLVER.MAX_EPOCH", 2, code=2)
    assert "files have another size" in errors


def test_image_that_is_damaged_after_it_was_read_cannot_be_replaced(root):
    path = read_paths(root, "train_patent_trn.txt")[0][0]
    content = path.read_bytes()
    options = ("OUTPUT_DIR", "out", *SKIP)
    call("train", root, *options, "SOLVER.MAX_EPOCH", 1)
    path.write_bytes(content[: len(content) // 2])
    output = call("train", root, "--resume", *options, "SOLVER.MAX_EPOCH", 2)
    assert f"{path.name}: a corrupt image (" in output
    Image.new("L", (300, 300), 99).save(path)
    errors = call("train", root, "--resume", *options, "SOLVER.MAX_EPOCH", 3, code=2)
    assert "files have another size" in errors
    path.write_bytes(content)
    call("train", root, "--resume", *options, "SOLVER.MAX_EPOCH", 3)


def test_extraction_does_not_skip_unreadable_drawings(root, trained):
    unreadable = read_paths(root, "train_patent_trn.txt")[0][0]
    unreadable.write_bytes(b"no image")
    options = ("--split", "train", "MODEL.WEIGHTS", trained / "model_best.pth", "OUTPUT_DIR", "out", *SKIP)
    for more in ((), CACHE):
        errors = call("extract", root, *options, *more, code=2)
        assert f"{unreadable.name}: not an image" in errors
        assert "skip applies to training only: tests and saved features have a row for every drawing" in errors


def test_patent_without_readable_drawings_fails_before_training(root):
    trained_on = read_paths(root, "train_patent_trn.txt")
    patent = trained_on[0][1]
    lost = [path for path, other in trained_on if other == patent]
    for path in lost:
        path.write_bytes(b"no image")
    message = f"none of the {len(lost)} drawings of its patent {patent} can be read"
    assert message in call("data cache", root, *SKIP, code=2)
    assert message in call("train", root, *SKIP, *CACHE, "OUTPUT_DIR", "out", code=2)
    assert not (root.parent / "out/metrics.json").exists()
    errors = call("data cache", root, *SKIP, "INPUT.MAX_BAD_IMAGES", 1, code=2)
    assert f"{len(lost)} training drawings cannot be read, and INPUT.MAX_BAD_IMAGES is 1" in errors
