"""Export the network of a config: to an ONNX file, a torch.export program, or a model directory with an ONNX file."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fastreid import __version__
from fastreid.config import CfgNode
from fastreid.config.config import iter_settings
from fastreid.engine.export import onnx_graph, quantization
from fastreid.engine.export.output import check_output, write_export
from fastreid.engine.export.record import ONNX_FILE, PRECISIONS, PROGRAM_FILE, ExportRecord
from fastreid.engine.features.image_scales import ONE_SCALE
from fastreid.engine.features.image_settings import select_page_settings
from fastreid.engine.features.inference import compute_features, eval_mode
from fastreid.engine.features.options import get_test_size
from fastreid.engine.model.directory import ModelCard, select_network_settings
from fastreid.engine.model.onnx_network import open_session
from fastreid.engine.model.weights_source import ONNXRUNTIME, compute_weights_sha256, find_weights
from fastreid.engine.predictor import Predictor
from fastreid.utils.errors import InputError, NumericalError, describe_unknown
from fastreid.utils.logger import get_logger

TARGETS = ("onnx", "torch-export", "dir")
MAX_DIFFERENCE = 1e-4  # of a float32 feature from that of torch, relative to the largest value of the feature
MIN_COSINE = 0.95  # mean, of int8 or float16 features to those of float32, below which a warning is logged
MIN_CALIBRATION_DRAWINGS = 16
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
        for name, value, allowed in (("target", self.target, TARGETS), ("precision", self.precision, PRECISIONS)):
            if value not in allowed:
                raise InputError(describe_unknown(name, value, allowed))
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
    batch = images if len(images) > 1 else torch.cat([images, images])  # one image would fix the size of the batch
    with eval_mode(predictor.model, gem_power=cfg.TEST.GEM_POWER):
        reference = compute_features(forward, images)
        content, run = _export(forward, batch, options)
        features = _run_in_batches(run, images)
        difference, cosine = (
            measure(features, reference) for measure in (onnx_graph.measure_difference, onnx_graph.mean_cosine)
        )
        _check_features(options, num=len(images), difference=difference, cosine=cosine)
        if options.any_size:
            _check_other_size(forward, run, images, is_exact=options.precision == "float32")
    size_px = tuple(images.shape[2:])
    record = ExportRecord(
        file=PROGRAM_FILE if options.target == "torch-export" else ONNX_FILE,
        sha256=hashlib.sha256(content).hexdigest(),
        network_sha256=compute_weights_sha256(cfg),
        precision=options.precision,
        flip=options.flip,
        gem_power=cfg.TEST.GEM_POWER,
        size_px=() if options.any_size else size_px,
        example_size_px=size_px,
        num_features=reference.shape[1],
        opset=0 if options.target == "torch-export" else options.opset,
        network=select_network_settings(cfg),
        num_checked=len(images),
        difference=difference,
        cosine=cosine,
        preprocessing=_describe_preprocessing(cfg),
        versions={"fastreid": __version__, "torch": torch.__version__},
    )
    card = replace(card, description=" ".join(filter(None, [card.description, _describe(record)])))
    write_export(folder, content, record, cfg=cfg, model=predictor.model, card=card, target=options.target)
    return record


def _describe(record: ExportRecord) -> str:
    operators = f"ONNX operators {record.opset}" if record.opset else "torch.export"
    return (
        f"Exported in {record.precision} ({operators}). On {record.num_checked} drawings the features differ from "
        f"those of the network in torch by at most {record.difference:.1e} of the largest value; mean cosine "
        f"{record.cosine:.4f}."
    )


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
    check_output(folder)
    for name, is_set, remedy in (
        ("MODEL.COMPILE True", cfg.MODEL.COMPILE, "set it to False"),
        (
            f"TEST.NETWORK_PRECISION {cfg.TEST.NETWORK_PRECISION}",
            cfg.TEST.NETWORK_PRECISION != "float32",
            "set it to float32; --precision is that of the file",
        ),
    ):
        if is_set:
            raise InputError(f"{name} is for networks in torch; {remedy}")
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
    """Return the images of drawings, float32 (N, 3, H, W).

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
    levels, params = (torch.stack(part) for part in zip(*same))
    return predictor.transform.to_images(levels, params).contiguous()


def _export(forward: nn.Module, images: Tensor, options: ExportOptions) -> tuple[bytes, nn.Module]:
    """Return the content of a file, and the network that runs it in its own runtime."""
    program = onnx_graph.trace(forward, images[:2], any_size=options.any_size)
    if options.target == "torch-export":
        content = onnx_graph.serialize_program(program)
        return content, _ProgramNetwork(content)
    exact = onnx_graph.convert_to_onnx(program, opset=options.opset)
    content = quantization.convert_precision(exact, options.precision, images.numpy())
    return content, _SessionNetwork(content)


def _run_in_batches(run: nn.Module, images: Tensor) -> Tensor:
    """Return the features of images, computed in a batch of one and then in batches of 16."""
    return torch.cat([run(images[:1]), *(run(images[start : start + 16]) for start in range(1, len(images), 16))])


def _check_features(options: ExportOptions, *, num: int, difference: float, cosine: float) -> None:
    """Raise a NumericalError if float32 features differ from those of torch; warn if those of int8 differ much."""
    if options.precision == "float32":
        _check_difference(difference)
        return
    message = f"{options.precision}: mean cosine to the features in float32 {cosine:.4f}"
    if cosine < MIN_COSINE:
        get_logger().warning(f"{message}, so rankings change; use another precision, or measure them with --scores")
    else:
        get_logger().info(message)
    if options.precision == "int8" and num < MIN_CALIBRATION_DRAWINGS:
        get_logger().warning(
            f"int8 is calibrated with {num} drawings only; give at least {MIN_CALIBRATION_DRAWINGS} with --drawings"
        )


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
