"""Damaged exported networks, and settings that they do not support, are rejected with the reason."""

import hashlib
import json

import pytest
import torch
from small_networks import CARD, SMALL, save_weights, write_pages

from fastreid.engine import Predictor
from fastreid.engine.export.exporting import ExportOptions, export_network
from fastreid.engine.features.local_features import find_backbone
from fastreid.engine.model.network import build_model_with_weights
from fastreid.engine.setup import load_config
from fastreid.utils.errors import EnvironmentSetupError, InputError, WeightsError

pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    cfg = save_weights(folder / "model.pth", SMALL)
    export_network(cfg, folder / "lines", write_pages(folder / "pages", 2), ExportOptions(), CARD)
    return folder / "lines"


DAMAGES = {
    "no record": (lambda folder: (folder / "export.json").write_text("{"), "cannot be read"),
    "another version": (lambda folder: edit(folder, format_version=2), "has format version 2, but .* reads version 1"),
    "a missing entry": (lambda folder: edit(folder, precision=None), "has an invalid value"),
    "an unknown entry": (lambda folder: edit(folder, more=1), r"has unknown entries \['more'\]"),
    "another file": (lambda folder: edit(folder, file="../x"), "has an invalid value"),
    "no file": (lambda folder: (folder / "model.onnx").unlink(), "no such file"),
    "no mapping": (lambda folder: (folder / "export.json").write_text("[]"), "cannot be read"),
    "another width": (lambda folder: edit(folder, num_features=8), "says 8 features, but the file returns 32"),
    "a power that is no number": (lambda folder: edit(folder, gem_power=float("nan")), "has an invalid value"),
    "scores that are no mapping": (lambda folder: edit(folder, scores=3), "has an invalid value"),
    "an opset that is no number": (lambda folder: edit(folder, opset="x"), "has an invalid value"),
    "a damaged file": (lambda folder: (folder / "model.onnx").write_bytes(b"x"), "is not the file that export.json"),
}


def copy_files(source, target):
    for file in source.iterdir():
        (target / file.name).write_bytes(file.read_bytes())


def edit(folder, **values):
    path = folder / "export.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_folder_is_rejected(exported, tmp_path, name):
    copy_files(exported, tmp_path)
    damage, message = DAMAGES[name]
    damage(tmp_path)
    with pytest.raises(WeightsError, match=message):
        Predictor.from_pretrained(tmp_path)


def test_file_that_onnxruntime_cannot_load(exported, tmp_path):
    copy_files(exported, tmp_path)
    (tmp_path / "model.onnx").write_bytes(b"not a model")
    edit(tmp_path, sha256=hashlib.sha256(b"not a model").hexdigest())
    with pytest.raises(WeightsError, match=r"onnxruntime [\d.]+ cannot load it"):
        Predictor.from_pretrained(tmp_path)


def test_settings_of_torch_are_rejected(exported):
    for settings, message in (
        (["MODEL.COMPILE", True], r"MODEL\.COMPILE True is for networks in torch"),
        (["TEST.NETWORK_PRECISION", "bfloat16"], r"TEST\.NETWORK_PRECISION is part of the file"),
        (["TEST.GEM_POWER", 3.0], r"TEST\.GEM_POWER is part of the file"),
        (["TEST.SCALES", [0.5, 1.0]], r"TEST\.SCALES needs a file for any size; export it with --any-size"),
        (["MODEL.HEADS.POOL_LAYER", "GlobalMaxPool"], r"leave out the others \(MODEL\.HEADS\.POOL_LAYER\)"),
        (["MODEL.PIXEL_MEAN", [0.0, 0.0, 0.0]], r"leave out the others \(MODEL\.PIXEL_MEAN"),
    ):
        with pytest.raises(InputError, match=message):
            Predictor.from_pretrained(exported, settings)
    file = load_config(None, ["MODEL.WEIGHTS", str(exported / "model.onnx")])
    with pytest.raises(InputError, match=r"give the folder that fastreid export wrote, .*lines, not a file of it"):
        Predictor.from_cfg(file)
    with pytest.raises(InputError, match="this model was exported to onnxruntime, so parts of drawings cannot be"):
        find_backbone(Predictor.from_pretrained(exported).model)
    with pytest.raises(InputError, match=r"has an exported network only, which torch cannot read"):
        Predictor.from_pretrained(exported, runtime="torch")
    with pytest.raises(InputError, match=r"MODEL\.WEIGHTS .* is no exported network; write one with fastreid export"):
        Predictor.from_pretrained("lines-mobilenetv2", runtime="onnxruntime")
    with pytest.raises(InputError, match="save_pretrained needs a network in torch"):
        Predictor.from_pretrained(exported).save_pretrained("x", CARD)


def test_missing_provider_is_named(exported, monkeypatch):
    monkeypatch.setattr("fastreid.engine.model.network.resolve_device", lambda cfg: torch.device("cuda", 0))
    with pytest.raises(EnvironmentSetupError, match=r"onnxruntime has no provider for it .* set MODEL\.DEVICE cpu"):
        build_model_with_weights(load_config(None, ["MODEL.WEIGHTS", str(exported)]))


def test_threads_can_be_chosen(exported):
    assert Predictor.from_pretrained(exported, ["TEST.NUM_THREADS", 3]).model.num_threads == 3
    assert Predictor.from_pretrained(exported).model.num_threads == torch.get_num_threads()
