"""Features saved from the shell and ranked from the shell: the same bytes as a direct test, and no old ones by mistake."""

import json
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
from commands import TINY, TORCHRUN, run, run_here

from fastreid.evaluation.storage.manifest import read_manifest
from fastreid.evaluation.storage.saved_features import FeaturePart, load_features, save_features
from fastreid.utils.files import compute_sha256

FILES = ("result.npy", "result.zip", "ranks.png")
AQE = ("TEST.AQE.ENABLED", True)


def call(tool, folder, *words, code=0, shell=False, launcher=()):
    """Run a tool in a folder with the tiny config; what it said on stdout, or on stderr where a fault is expected.

    `shell` gives it a process of its own, in a locale that knows no Unicode.
    """
    words = ("--config-file", TINY, *words)
    if shell:
        left, output, errors = run(tool, *words, folder=folder, launcher=launcher, LC_ALL="C")
    else:
        left, output, errors = run_here(tool, *words, folder=folder)
    assert left == code, output + errors
    assert code == 0 or len(errors.splitlines()) == 1
    return errors if code else output


@pytest.fixture(scope="module")
def source(drawings, trained):
    """The settings of what is tested here: where the drawings lie and which weights."""
    return ("DATASETS.ROOT", drawings, "MODEL.WEIGHTS", trained / "model_best.pth")


@pytest.fixture(scope="module")
def saved(source, tmp_path_factory):
    """A working folder with the features of all splits in out/features."""
    folder = tmp_path_factory.mktemp("saved ünïcode")
    output = call("extract", folder, "--split", "all", *source, "OUTPUT_DIR", "out", shell=True)
    told = output.splitlines()[-1]
    assert told.startswith("out/features/Generated: wrote queries and gallery and train; it holds 16 x 512 queries, ")
    assert told.endswith(f"to test: python tools/test.py --config-file {TINY} --features out/features/Generated")
    return folder


@pytest.fixture(scope="module")
def direct(source, tmp_path_factory):
    """The output folder of a direct test of the same weights."""
    folder = tmp_path_factory.mktemp("direct")
    call("test", folder, *source, *AQE, "OUTPUT_DIR", "out")
    return folder / "out"


@pytest.mark.parametrize("where", ["out/features", "out/features/Generated"])
def test_saved_features_are_ranked_as_by_a_direct_test_to_the_byte(where, saved, direct, tmp_path, monkeypatch):
    for name in ("build_model_with_weights", "build_test_datasets", "build_datasets"):
        monkeypatch.delattr(f"fastreid.engine.evaluate.{name}")
    output = call("test", tmp_path, "--features", saved / where, *AQE, "OUTPUT_DIR", "ranked")
    assert "mAP@10" in output
    for name in FILES:
        assert compute_sha256(tmp_path / "ranked" / name) == compute_sha256(direct / name), name
    assert compute_sha256(tmp_path / "result.npy") == compute_sha256(direct / "result.npy")


@pytest.mark.parametrize("beside", [False, True])
def test_what_is_learnt_from_saved_training_drawings_is_what_a_direct_test_learns(beside, saved, source, tmp_path):
    steps = ("TEST.WHITEN.ENABLED", True, "TEST.WHITEN.LEARN_FROM", "train")
    shutil.copytree(saved / "out/features", tmp_path / "features")
    if beside:  # the test set under a name of its own, and the training drawings where DATASETS.NAMES says
        shutil.copytree(tmp_path / "features/Generated", tmp_path / "features/Mine")
        (tmp_path / "features/Mine/train.npy").unlink()
    where = "features/Mine" if beside else "features"
    call("test", tmp_path, *source, *steps, "OUTPUT_DIR", "direct")
    call("test", tmp_path, "--features", where, *steps, "OUTPUT_DIR", "ranked")
    for name in ("whitening.safetensors", *FILES):
        assert compute_sha256(tmp_path / "ranked" / name) == compute_sha256(tmp_path / "direct" / name), name


def test_two_processes_save_and_rank_the_bytes_of_one(saved, source, direct, tmp_path):
    words = ("--split", "all", "--output", "Zeichnungen ä 図", *source, "OUTPUT_DIR", "out")
    call("extract", tmp_path, *words, shell=True, launcher=TORCHRUN)
    files = [f"{part}.{ending}" for part in ("queries", "gallery", "train") for ending in ("npy", "csv")]
    for name in files:
        path = saved / "out/features/Generated" / name
        assert compute_sha256(tmp_path / "Zeichnungen ä 図/Generated" / name) == compute_sha256(path), name
    words = ("--num-gpus", 2, "--features", "Zeichnungen ä 図", *AQE, "OUTPUT_DIR", "ranked")
    call("test", tmp_path, *words, shell=True)
    assert compute_sha256(tmp_path / "result.npy") == compute_sha256(direct / "result.npy")


def test_what_is_there_is_not_made_again_and_what_changed_is(saved, source, drawings, tmp_path):
    shutil.copytree(drawings, tmp_path / "drawings")
    ours = ("--output", "features", "DATASETS.ROOT", tmp_path / "drawings", *source[2:], "OUTPUT_DIR", "out")
    call("extract", tmp_path, *ours)
    before = (tmp_path / "features/Generated/queries.npy").stat().st_mtime_ns
    assert "features/Generated: nothing to do; it holds" in call("extract", tmp_path, *ours)
    shown = (tmp_path / "features/Generated/gallery.csv").read_text(encoding="utf-8").splitlines()[1].rsplit(",", 1)[1]
    os.utime(shown)
    output = call("extract", tmp_path, *ours)
    assert "extracting features of gallery: the list or its files changed" in output
    assert "wrote gallery; it holds" in output
    assert (tmp_path / "features/Generated/queries.npy").stat().st_mtime_ns == before
    output = call("extract", tmp_path, *ours, "TEST.FLIP.ENABLED", True)
    assert "extracting features of queries and gallery: TEST.FLIP.ENABLED was False and is True" in output


def test_a_list_of_training_drawings_is_saved_alone_too(source, tmp_path):
    output = call("extract", tmp_path, "--split", "train", *source, "OUTPUT_DIR", "out")
    assert "wrote train; it holds" in output
    assert "to test" not in output
    assert not np.isnan(np.load(tmp_path / "out/features/Generated/train.npy")).any()
    told = call("test", tmp_path, "--features", "out/features", "OUTPUT_DIR", "ranked", code=2)
    assert "no features of queries and gallery" in told


def test_settings_that_would_give_other_features_now_are_told_and_the_saved_ones_count(saved, direct, tmp_path):
    settings = ("INPUT.SIZE_TEST", "[64, 64]", *AQE, "OUTPUT_DIR", "ranked")
    output = call("test", tmp_path, "--features", saved / "out/features", *settings)
    assert "using the saved features, although INPUT.SIZE_TEST was [32, 32] and is [64, 64]" in output
    assert compute_sha256(tmp_path / "result.npy") == compute_sha256(direct / "result.npy")


def test_features_of_other_weights_than_those_asked_for_are_refused(saved, trained, tmp_path):
    features = ("--features", saved / "out/features")
    other, same = trained / "model_0000.pth", trained / "model_best.pth"
    told = call("test", tmp_path, *features, "MODEL.WEIGHTS", other, "OUTPUT_DIR", "ranked", code=2)
    assert f"its features were made with {same}" in told
    assert f"not with MODEL.WEIGHTS {other}; leave MODEL.WEIGHTS out" in told
    assert not (tmp_path / "result.npy").exists()
    call("test", tmp_path, *features, "MODEL.WEIGHTS", same, "OUTPUT_DIR", "ranked")
    told = call("test", tmp_path, "--random-weights", *features, "OUTPUT_DIR", "ranked", code=2)
    assert "leave one of them out" in told


def test_other_weights_of_the_config_file_are_told_and_those_that_are_gone_are_nothing(saved, trained, tmp_path):
    features = ("--features", saved / "out/features", "OUTPUT_DIR", "ranked")
    for weights, words in ((trained / "model_0000.pth", "of the config file; using the saved features"), ("gone", "")):
        text = TINY.read_text().replace("MODEL:\n", f"MODEL:\n  WEIGHTS: '{weights}'\n", 1)
        (tmp_path / "mine.yml").write_text(text, encoding="utf-8")
        left, output, errors = run_here("test", "--config-file", tmp_path / "mine.yml", *features, folder=tmp_path)
        assert left == 0, errors
        assert words in output


def test_whitening_that_was_read_from_a_file_leaves_the_file_as_it_is(saved, tmp_path):
    words = ("--features", saved / "out/features", "TEST.WHITEN.ENABLED", True, "OUTPUT_DIR", "ranked")
    call("test", tmp_path, *words)
    before = compute_sha256(tmp_path / "ranked/whitening.safetensors")
    call("test", tmp_path, *words, "TEST.WHITEN.LEARN_FROM", "ranked/whitening.safetensors", "TEST.WHITEN.DIM", 4)
    assert compute_sha256(tmp_path / "ranked/whitening.safetensors") == before


def test_a_direct_test_refuses_whitening_it_cannot_do_before_it_looks_at_a_drawing(source, tmp_path, monkeypatch):
    monkeypatch.delattr("fastreid.engine.evaluate.build_model_with_weights")
    words = (*source, "TEST.WHITEN.ENABLED", True, "TEST.WHITEN.DIM", 600, "OUTPUT_DIR", "out")
    assert "TEST.WHITEN.DIM) is 600" in call("test", tmp_path, *words, code=2)


def test_what_tells_of_other_ranks_goes_where_images_and_patents_are_gone(saved, direct, tmp_path):
    origin = read_manifest(saved / "out/features/Generated").provenance
    parts = []
    for name in ("queries", "gallery"):
        features, drawings = load_features(saved / "out/features/Generated", name)
        gone = tuple(replace(drawing, path=f"/gone/{drawing.name}", patent="") for drawing in drawings)
        parts.append(FeaturePart(name, replace(features, patents=("",) * len(gone)), gone, "stamp"))
    save_features(tmp_path / "features/Generated", parts, provenance=origin)
    (tmp_path / "ranked").mkdir()
    for name in ("ranks.png", "queries.csv"):
        (tmp_path / "ranked" / name).write_bytes(b"of other ranks")
    words = ("TEST.SCORE.PER_QUERY_FILE", "queries.csv", "OUTPUT_DIR", "ranked")
    output = call("test", tmp_path, "--features", "features", *AQE, *words)
    assert "Generated: ranks.png is not written: /gone/" in output
    assert not (tmp_path / "ranked/ranks.png").exists()
    assert not (tmp_path / "ranked/queries.csv").exists()
    assert compute_sha256(tmp_path / "result.npy") == compute_sha256(direct / "result.npy")


def test_damaged_and_unfinished_features_are_refused_with_their_code(saved, tmp_path):
    shutil.copytree(saved / "out/features", tmp_path / "features")
    folder = tmp_path / "features/Generated"
    content = bytearray((folder / "gallery.npy").read_bytes())
    content[-1] ^= 1
    (folder / "gallery.npy").write_bytes(content)
    told = call("test", tmp_path, "--features", "features", "OUTPUT_DIR", "ranked", code=6, shell=True)
    assert "gallery.npy: damaged or changed" in told
    (folder / "manifest.json").unlink()
    told = call("test", tmp_path, "--features", "features", "OUTPUT_DIR", "ranked", code=2)
    assert "did not finish; run `fastreid extract` again" in told


def test_one_of_several_sets_that_is_damaged_is_refused_before_anything_is_written(saved, tmp_path):
    for name in ("A", "B"):
        shutil.copytree(saved / "out/features/Generated", tmp_path / "features" / name)
    words = ("TEST.WHITEN.ENABLED", True, "TEST.WHITEN.LEARN_FROM", "train", "OUTPUT_DIR", "ranked")
    for name, told in (("train.npy", "damaged or changed"), ("manifest.json", "did not finish")):
        before = (tmp_path / "features/B" / name).read_bytes()
        if name == "train.npy":
            (tmp_path / "features/B" / name).write_bytes(before[:-1] + b"x")
        else:
            (tmp_path / "features/B" / name).unlink()
        answer = call("test", tmp_path, "--features", "features", *words, code=6 if name == "train.npy" else 2)
        assert told in answer
        (tmp_path / "features/B" / name).write_bytes(before)
    words = ("TEST.WHITEN.ENABLED", True, "TEST.WHITEN.DIM", 600, "OUTPUT_DIR", "ranked")
    assert "TEST.WHITEN.DIM) is 600" in call("test", tmp_path, "--features", "features", *words, code=2)
    (tmp_path / "features/B/queries.csv").write_text("row,name,patent,camera,path\n")
    told = call("test", tmp_path, "--features", "features", "OUTPUT_DIR", "ranked", code=6)
    assert "features/B/queries.csv: damaged or changed" in told
    assert not (tmp_path / "ranked/result.npy").exists()


def test_what_a_killed_extraction_left_is_made_whole_by_the_next(saved, source, tmp_path):
    shutil.copytree(saved / "out/features", tmp_path / "features")
    folder = tmp_path / "features/Generated"
    (folder / "manifest.json").unlink()
    (folder / "gallery.npy").rename(folder / "gallery.npy.fastreid-tmp-abcdefgh")
    output = call("extract", tmp_path, "--split", "all", "--output", "features", *source, "OUTPUT_DIR", "out")
    assert "not extracted yet" in output
    names = sorted(path.name for path in (saved / "out/features/Generated").iterdir())
    assert sorted(path.name for path in folder.iterdir()) == names
    for name in set(names) - {"manifest.json"}:
        assert compute_sha256(folder / name) == compute_sha256(saved / "out/features/Generated" / name), name


@pytest.mark.parametrize("tool", ["extract", "test"])
def test_a_run_that_was_stopped_leaves_the_features_it_had_made_to_the_next(tool, source, direct, saved, tmp_path):
    """A bad image among the database stops the first run after its queries."""
    root = tmp_path / "root"
    shutil.copytree(source[1], root, copy_function=os.link)
    words = ("DATASETS.ROOT", root, *source[2:], *AQE, "OUTPUT_DIR", "out")
    [database] = root.glob("generated-*/train_data/val_db_patent.txt")
    image = database.parent / "patent_data" / database.read_text().splitlines()[-1].rsplit(" ", 1)[0]
    content = image.read_bytes()
    image.unlink()  # it is a link to the drawing of other tests
    image.write_bytes(b"no image")
    assert "not an image" in call(tool, tmp_path, *words, code=2)
    unfinished = tmp_path / ("out/features/Generated" if tool == "extract" else "out/features.unfinished")
    assert len(list(unfinished.glob("*.journal"))) == 2
    image.write_bytes(content)
    assert "16 of 16 features loaded from a stopped run" in call(tool, tmp_path, *words)
    assert not list(unfinished.glob("*.journal"))
    made, wanted = (
        (unfinished / "gallery.npy", saved / "out/features/Generated/gallery.npy")
        if tool == "extract"
        else (tmp_path / "out/result.npy", direct / "result.npy")
    )
    assert compute_sha256(made) == compute_sha256(wanted)


@pytest.mark.parametrize(
    ("tool", "option"),
    [("train", "--features"), ("extract", "--features"), ("test", "--split"), ("test", "--output")],
)
def test_an_option_of_another_command_is_refused(tool, option, tmp_path):
    assert f"{tool}: unrecognized arguments: {option}" in call(tool, tmp_path, option, "train", code=2)


def test_a_place_that_cannot_be_written_is_found_before_any_work(source, tmp_path):
    (tmp_path / "a file").write_text("in the way")
    told = call("extract", tmp_path, "--output", "a file", *source, "OUTPUT_DIR", "out", code=3)
    assert "a file/Generated: cannot be made" in told
    assert "choose another with --output" in told
    assert "such weights" in call("extract", tmp_path, "MODEL.WEIGHTS", "nowhere.pth", "OUTPUT_DIR", "out", code=2)
    assert "--random-weights" in call("extract", tmp_path, "OUTPUT_DIR", "out", code=2)


def test_the_manifest_names_the_weights_and_the_settings(saved, trained):
    origin = json.loads((saved / "out/features/Generated/manifest.json").read_text())["origin"]
    assert origin["weights"] == str(trained / "model_best.pth")
    assert len(origin["weights_sha256"]) == 64
    assert origin["settings"]["INPUT.SIZE_TEST"] == [32, 32]
    assert "MODEL.DEVICE" not in origin["settings"]
    assert "DEVICE: cpu" in origin["config"]
