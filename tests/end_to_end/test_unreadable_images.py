"""INPUT.ON_BAD_IMAGE skip from the shell: what is passed over, what is refused, and in which words."""

import shutil

import numpy as np
import pytest
from commands import TINY, run_here

CACHE = ("DATASETS.CACHE.ENABLED", True)
SKIP = ("INPUT.ON_BAD_IMAGE", "skip")
WHITEN = ("TEST.WHITEN.ENABLED", True, "TEST.WHITEN.LEARN_FROM", "train", "TEST.WHITEN.DIM", 8)


@pytest.fixture
def root(drawings, tmp_path):
    return shutil.copytree(drawings, tmp_path / "data")


def pages_of(root, name):
    """The paths of a list, in its order, and with the patents."""
    pages = {path.name: path for path in root.rglob("*.png")}
    lines = next(root.rglob(name)).read_text().splitlines()
    return [(pages[line.split()[0].rpartition("/")[2]], line.split()[-1]) for line in lines]


def call(tool, root, *words, code=0):
    left, output, errors = run_here(tool, "--config-file", TINY, *words, "DATASETS.ROOT", root, folder=root.parent)
    assert left == code, output + errors
    assert code == 0 or len(errors.splitlines()) == 1
    return errors if code else output


def test_whitening_leaves_bad_training_drawings_out_with_and_without_the_cache(root, trained):
    bad = pages_of(root, "train_patent_trn.txt")[0][0]
    bad.write_bytes(b"no image")
    words = ("MODEL.WEIGHTS", trained / "model_best.pth", *WHITEN, "OUTPUT_DIR", "out")
    assert f"{bad.name}: not an image" in call("test.py", root, *words, code=2)
    found = []
    for more in ((), CACHE):
        output = call("test.py", root, *words, *SKIP, *more)
        assert output.count(f"{bad.name}: not an image") == 1
        found.append(np.load(root.parent / "out/result.npy", allow_pickle=True))
    assert (found[0] == found[1]).all()


def test_saved_features_of_training_drawings_are_refused_rather_than_shifted(root, trained):
    bad = pages_of(root, "train_patent_trn.txt")[0][0]
    bad.write_bytes(b"no image")
    words = ("--split", "train", "MODEL.WEIGHTS", trained / "model_best.pth", "OUTPUT_DIR", "out", *SKIP)
    for more in ((), CACHE):
        errors = call("extract.py", root, *words, *more, code=2)
        assert f"{bad.name}: not an image" in errors
        assert "skip is for training: a test and saved features have a row for every drawing" in errors


def test_a_patent_without_any_readable_drawing_is_named_before_the_first_step(root):
    trained_on = pages_of(root, "train_patent_trn.txt")
    patent = trained_on[0][1]
    lost = [path for path, word in trained_on if word == patent]
    for path in lost:
        path.write_bytes(b"no image")
    told = f"nor can any of the {len(lost)} drawings of its patent {patent} be read"
    assert told in call("prepare.py", root, *SKIP, code=2)
    assert told in call("train_net.py", root, *SKIP, *CACHE, "OUTPUT_DIR", "out", code=2)
    assert not (root.parent / "out/metrics.json").exists()
    errors = call("prepare.py", root, *SKIP, "INPUT.MAX_BAD_IMAGES", 1, code=2)
    assert f"{len(lost)} cannot be read, and INPUT.MAX_BAD_IMAGES is 1" in errors
