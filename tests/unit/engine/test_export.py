"""Exported networks compute the features of the networks in torch, and invalid ones are rejected."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from small_networks import CARD, FIXED, RESNET, SIZE_PX, SMALL, TIMM, change, relative, save_weights, write_pages
from torch import nn

from fastreid.engine import Predictor
from fastreid.engine.export import onnx_graph
from fastreid.engine.export.exporting import ExportOptions, export_network
from fastreid.engine.export.record import read_record
from fastreid.engine.model.network import build_model_with_weights
from fastreid.engine.model.weights_source import compute_weights_sha256
from fastreid.engine.setup import load_config
from fastreid.utils.errors import InputError, NumericalError, WeightsError

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
onnxruntime = pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    return write_pages(tmp_path_factory.mktemp("export") / "pages")


@pytest.fixture(scope="module")
def cfg(tmp_path_factory):
    return save_weights(tmp_path_factory.mktemp("weights") / "model.pth", SMALL)


@pytest.fixture(scope="module")
def exported(tmp_path_factory, cfg, pages):
    folder = tmp_path_factory.mktemp("exported") / "lines"
    export_network(cfg, folder, pages, ExportOptions(any_size=True), CARD)
    return folder


def test_features_are_those_of_torch_for_any_batch_and_size(exported, cfg, pages):
    predictor = Predictor.from_pretrained(exported, runtime="onnxruntime")
    for batch in (pages[:1], pages):
        assert relative(predictor(batch), Predictor.from_cfg(cfg)(batch)) < 1e-4
    size = ("INPUT.SIZE_TEST", [96, 80])
    wanted = Predictor.from_cfg(change(cfg, *size))(pages)
    assert relative(Predictor.from_pretrained(exported, list(size))(pages), wanted) < 1e-4


def test_resnet_with_ibn_and_non_local_blocks(pages, tmp_path):
    resnet = save_weights(tmp_path / "resnet.pth", RESNET)
    record = export_network(resnet, tmp_path / "resnet", pages, ExportOptions(), CARD)
    assert record.difference < 1e-5
    assert (
        relative(Predictor.from_pretrained(tmp_path / "resnet")(pages[:3]), Predictor.from_cfg(resnet)(pages[:3]))
        < 1e-4
    )


def test_file_alone_normalizes_its_input_once(exported, cfg, pages):
    record = json.loads((exported / "export.json").read_text())
    page = Image.open(pages[0]).resize(record["preprocessing"]["size_px"][::-1], Image.Resampling.BICUBIC)
    images = np.repeat(np.asarray(page, np.float32)[None, None], 3, axis=1)
    session = onnxruntime.InferenceSession(exported / "model.onnx", providers=["CPUExecutionProvider"])
    assert relative(session.run(None, {"images": images})[0], Predictor.from_cfg(cfg)(pages[0])) < 1e-4


def test_record_identifies_the_weights(exported, cfg, tmp_path, pages):
    run = load_config(None, ["MODEL.WEIGHTS", str(exported), "MODEL.DEVICE", "cpu"])
    assert compute_weights_sha256(run) == compute_weights_sha256(cfg)
    smaller = export_network(cfg, tmp_path / "a", pages, ExportOptions(precision="float16"), CARD)
    assert smaller.weights_sha256 == smaller.sha256 != compute_weights_sha256(cfg)


def test_mirror_images_are_included_once(cfg, pages, tmp_path):
    record = export_network(cfg, tmp_path / "flip", pages, ExportOptions(flip=True), CARD)
    wanted = Predictor.from_cfg(change(cfg, "TEST.FLIP.ENABLED", True))(pages)
    assert relative(Predictor.from_pretrained(tmp_path / "flip")(pages), wanted) < 1e-4
    assert record.flip
    with pytest.raises(InputError, match=r"TEST\.FLIP\.ENABLED is part of the file; set it to False"):
        Predictor.from_pretrained(tmp_path / "flip", ["TEST.FLIP.ENABLED", True])


def test_power_of_the_pooling_is_included(cfg, pages, tmp_path):
    power = change(cfg, "TEST.GEM_POWER", 5.0)
    export_network(power, tmp_path / "power", pages, ExportOptions(), CARD)
    assert relative(Predictor.from_pretrained(tmp_path / "power")(pages), Predictor.from_cfg(power)(pages)) < 1e-4
    assert relative(Predictor.from_cfg(cfg)(pages), Predictor.from_cfg(power)(pages)) > 1e-2


@pytest.mark.parametrize("precision", ["float16", "int8"])
def test_smaller_numbers_keep_the_direction_of_features(cfg, pages, tmp_path, exported, precision):
    export_network(cfg, tmp_path / precision, pages, ExportOptions(precision=precision), CARD)
    features = Predictor.from_pretrained(tmp_path / precision)(pages)
    assert onnx_graph.mean_cosine(features, Predictor.from_cfg(cfg)(pages)) > 0.99
    weights = onnx.load(tmp_path / precision / "model.onnx").graph.initializer
    assert getattr(onnx.TensorProto, precision.upper()) in {tensor.data_type for tensor in weights}


def test_model_directory_runs_in_both(cfg, pages, tmp_path):
    export_network(cfg, tmp_path / "both", pages, ExportOptions(target="dir"), CARD)
    both = [Predictor.from_pretrained(tmp_path / "both", runtime=name)(pages) for name in ("torch", "onnxruntime")]
    assert torch.equal(both[0], Predictor.from_cfg(cfg)(pages))
    assert relative(both[1], both[0]) < 1e-4


def test_program_is_loaded_by_torch(cfg, pages, tmp_path):
    export_network(cfg, tmp_path / "program", pages, ExportOptions(target="torch-export"), CARD)
    program = torch.export.load(tmp_path / "program/model.pt2").module()
    images = torch.rand(3, 3, SIZE_PX, SIZE_PX) * 255
    with torch.no_grad():
        assert relative(program(images), build_model_with_weights(cfg).eval()(images)) < 1e-4


def test_network_of_one_size_says_so(pages, tmp_path):
    fixed = save_weights(tmp_path / "fixed.pth", FIXED)
    with pytest.raises(InputError, match=r"the network cannot be exported: |does not accept images of 96 x 96 px"):
        export_network(fixed, tmp_path / "any", pages, ExportOptions(any_size=True), CARD)
    record = export_network(fixed, tmp_path / "fixed", pages, ExportOptions(), CARD)
    assert record.size_px == (SIZE_PX, SIZE_PX)
    assert relative(Predictor.from_pretrained(tmp_path / "fixed")(pages), Predictor.from_cfg(fixed)(pages)) < 1e-4
    with pytest.raises(InputError, match=r"for images of 64 x 64 px only; set INPUT\.SIZE_TEST to \[64, 64\]"):
        Predictor.from_pretrained(tmp_path / "fixed", ["INPUT.SIZE_TEST", [96, 96]])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["test_vit", "test_efficientnet", "test_convnext", "mobilenetv3_small_050"])
def test_timm_networks(pages, tmp_path, name):
    pytest.importorskip("timm")
    network = save_weights(tmp_path / "timm.pth", [*TIMM, "MODEL.BACKBONE.TIMM_NAME", name])
    assert export_network(network, tmp_path / name, pages, ExportOptions(any_size=True), CARD).size_px == ()
    assert relative(Predictor.from_pretrained(tmp_path / name)(pages), Predictor.from_cfg(network)(pages)) < 1e-4


def test_padding_that_depends_on_the_size_is_rejected_before_tracing():
    class Conv2dSame(nn.Conv2d):
        pass

    with pytest.raises(
        InputError, match="padding of 0 depends on the size of the images; export it without --any-size"
    ):
        onnx_graph.trace(nn.Sequential(Conv2dSame(3, 4, 3)).eval(), torch.rand(2, 3, 8, 8), any_size=True)


def test_scales_need_a_file_for_any_size(cfg, pages, exported, tmp_path):
    scales = change(cfg, "TEST.SCALES", [0.5, 1.0])
    with pytest.raises(InputError, match=r"TEST\.SCALES \[0\.5, 1\.0\] needs a file for several sizes; add --any-size"):
        export_network(scales, tmp_path / "a", pages, ExportOptions(), CARD)
    wanted = Predictor.from_cfg(scales)(pages)
    assert relative(Predictor.from_pretrained(exported, ["TEST.SCALES", [0.5, 1.0]])(pages), wanted) < 1e-4


def test_short_side_needs_a_file_for_any_size(cfg, pages, exported, tmp_path):
    short = change(cfg, "INPUT.SIZE_TEST", [48])
    with pytest.raises(InputError, match="is the short side, so images have several sizes; add --any-size"):
        export_network(short, tmp_path / "a", pages, ExportOptions(), CARD)
    record = export_network(short, tmp_path / "b", pages, ExportOptions(any_size=True), CARD)
    assert record.num_checked == 1  # the only page of this size
    for page in pages:
        assert relative(Predictor.from_pretrained(tmp_path / "b")(page), Predictor.from_cfg(short)(page)) < 1e-4


def test_wrong_features_are_not_written(cfg, pages, tmp_path, monkeypatch):
    monkeypatch.setattr("fastreid.engine.export.exporting.MAX_DIFFERENCE", 0.0)
    with pytest.raises(NumericalError, match=r"differ from those of torch by .* so nothing is written"):
        export_network(cfg, tmp_path / "lines", pages, ExportOptions(), CARD)
    assert not (tmp_path / "lines").exists()


def test_weights_that_are_not_finite_are_not_exported(cfg, pages, tmp_path):
    content = torch.load(cfg.MODEL.WEIGHTS)
    content["model"]["backbone.conv1.weight"][0, 0, 0, 0] = float("inf")
    torch.save(content, tmp_path / "bad.pth")
    with pytest.raises(WeightsError, match=r"weights contain NaN or Inf in 1 tensors: backbone\.conv1\.weight"):
        export_network(
            change(cfg, "MODEL.WEIGHTS", str(tmp_path / "bad.pth")), tmp_path / "a", pages[:1], ExportOptions(), CARD
        )


def test_layer_without_operator_is_named():
    class Special(nn.Module):
        def forward(self, images):
            return torch.special.bessel_j0(images).mean((2, 3))

    program = onnx_graph.trace(Special().eval(), torch.rand(2, 3, 8, 8), any_size=False)
    with pytest.raises(InputError, match=r"a layer of the network has no ONNX operator: prims\.bessel_j0"):
        onnx_graph.convert_to_onnx(program, opset=20)


def test_branch_that_depends_on_values_cannot_be_traced():
    class Branch(nn.Module):
        def forward(self, images):
            return images.mean((2, 3)) if images.sum() > 0 else images.amax((2, 3))

    with pytest.raises(InputError, match="the network cannot be exported: "):
        onnx_graph.trace(Branch().eval(), torch.rand(2, 3, 8, 8), any_size=False)


@pytest.mark.parametrize("opset", [11, 99])
def test_opset_has_limits(cfg, pages, tmp_path, opset):
    with pytest.raises(InputError, match=f"--opset {opset} is not supported; use 18 to 23"):
        export_network(cfg, tmp_path / "a", pages[:1], ExportOptions(opset=opset), CARD)


def test_options_that_exclude_each_other(cfg, exported, pages, tmp_path):
    with pytest.raises(InputError, match="--precision int8 is for ONNX files"):
        ExportOptions(target="torch-export", precision="int8")
    with pytest.raises(InputError, match="--include-flip is for --to onnx"):
        ExportOptions(target="dir", flip=True)
    with pytest.raises(InputError, match=r"TEST\.GEM_POWER would differ"):
        export_network(change(cfg, "TEST.GEM_POWER", 4.0), tmp_path / "a", pages, ExportOptions(target="dir"), CARD)
    (tmp_path / "notes.txt").touch()
    with pytest.raises(InputError, match="exists and is no exported network; choose another folder"):
        export_network(cfg, tmp_path, pages, ExportOptions(), CARD)
    again = load_config(None, ["MODEL.WEIGHTS", str(exported), "MODEL.DEVICE", "cpu"])
    with pytest.raises(InputError, match="is exported already; give the weights of the run"):
        export_network(again, tmp_path / "a", pages, ExportOptions(), CARD)


def test_calibration_is_copied_only_for_the_same_features(cfg, pages, tmp_path):
    model = Predictor.from_cfg(cfg).save_pretrained(tmp_path / "model", CARD)
    (model / "calibration.json").write_text("{}")
    published = load_config(None, ["MODEL.WEIGHTS", str(model), "MODEL.DEVICE", "cpu"])
    other = change(published, "MODEL.PIXEL_MEAN", [0.0, 0.0, 0.0])
    for name, settings, options in (
        ("same", published, ExportOptions()),
        ("mean", other, ExportOptions()),
        ("flip", published, ExportOptions(flip=True)),
    ):
        export_network(settings, tmp_path / name, pages[:2], options, CARD)
        assert (tmp_path / name / "calibration.json").exists() == (name == "same")


def test_export_replaces_an_earlier_one_as_a_whole(cfg, pages, tmp_path, monkeypatch):
    folder = tmp_path / "lines"
    export_network(cfg, folder, pages[:2], ExportOptions(target="dir"), CARD)
    (folder / "notes.txt").touch()
    with monkeypatch.context() as patch:  # a kill before the new folder is complete
        patch.setattr("fastreid.engine.export.output.write_record", lambda *_: pytest.fail("killed"))
        with pytest.raises(pytest.fail.Exception):
            export_network(cfg, folder, pages[:2], ExportOptions(), CARD)
    assert read_record(folder).file == "model.onnx"
    export_network(cfg, folder, pages[:2], ExportOptions(target="torch-export"), CARD)
    assert sorted(file.name for file in folder.iterdir()) == [
        *("README.md", "config.yaml", "export.json", "model.pt2", "notes.txt")
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["lines"]


def test_warnings_of_int8(cfg, pages, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("fastreid.engine.export.exporting.MIN_COSINE", 1.1)
    export_network(cfg, tmp_path / "a", pages, ExportOptions(precision="int8"), CARD)
    assert "so rankings change; use another precision" in caplog.text
    assert "int8 is calibrated with 4 drawings only; give at least 16" in caplog.text
    assert "mean cosine " in (tmp_path / "a/README.md").read_text()
