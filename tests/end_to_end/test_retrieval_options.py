"""Steps and features of a test from the shell: equal for a direct test and saved features, recorded, and checked."""

import json
import shutil

import numpy as np
import pytest
from commands import TINY, call, run
from tiny_backbone import TinyBackbone

from fastreid.utils.files import compute_sha256

FILES = ("result.npy", "result.zip", "ranks.png")


@pytest.fixture(scope="module")
def saved(source, tmp_path_factory):
    """Return a working folder with the features of all splits in out/features."""
    folder = tmp_path_factory.mktemp("saved")
    call("extract", folder, "--split", "all", *source, "OUTPUT_DIR", "out")
    return folder


def test_negatives_and_super_global_from_saved_features(saved, source, tmp_path):
    steps = ("TEST.NEGATIVE.ENABLED", True, "TEST.SUPERGLOBAL.ENABLED", True, "TEST.WHITEN.ENABLED", True)
    call("test", tmp_path, *source, *steps, "OUTPUT_DIR", "direct")
    call("test", tmp_path, "--features", saved / "out/features", *steps, "OUTPUT_DIR", "ranked")
    scores = json.loads((tmp_path / "ranked/scores.json").read_text())
    names = [step["name"] for step in scores["steps"]]
    assert names == ["search", "+ whitening", "- negatives", "+ SuperGlobal"]
    for name in FILES:
        assert compute_sha256(tmp_path / "ranked" / name) == compute_sha256(tmp_path / "direct" / name), name
    shutil.copytree(saved / "out/features", tmp_path / "features")
    (tmp_path / "features/Generated/train.npy").unlink()
    errors = call("test", tmp_path, "--features", "features", *steps, "OUTPUT_DIR", "ranked", code=2)
    assert "TEST.NEGATIVE subtracts features of training drawings, but there are no features of training" in errors


def test_two_processes_give_the_ranking_of_one_after_negatives_and_super_global(source, tmp_path):
    steps = ("TEST.NEGATIVE.ENABLED", True, "TEST.SUPERGLOBAL.ENABLED", True)
    call("test", tmp_path, *source, *steps, "OUTPUT_DIR", "one")
    arguments = ("--config-file", TINY, "--num-gpus", 2, *source, *steps, "OUTPUT_DIR", "two")
    code, output, errors = run("test", *arguments, folder=tmp_path)
    assert code == 0, errors
    assert "+ SuperGlobal" in output
    one, two = ((tmp_path / folder / "result.npy").read_bytes() for folder in ("one", "two"))
    assert one == two


def test_local_features_from_saved_features_and_their_tuning(source, tmp_path):
    local = ("TEST.LOCAL.ENABLED", True, "TEST.LOCAL.GRID", 3, "TEST.LOCAL.TOP_N", 20)
    call("test", tmp_path, *source, *local, "OUTPUT_DIR", "direct")
    call("extract", tmp_path, *source, *local, "OUTPUT_DIR", "out")
    folder = tmp_path / "out/features/Generated"
    queries, positions = np.load(folder / "queries.npy"), np.load(folder / "queries_local.npy")
    assert len(positions) == len(queries)
    assert (positions.shape[1] - 1) % 9 == 0
    call("test", tmp_path, "--features", "out/features", *local, "OUTPUT_DIR", "ranked")
    scores = json.loads((tmp_path / "ranked/scores.json").read_text())
    assert [step["name"] for step in scores["steps"]] == ["search", "+ local features"]
    for name in FILES:
        assert compute_sha256(tmp_path / "ranked" / name) == compute_sha256(tmp_path / "direct" / name), name
    errors = call("test", tmp_path, "--features", "out/features", *local[:2], "OUTPUT_DIR", "x", code=2)
    assert "extracted with TEST.LOCAL.MODULE '' TEST.LOCAL.GRID 3, not with TEST.LOCAL.MODULE '' TEST" in errors
    options = ("--steps", "LOCAL", "--local-weight", "1", "TEST.SCORE.BOOTSTRAP", 0, *local, "OUTPUT_DIR", "tuned")
    call("tune", tmp_path, "--features", folder, *options)
    trials = (tmp_path / "tuned/tuning.csv").read_text()
    assert trials.count("\n") == 3  # the header, plain search and one weight
    output = call("extract", tmp_path, *source, *local, "TEST.LOCAL.GRID", 2, "OUTPUT_DIR", "out")
    assert "queries_local and gallery_local: the list, its files or TEST.LOCAL changed" in output
    output = call("extract", tmp_path, *source, "OUTPUT_DIR", "out")
    assert "extracting features of" not in output
    assert np.load(folder / "queries_local.npy").shape[1] == 1 + (positions.shape[1] - 1) * 4 // 9


def test_scales_and_power_change_features_of_all_commands(saved, source, tmp_path):
    options = ("TEST.SCALES", "(1.0, 2.0)", "TEST.GEM_POWER", 5.0)
    call("test", tmp_path, *source, *options, "OUTPUT_DIR", "direct")
    shutil.copytree(saved / "out/features", tmp_path / "features")
    output = call("extract", tmp_path, "--output", "features", *source, *options, "OUTPUT_DIR", "out")
    assert "TEST.GEM_POWER was 0.0 and is 5.0; TEST.SCALES was [1.0] and is [1.0, 2.0]" in output
    call("test", tmp_path, "--features", "features", *options, "OUTPUT_DIR", "ranked")
    for name in FILES:
        assert compute_sha256(tmp_path / "ranked" / name) == compute_sha256(tmp_path / "direct" / name), name
    queries = tmp_path / "features/Generated/queries.npy"
    assert not np.array_equal(np.load(queries), np.load(saved / "out/features/Generated/queries.npy"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("TEST.SCALES", "(1.0, 1.2)"), "TEST.SCALES: 1 and 1.2 both give images of 32 x 32 px"),
        (("TEST.SCALES", "(1.1,)"), "TEST.SCALES: 1.1 keeps the size of images of 32 x 32 px"),
        (("TEST.GEM_POWER", 4, "MODEL.HEADS.POOL_LAYER", "GlobalAvgPool"), "has no generalized-mean pooling; set it"),
        (
            ("TEST.NEGATIVE.ENABLED", True, "DATASETS.COMBINEALL", True, "DATASETS.ALLOW_OVERLAP", True),
            "TEST.NEGATIVE would subtract the test drawings from themselves",
        ),
    ],
)
def test_options_without_effect_are_errors_of_direct_and_saved_tests(options, message, saved, source, tmp_path):
    assert message in call("test", tmp_path, *source, *options, "OUTPUT_DIR", "direct", code=2)
    saved_test = ("--features", saved / "out/features", "OUTPUT_DIR", "ranked")
    assert message in call("test", tmp_path, *saved_test, *options, code=2)


def test_power_without_effect_on_vectors_is_an_error_of_all_commands(source, drawings, tmp_path, monkeypatch):
    forward = TinyBackbone.forward
    monkeypatch.setattr(TinyBackbone, "forward", lambda self, images: forward(self, images).mean(dim=(2, 3)))
    page = next(drawings.rglob("*.png"))
    for command in ("test", "extract", "predict"):
        arguments = ("--output", "features.npy", page) if command == "predict" else ("OUTPUT_DIR", command)
        errors = call(command, tmp_path, *arguments, *source, "TEST.GEM_POWER", 6, code=2)
        assert "TEST.GEM_POWER is 6, but the network does not use its generalized-mean pooling" in errors, command
