"""Export the network of a config: to an ONNX file, a torch.export program, or a model directory with an ONNX file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fastreid import __version__
from fastreid.config import CfgNode
from fastreid.config.config import iter_settings
from fastreid.engine.export import onnx_graph, quantization
from fastreid.engine.export.record import ONNX_FILE, PROGRAM_FILE, RECORD_FILE, ExportRecord, write_record
from fastreid.engine.features.image_scales import ONE_SCALE
from fastreid.engine.features.image_settings import select_page_settings
from fastreid.engine.features.inference import compute_features, eval_mode
from fastreid.engine.features.options import get_test_size
from fastreid.engine.model.directory import (
    CARD_FILE,
    CONFIG_FILE,
    ModelCard,
    find_model_directory,
    format_settings,
    save_model_directory,
    select_settings,
)
from fastreid.engine.model.onnx_network import open_session
from fastreid.engine.model.weights_source import ONNXRUNTIME, compute_weights_sha256, find_weights
from fastreid.engine.predictor import Predictor
from fastreid.evaluation.calibration import CALIBRATION_FILE
from fastreid.utils.errors import InputError, NumericalError
from fastreid.utils.files import atomic_write, compute_sha256, write_text
from fastreid.utils.logger import get_logger

TARGETS = ("onnx", "torch-export", "dir")
MAX_DIFFERENCE = 1e-4  # of a float32 feature from that of torch, relative to the largest value of the feature
SIZE_STEP_PX = 32  # to the second image size with which a file for any size is checked


@dataclass(frozen=True)
class ExportOptions:
    """How a network is exported.

    Args:
        target: onnx, torch-export, or dir (a model directory with an ONNX file).
        precision: float32, float16 or int8.
        flip: the file averages the features of each image and its mirror image.
        any_size: the file accepts images of any size, which takes longer to export; otherwise only INPUT.SIZE_TEST.
        opset: version of the ONNX operators.

    Raises:
        InputError: options that exclude each other, or an opset that is not supported.
    """

    target: str = "onnx"
    precision: str = "float32"
    flip: bool = False
    any_size: bool = False
    opset: int = onnx_graph.DEFAULT_OPSET

    def __post_init__(self) -> None:
        if self.target == "torch-export" and self.precision != "float32":
            raise InputError(f"--precision {self.precision} is for ONNX files; use --to onnx or --to dir")
        if not onnx_graph.MIN_OPSET <= self.opset <= onnx_graph.MAX_OPSET:
            raise InputError(
                f"--opset {self.opset} is not supported; use {onnx_graph.MIN_OPSET} to {onnx_graph.MAX_OPSET} "
                f"(default {onnx_graph.DEFAULT_OPSET})"
            )
        if self.target == "dir" and self.flip:
            raise InputError("--include-flip is for --to onnx; a model directory uses TEST.FLIP.ENABLED True")


def export_network(
    cfg: CfgNode, folder: str | Path, drawings: Sequence[str], options: ExportOptions, card: ModelCard
) -> ExportRecord:
    """Export MODEL.WEIGHTS of a config, run the file in its own runtime on drawings, and compare the features.

    Args:
        cfg: settings on the CPU; TEST.GEM_POWER becomes part of the file.
        folder: is created; a former export in it is replaced.
        drawings: image files, with which the file is checked and int8 is calibrated; at least one.
        options: how it is exported.
        card: the model card.

    Returns:
        The record, also written to `export.json`.

    Raises:
        InputError: the folder has other content, the options exclude each other, or a layer cannot be exported.
        EnvironmentSetupError: onnx, onnxscript or onnxruntime is not installed.
        NumericalError: the features of the file differ from those of torch.
        WeightsError: the weights are damaged or not finite.
    """
    folder = Path(folder)
    check_export(cfg, folder, options)
    predictor = Predictor.from_cfg(cfg)
    images = _load_images(predictor, drawings)
    forward = onnx_graph.ExportedForward(predictor.model, flip=options.flip).eval()
    with eval_mode(predictor.model, gem_power=cfg.TEST.GEM_POWER):
        reference = compute_features(forward, images)
        content, difference = _export_checked(forward, images, reference, options)
    file = PROGRAM_FILE if options.target == "torch-export" else ONNX_FILE
    _write_folder(folder, cfg, predictor.model, card, options)
    with atomic_write(folder / file) as stream:
        stream.write(content)
    size_px = tuple(images.shape[2:])
    record = ExportRecord(
        file=file,
        sha256=compute_sha256(folder / file),
        network_sha256=compute_weights_sha256(cfg),
        precision=options.precision,
        flip=options.flip,
        gem_power=cfg.TEST.GEM_POWER,
        size_px=() if options.any_size else size_px,
        example_size_px=size_px,
        num_features=reference.shape[1],
        opset=0 if options.target == "torch-export" else options.opset,
        num_checked=len(images),
        difference=difference,
        preprocessing=_describe_preprocessing(cfg),
        versions={"fastreid": __version__, "torch": torch.__version__},
    )
    write_record(folder, record)
    return record


def check_export(cfg: CfgNode, folder: Path, options: ExportOptions) -> None:
    """Check the arguments of an export before any work.

    Args:
        cfg: settings of the network.
        folder: the output.
        options: how it is exported.

    Raises:
        InputError: the weights do not exist or are exported already, the folder has other content, or a setting does
            not fit the options.
    """
    find_weights(cfg)
    if cfg.TEST.RUNTIME == ONNXRUNTIME:
        raise InputError(
            f"MODEL.WEIGHTS {cfg.MODEL.WEIGHTS} is exported already; give the weights of the run, or TEST.RUNTIME torch"
        )
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--output {folder}: is a file; choose another folder")
    if folder.exists() and any(folder.iterdir()) and not (folder / RECORD_FILE).is_file():
        raise InputError(f"--output {folder}: exists and is no exported network; choose another folder")
    if not options.any_size and tuple(cfg.TEST.SCALES) != ONE_SCALE:
        raise InputError(f"TEST.SCALES {list(cfg.TEST.SCALES)} needs a file for several sizes; add --any-size")
    if not options.any_size and len(cfg.INPUT.SIZE_TEST) == 1 and not cfg.INPUT.CROP.ENABLED:
        raise InputError(
            f"INPUT.SIZE_TEST {list(cfg.INPUT.SIZE_TEST)} is the short side, so images have several sizes; add "
            "--any-size, or set height and width"
        )
    if options.target == "dir" and cfg.TEST.GEM_POWER:
        raise InputError("TEST.GEM_POWER would differ between the two files of --to dir; set it to 0, or use --to onnx")


def _load_images(predictor: Predictor, drawings: Sequence[str]) -> Tensor:
    """Return the images of drawings, float32 (N, 3, H, W), at least two.

    Raises:
        InputError: there is no drawing, or one cannot be read.
    """
    if not drawings:
        raise InputError("an exported network is checked on drawings, but there is none; add --drawings DIR")
    ready = [predictor.transform.prepare(predictor.load_page(drawing)) for drawing in drawings]
    same = [pair for pair in ready if pair[0].shape == ready[0][0].shape]
    if len(same) < len(ready):
        get_logger().info(
            f"{len(same)} of {len(ready)} drawings have images of the size of the first; the file is checked with these"
        )
    ready = same
    ready = ready * 2 if len(ready) == 1 else ready
    levels, params = (torch.stack(part) for part in zip(*ready))
    return predictor.transform.to_images(levels, params).contiguous()


def _export_checked(
    forward: nn.Module, images: Tensor, reference: Tensor, options: ExportOptions
) -> tuple[bytes, float]:
    """Return the content of a file and the difference of its features from those of torch."""
    program = onnx_graph.trace(forward, images[:2], any_size=options.any_size)
    if options.target == "torch-export":
        content = onnx_graph.serialize_program(program)
        run: nn.Module = _ProgramNetwork(content)
    else:
        exact = onnx_graph.convert_to_onnx(program, opset=options.opset)
        content = quantization.convert_precision(exact, options.precision, images.numpy())
        run = _SessionNetwork(content)
    features = torch.cat([run(images[:1]), *(run(images[start : start + 16]) for start in range(1, len(images), 16))])
    difference = onnx_graph.measure_difference(features, reference)
    if options.precision != "float32":
        cosine = onnx_graph.mean_cosine(features, reference)
        get_logger().info(f"{options.precision}: mean cosine to the features in float32 {cosine:.4f}")
    else:
        _check_difference(difference)
    if options.any_size:
        _check_other_size(forward, run, images, is_exact=options.precision == "float32")
    return content, difference


def _check_difference(difference: float) -> None:
    if not difference <= MAX_DIFFERENCE:
        raise NumericalError(
            f"features of the exported network differ from those of torch by {difference:.1e} of the largest value; "
            f"at most {MAX_DIFFERENCE:.0e} is allowed, so nothing is written"
        )


def _check_other_size(forward: nn.Module, run: nn.Module, images: Tensor, *, is_exact: bool) -> None:
    """Check that a file accepts larger images too.

    Raises:
        InputError: it does not run.
        NumericalError: its features differ from those of torch.
    """
    height, width = (side + SIZE_STEP_PX for side in images.shape[2:])
    larger = torch.nn.functional.interpolate(images[:2], (height, width))
    try:
        wanted, found = forward(larger), run(larger)
    except Exception as error:  # of torch or onnxruntime
        raise InputError(f"the network does not accept images of {height} x {width} px") from error
    if is_exact:
        _check_difference(onnx_graph.measure_difference(found, wanted))


class _SessionNetwork(nn.Module):
    """An ONNX file in onnxruntime."""

    def __init__(self, content: bytes):
        super().__init__()
        self.session = open_session(content, device=torch.device("cpu"))

    def forward(self, images: Tensor) -> Tensor:
        return torch.from_numpy(self.session.run(None, {"images": images.contiguous().numpy()})[0])


class _ProgramNetwork(nn.Module):
    """A torch.export program, loaded from its file."""

    def __init__(self, content: bytes):
        super().__init__()
        self.program = onnx_graph.load_program(content)

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.program(images)
        return features


def _write_folder(folder: Path, cfg: CfgNode, model: nn.Module, card: ModelCard, options: ExportOptions) -> None:
    """Write all but the file and its record: settings, card, calibration and, for a directory, the weights."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RECORD_FILE).unlink(missing_ok=True)  # incomplete until the new record is written
    settings = select_settings(cfg)
    if options.target == "dir":
        save_model_directory(folder, cfg, model, card)
    else:  # the file has the backbone
        settings = {name: value for name, value in settings.items() if "PRETRAIN" not in name}
    settings |= _runtime_settings(cfg, options)
    text = format_settings({name: value for name, value in settings.items() if value is not None})
    write_text(folder / CONFIG_FILE, text)
    write_text(folder / CARD_FILE, card.format(text.splitlines()))
    source = find_model_directory(cfg.MODEL.WEIGHTS)
    if source is not None and (source / CALIBRATION_FILE).is_file() and options.precision == "float32":
        write_text(folder / CALIBRATION_FILE, (source / CALIBRATION_FILE).read_text(encoding="utf-8"))


def _runtime_settings(cfg: CfgNode, options: ExportOptions) -> dict[str, Any]:
    """Return the settings that differ from those of the network in torch; None: the default."""
    changed: dict[str, Any] = {}
    if options.target != "torch-export":
        changed["TEST.RUNTIME"] = ONNXRUNTIME
    if options.flip:
        changed["TEST.FLIP.ENABLED"] = None
    if cfg.TEST.GEM_POWER:
        changed["TEST.GEM_POWER"] = None
    return changed


def _describe_preprocessing(cfg: CfgNode) -> Mapping[str, Any]:
    """Return how a page becomes the input of the file, for programs without this package."""
    pages = {name: value for name, value in select_page_settings(dict(iter_settings(cfg))).items() if value != ""}
    return {
        "page": "decoded on white paper, square pixels by its resolution",
        "resize": "bicubic with antialiasing, on 8-bit levels (Pillow)",
        "size_px": list(get_test_size(cfg)),
        "channels": "RGB" if cfg.INPUT.COLOR == "rgb" else "the gray level, three times",
        "range": [0, 255],
        "normalization": "inside the file",
        "settings": {name: list(value) if isinstance(value, tuple) else value for name, value in pages.items()},
    }
