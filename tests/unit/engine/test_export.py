"""Exported networks compute the features of the networks in torch, and invalid ones are rejected."""

import hashlib
import json

import numpy as np
import pytest
import tiny_backbone
import torch
from PIL import Image, ImageDraw
from torch import nn

from fastreid.engine import Predictor
from fastreid.engine.export import onnx_graph
from fastreid.engine.export.exporting import ExportOptions, export_network
from fastreid.engine.model.directory import ModelCard
from fastreid.engine.model.network import build_model_with_weights
from fastreid.engine.model.weights_source import compute_weights_sha256
from fastreid.engine.setup import load_config
from fastreid.modeling import build_model
from fastreid.modeling.build import BACKBONES
from fastreid.utils.errors import EnvironmentSetupError, InputError, NumericalError, WeightsError

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
onnxruntime = pytest.importorskip("onnxruntime")

SIZE_PX = 64
CARD = ModelCard(title="lines")
HEAD = (
    *("MODEL.DEVICE", "cpu", "MODEL.HEADS.POOL_LAYER", "GeneralizedMeanPoolingP", "MODEL.HEADS.WITH_BNNECK", True),
    *("INPUT.SIZE_TEST", [SIZE_PX, SIZE_PX]),
)
SMALL = (*HEAD, "MODEL.BACKBONE.NAME", "tiny_backbone", "MODEL.BACKBONE.FEAT_DIM", tiny_backbone.NUM_CHANNELS)
RESNET = (
    *(*HEAD, "MODEL.BACKBONE.NAME", "build_resnet_backbone", "MODEL.BACKBONE.DEPTH", "18x"),
    *("MODEL.BACKBONE.WITH_IBN", True, "MODEL.BACKBONE.WITH_NL", True, "MODEL.BACKBONE.FEAT_DIM", 512),
    *("MODEL.BACKBONE.PRETRAIN", False),
)
FIXED = (*HEAD, "MODEL.BACKBONE.NAME", "fixed_size", "MODEL.BACKBONE.FEAT_DIM", 8, "MODEL.HEADS.WITH_BNNECK", False)
TIMM = (
    *("MODEL.DEVICE", "cpu", "MODEL.BACKBONE.NAME", "build_timm_backbone", "MODEL.BACKBONE.PRETRAIN", False),
    *("INPUT.SIZE_TEST", [160, 160]),
)


class FixedSizeBackbone(nn.Sequential):
    """A linear layer on all pixels: vectors (B, 8) of images of one size."""

    feature_dim = 8

    def __init__(self):
        super().__init__(nn.AvgPool2d(8), nn.Flatten(), nn.Linear(3 * (SIZE_PX // 8) ** 2, 8))


BACKBONES.register("fixed_size")(lambda cfg: FixedSizeBackbone())


def write_pages(folder, num=4):
    folder.mkdir()
    for number in range(num):
        page = Image.new("L", (90, 70 + 10 * number), 255)
        ImageDraw.Draw(page).ellipse((10, 10, 40 + 12 * number, 60), outline=0, width=2)
        page.save(folder / f"{number}.png")
    return [str(path) for path in sorted(folder.iterdir())]


def save_weights(path, settings):
    """Save a network with random weights, and statistics of batch norm that are not the initial ones."""
    torch.manual_seed(0)
    model = build_model(load_config(None, settings), num_classes=1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.8, 1.2)
    torch.save({"model": model.state_dict()}, path)
    return load_config(None, [*settings, "MODEL.WEIGHTS", str(path)])


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    return write_pages(tmp_path_factory.mktemp("export") / "pages")


@pytest.fixture(scope="module")
def cfg(tmp_path_factory):
    return save_weights(tmp_path_factory.mktemp("weights") / "model.pth", SMALL)


@pytest.fixture(scope="module")
def exported(tmp_path_factory, cfg, pages):
    folder = tmp_path_factory.mktemp("exported") / "lines"
    export_network(cfg, folder, pages, ExportOptions(), CARD)
    return folder


def change(cfg, *settings):
    copy = cfg.clone()
    copy.merge_from_list(list(settings))
    copy.freeze()
    return copy


def relative(features, reference):
    return onnx_graph.measure_difference(torch.as_tensor(features), torch.as_tensor(reference))


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
    assert export_network(network, tmp_path / name, pages, ExportOptions(), CARD).size_px == ()
    assert relative(Predictor.from_pretrained(tmp_path / name)(pages), Predictor.from_cfg(network)(pages)) < 1e-4


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


DAMAGES = {
    "no record": (lambda folder: (folder / "export.json").write_text("{"), "cannot be read"),
    "another version": (lambda folder: edit(folder, format_version=2), "has format version 2, but .* reads version 1"),
    "a missing entry": (lambda folder: edit(folder, precision=None), "has an invalid value"),
    "an unknown entry": (lambda folder: edit(folder, more=1), r"has unknown entries \['more'\]"),
    "another file": (lambda folder: edit(folder, file="../x"), "has an invalid value"),
    "no file": (lambda folder: (folder / "model.onnx").unlink(), "no such file"),
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
    ):
        with pytest.raises(InputError, match=message):
            Predictor.from_pretrained(exported, settings)
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
