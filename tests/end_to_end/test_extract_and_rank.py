"""`fastreid extract` and `fastreid test --features`: same bytes as a direct test, and stale features are detected."""

import json
import os
import shlex
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest
import torch
from commands import TINY, TORCHRUN, call, run, run_here, run_interpreter

from fastreid.evaluation.storage.manifest import read_manifest
from fastreid.evaluation.storage.saved_features import FeaturePart, load_features, save_features
from fastreid.utils.files import compute_sha256

FILES = ("result.npy", "result.zip", "ranks.png")
AQE = ("TEST.AQE.ENABLED", True)


@pytest.fixture(scope="module")
def saved(source, tmp_path_factory):
    """Return a working folder with the features of all splits in out/features."""
    folder = tmp_path_factory.mktemp("saved ünïcode")
    output = call("extract", folder, "--split", "all", *source, "OUTPUT_DIR", "out")
    summary = output.splitlines()[-1]
    assert summary.startswith("out/features/Generated: wrote queries and gallery and train; contains 16 x 32 queries, ")
    command = ["fastreid", "test", "--config-file", TINY, "--features", "out/features/Generated"]
    assert summary.endswith(f"to evaluate: {shlex.join(map(str, [*command, *source, 'OUTPUT_DIR', 'out']))}")
    return folder


@pytest.fixture(scope="module")
def direct(source, tmp_path_factory):
    """The output folder of a direct test with the same weights."""
    folder = tmp_path_factory.mktemp("direct")
    call("test", folder, *source, *AQE, "OUTPUT_DIR", "out")
    return folder / "out"


@pytest.mark.parametrize("subfolder", ["out/features", "out/features/Generated"])
def test_saved_features_give_the_files_of_a_direct_test(subfolder, saved, direct, tmp_path, monkeypatch):
    for name in ("build_model_with_weights", "build_test_datasets", "build_datasets"):
        monkeypatch.delattr(f"fastreid.engine.evaluate.{name}")
    output = call("test", tmp_path, "--features", saved / subfolder, *AQE, "OUTPUT_DIR", "ranked")
    assert "mAP@10" in output
    for name in FILES:
        assert compute_sha256(tmp_path / "ranked" / name) == compute_sha256(direct / name), name
    assert compute_sha256(tmp_path / "result.npy") == compute_sha256(direct / "result.npy")


@pytest.mark.parametrize("in_sibling_folder", [False, True])
def test_whitening_from_saved_training_features(in_sibling_folder, saved, source, tmp_path):
    steps = ("TEST.WHITEN.ENABLED", True, "TEST.WHITEN.LEARN_FROM", "train")
    shutil.copytree(saved / "out/features", tmp_path / "features")
    if in_sibling_folder:  # a test set with another name than the folder of DATASETS.NAMES
        shutil.copytree(tmp_path / "features/Generated", tmp_path / "features/Mine")
        (tmp_path / "features/Mine/train.npy").unlink()
    subfolder = "features/Mine" if in_sibling_folder else "features"
    call("test", tmp_path, *source, *steps, "OUTPUT_DIR", "direct")
    call("test", tmp_path, "--features", subfolder, *steps, "OUTPUT_DIR", "ranked")
    for name in ("whitening.safetensors", *FILES):
        assert compute_sha256(tmp_path / "ranked" / name) == compute_sha256(tmp_path / "direct" / name), name


def test_two_processes_give_the_files_of_one(saved, source, direct, tmp_path):
    """By torchrun in the C locale, with Unicode in a path, and by `--num-gpus`."""
    arguments = ("--split", "all", "--output", "Zeichnungen ä 図", *source, "OUTPUT_DIR", "out")
    call("extract", tmp_path, *arguments, launcher=TORCHRUN, run=run_interpreter, LC_ALL="C")
    files = [f"{part}.{ending}" for part in ("queries", "gallery", "train") for ending in ("npy", "csv")]
    for name in files:
        path = saved / "out/features/Generated" / name
        assert compute_sha256(tmp_path / "Zeichnungen ä 図/Generated" / name) == compute_sha256(path), name
    arguments = ("--num-gpus", 2, "--features", "Zeichnungen ä 図", *AQE, "OUTPUT_DIR", "ranked")
    call("test", tmp_path, *arguments, run=run)
    assert compute_sha256(tmp_path / "result.npy") == compute_sha256(direct / "result.npy")


def test_only_stale_parts_are_extracted_again(saved, source, drawings, tmp_path):
    shutil.copytree(drawings, tmp_path / "drawings")
    arguments = ("--output", "features", "DATASETS.ROOT", tmp_path / "drawings", *source[2:], "OUTPUT_DIR", "out")
    call("extract", tmp_path, *arguments)
    before = (tmp_path / "features/Generated/queries.npy").stat().st_mtime_ns
    assert "features/Generated: already up to date; contains" in call("extract", tmp_path, *arguments)
    image = (tmp_path / "features/Generated/gallery.csv").read_text(encoding="utf-8").splitlines()[1].rsplit(",", 1)[1]
    os.utime(image)
    output = call("extract", tmp_path, *arguments)
    assert "extracting features of gallery: the list or its files changed" in output
    assert "wrote gallery; contains" in output
    assert (tmp_path / "features/Generated/queries.npy").stat().st_mtime_ns == before
    output = call("extract", tmp_path, *arguments, "TEST.FLIP.ENABLED", True)
    assert "extracting features of queries and gallery: TEST.FLIP.ENABLED was False and is True" in output


def test_training_features_can_be_saved_alone(source, tmp_path):
    output = call("extract", tmp_path, "--split", "train", *source, "OUTPUT_DIR", "out")
    assert "wrote train; contains" in output
    assert "to evaluate" not in output
    assert not np.isnan(np.load(tmp_path / "out/features/Generated/train.npy")).any()
    errors = call("test", tmp_path, "--features", "out/features", "OUTPUT_DIR", "ranked", code=2)
    assert "no features of queries and gallery" in errors


def test_changed_settings_are_warned_about(saved, direct, tmp_path):
    settings = ("INPUT.SIZE_TEST", "[64, 64]", *AQE, "OUTPUT_DIR", "ranked")
    output = call("test", tmp_path, "--features", saved / "out/features", *settings)
    assert "using the saved features, although INPUT.SIZE_TEST was [32, 32] and is [64, 64]" in output
    assert compute_sha256(tmp_path / "result.npy") == compute_sha256(direct / "result.npy")


def test_features_of_other_weights_raise(saved, trained, tmp_path):
    features = ("--features", saved / "out/features")
    other, same = trained / "model_0000.pth", trained / "model_best.pth"
    errors = call("test", tmp_path, *features, "MODEL.WEIGHTS", other, "OUTPUT_DIR", "ranked", code=2)
    assert f"the features were extracted with {same}" in errors
    assert f"not with MODEL.WEIGHTS {other}; leave MODEL.WEIGHTS out" in errors
    assert not (tmp_path / "result.npy").exists()
    call("test", tmp_path, *features, "MODEL.WEIGHTS", same, "OUTPUT_DIR", "ranked")
    errors = call("test", tmp_path, "--random-weights", *features, "OUTPUT_DIR", "ranked", code=2)
    assert "use only one of them" in errors


def test_other_weights_in_the_config_file_are_no_error(saved, trained, tmp_path):
    features = ("--features", saved / "out/features", "OUTPUT_DIR", "ranked")
    for weights, message in (
        (trained / "model_0000.pth", "of the config file; using the saved features"),
        ("gone", ""),
    ):
        text = TINY.read_text().replace("MODEL:\n", f"MODEL:\n  WEIGHTS: '{weights}'\n", 1)
        (tmp_path / "mine.yml").write_text(text, encoding="utf-8")
        exit_code, output, errors = run_here("test", "--config-file", tmp_path / "mine.yml", *features, folder=tmp_path)
        assert exit_code == 0, errors
        assert message in output


def test_whitening_from_a_file_does_not_change_the_file(saved, tmp_path):
    arguments = ("--features", saved / "out/features", "TEST.WHITEN.ENABLED", True, "OUTPUT_DIR", "ranked")
    call("test", tmp_path, *arguments)
    before = compute_sha256(tmp_path / "ranked/whitening.safetensors")
    call("test", tmp_path, *arguments, "TEST.WHITEN.LEARN_FROM", "ranked/whitening.safetensors", "TEST.WHITEN.DIM", 4)
    assert compute_sha256(tmp_path / "ranked/whitening.safetensors") == before


def test_invalid_whitening_fails_before_the_model_is_built(source, tmp_path, monkeypatch):
    monkeypatch.delattr("fastreid.engine.evaluate.build_model_with_weights")
    arguments = (*source, "TEST.WHITEN.ENABLED", True, "TEST.WHITEN.DIM", 600, "OUTPUT_DIR", "out")
    assert "TEST.WHITEN.DIM) is 600" in call("test", tmp_path, *arguments, code=2)


def test_stale_outputs_are_deleted_if_images_are_missing(saved, direct, tmp_path):
    provenance = read_manifest(saved / "out/features/Generated").provenance
    parts = []
    for name in ("queries", "gallery"):
        features, drawings = load_features(saved / "out/features/Generated", name)
        missing = tuple(replace(drawing, path=f"/missing/{drawing.name}", patent="") for drawing in drawings)
        parts.append(FeaturePart(name, replace(features, patents=("",) * len(missing)), missing, "fingerprint"))
    save_features(tmp_path / "features/Generated", parts, provenance=provenance)
    (tmp_path / "ranked").mkdir()
    for name in ("ranks.png", "queries.csv"):
        (tmp_path / "ranked" / name).write_bytes(b"stale")
    arguments = ("TEST.SCORE.PER_QUERY_FILE", "queries.csv", "OUTPUT_DIR", "ranked")
    output = call("test", tmp_path, "--features", "features", *AQE, *arguments)
    assert "Generated: ranks.png is not written: /missing/" in output
    assert not (tmp_path / "ranked/ranks.png").exists()
    assert not (tmp_path / "ranked/queries.csv").exists()
    assert compute_sha256(tmp_path / "result.npy") == compute_sha256(direct / "result.npy")


def test_damaged_and_incomplete_features_raise(saved, tmp_path):
    shutil.copytree(saved / "out/features", tmp_path / "features")
    folder = tmp_path / "features/Generated"
    content = bytearray((folder / "gallery.npy").read_bytes())
    content[-1] ^= 1
    (folder / "gallery.npy").write_bytes(content)
    errors = call("test", tmp_path, "--features", "features", "OUTPUT_DIR", "ranked", code=6)
    assert "gallery.npy: damaged or changed" in errors
    (folder / "manifest.json").unlink()
    errors = call("test", tmp_path, "--features", "features", "OUTPUT_DIR", "ranked", code=2)
    assert "did not finish; run `fastreid extract` again" in errors


def test_one_damaged_dataset_fails_before_anything_is_written(saved, tmp_path):
    for name in ("A", "B"):
        shutil.copytree(saved / "out/features/Generated", tmp_path / "features" / name)
    arguments = ("TEST.WHITEN.ENABLED", True, "TEST.WHITEN.LEARN_FROM", "train", "OUTPUT_DIR", "ranked")
    for name, message in (("train.npy", "damaged or changed"), ("manifest.json", "did not finish")):
        before = (tmp_path / "features/B" / name).read_bytes()
        if name == "train.npy":
            (tmp_path / "features/B" / name).write_bytes(before[:-1] + b"x")
        else:
            (tmp_path / "features/B" / name).unlink()
        errors = call("test", tmp_path, "--features", "features", *arguments, code=6 if name == "train.npy" else 2)
        assert message in errors
        (tmp_path / "features/B" / name).write_bytes(before)
    arguments = ("TEST.WHITEN.ENABLED", True, "TEST.WHITEN.DIM", 600, "OUTPUT_DIR", "ranked")
    assert "TEST.WHITEN.DIM) is 600" in call("test", tmp_path, "--features", "features", *arguments, code=2)
    (tmp_path / "features/B/queries.csv").write_text("row,name,patent,camera,path\n")
    errors = call("test", tmp_path, "--features", "features", "OUTPUT_DIR", "ranked", code=6)
    assert "features/B/queries.csv: damaged or changed" in errors
    assert not (tmp_path / "ranked/result.npy").exists()


def test_next_extraction_completes_a_killed_one(saved, source, tmp_path):
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


@pytest.mark.parametrize("command", ["extract", "test"])
def test_features_of_a_stopped_run_are_reused(command, source, direct, saved, tmp_path):
    """A gallery image with an intact header, but without its last pixels, stops the first run after its queries."""
    root = tmp_path / "root"
    shutil.copytree(source[1], root, copy_function=os.link)
    arguments = ("DATASETS.ROOT", root, *source[2:], *AQE, "OUTPUT_DIR", "out")
    [gallery_list] = root.glob("generated-*/train_data/val_db_patent.txt")
    image = gallery_list.parent / "patent_data" / gallery_list.read_text().splitlines()[-1].rsplit(" ", 1)[0]
    content = image.read_bytes()
    image.unlink()  # a hard link to the drawing of other tests
    image.write_bytes(content[:-40])
    assert image.name in call(command, tmp_path, *arguments, code=2)
    unfinished = tmp_path / ("out/features/Generated" if command == "extract" else "out/features.unfinished")
    assert len(list(unfinished.glob("*.journal"))) == 2
    image.write_bytes(content)
    assert "16 of 16 features loaded from a stopped run" in call(command, tmp_path, *arguments)
    assert not list(unfinished.glob("*.journal"))
    actual, expected = (
        (unfinished / "gallery.npy", saved / "out/features/Generated/gallery.npy")
        if command == "extract"
        else (tmp_path / "out/result.npy", direct / "result.npy")
    )
    assert compute_sha256(actual) == compute_sha256(expected)


@pytest.mark.parametrize(
    ("command", "option"),
    [("train", "--features"), ("extract", "--features"), ("test", "--split"), ("test", "--output")],
)
def test_option_of_another_command_raises(command, option, tmp_path):
    assert f"fastreid {command}: unknown option '{option}'" in call(command, tmp_path, option, "train", code=2)


def test_unwritable_output_fails_before_any_work(source, tmp_path):
    (tmp_path / "a file").write_text("in the way")
    errors = call("extract", tmp_path, "--output", "a file", *source, "OUTPUT_DIR", "out", code=3)
    assert "a file/Generated: cannot be created" in errors
    assert "choose another with --output" in errors
    assert "no such weights file" in call(
        "extract", tmp_path, "MODEL.WEIGHTS", "nowhere.pth", "OUTPUT_DIR", "out", code=2
    )
    assert "--random-weights" in call("extract", tmp_path, "OUTPUT_DIR", "out", code=2)


def test_manifest_contains_weights_and_settings(saved, trained):
    provenance = json.loads((saved / "out/features/Generated/manifest.json").read_text())["origin"]
    assert provenance["weights"] == str(trained / "model_best.pth")
    assert len(provenance["weights_sha256"]) == 64
    assert provenance["settings"]["INPUT.SIZE_TEST"] == [32, 32]
    assert "MODEL.DEVICE" not in provenance["settings"]
    assert "DEVICE: cpu" in provenance["config"]


def test_suggested_command_evaluates_with_the_same_settings(source, direct, tmp_path):
    """The shell gets the printed command as it is; the names contain what a shell would change."""
    settings = ("OUTPUT_DIR", "it's $HOME; *", "TEST.METRIC", "euclidean", *AQE)
    output = call("extract", tmp_path, *source, *settings)
    command = output.splitlines()[-1].partition("to evaluate: ")[2]
    script = f"fastreid() {{ printf '%s\\0' \"$@\"; }}; {command}"
    words = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    name, *arguments = words.split("\0")[:-1]
    code, _, errors = run_here(name, *arguments, folder=tmp_path)
    assert code == 0, errors
    scores = json.loads((tmp_path / "it's $HOME; *" / "scores.json").read_text())
    assert [step["name"] for step in scores["steps"]] == ["search", "+ AQE and DBA"]
    assert scores["weights"] == os.path.abspath(source[3])
    assert shlex.split(scores["command"])[-len(settings) :] == list(map(str, settings))


def test_saved_features_need_no_gpu(saved, direct, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    options = ("--features", saved / "out/features", *AQE, "MODEL.DEVICE", "cuda", "OUTPUT_DIR", "ranked")
    assert "MODEL.DEVICE is cuda, which this machine lacks; ranking on the CPU" in call("test", tmp_path, *options)
    assert compute_sha256(tmp_path / "ranked/result.npy") == compute_sha256(direct / "result.npy")
