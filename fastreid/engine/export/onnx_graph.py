"""Turn a network into an ONNX graph or a torch.export program."""

import contextlib
import importlib
import io
import logging
import re
import warnings
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from fastreid.utils.errors import EnvironmentSetupError, InputError
from fastreid.utils.text import summarize_error

MIN_OPSET, MAX_OPSET, DEFAULT_OPSET = 18, 23, 20
MAX_FILE_BYTES = 2**31 - 1  # of one protocol buffer


class ExportedForward(nn.Module):
    """What an exported file computes: images -> features.

    Args:
        network: images (B, 3, H, W), 0..255 -> features (B, D); it normalizes the images.
        flip: average the features of each image and its mirror image.
    """

    def __init__(self, network: nn.Module, *, flip: bool):
        super().__init__()
        self.network = network
        self.flip = flip

    def forward(self, images: Tensor) -> Tensor:
        """Return the features, float32 (B, D)."""
        features: Tensor = self.network(images)
        return (features + self.network(images.flip(3))) / 2 if self.flip else features


def trace(network: nn.Module, images: Tensor, *, any_size: bool) -> torch.export.ExportedProgram:
    """Return the torch.export program of a network, for any batch size.

    Args:
        network: in evaluation mode.
        images: float32 (2, 3, H, W), an example.
        any_size: H and W of the images may change too.

    Raises:
        InputError: a layer of the network cannot be exported, or the program is for this size only.
    """
    same = [name for name, module in network.named_modules() if type(module).__name__.endswith("Same")]
    if any_size and same:  # tracing such a network for any size does not end
        raise InputError(f"the padding of {same[0]} depends on the size of the images; export it without --any-size")
    dynamic = torch.export.Dim.DYNAMIC
    shape = {0: torch.export.Dim("batch", min=1, max=2**20)} | ({2: dynamic, 3: dynamic} if any_size else {})
    try:
        with torch.no_grad(), _quiet():
            return torch.export.export(network, (images,), dynamic_shapes={"images": shape})
    except Exception as error:  # torch.export raises many classes
        raise InputError(f"the network cannot be exported: {summarize_error(_find_cause(error))}") from error


def convert_to_onnx(program: torch.export.ExportedProgram, *, opset: int) -> bytes:
    """Return the content of the ONNX file of a program; its input is `images`, its output `features`.

    Raises:
        InputError: there is no ONNX operator for a layer, or the network is too large.
        EnvironmentSetupError: onnx or onnxscript is not installed.
    """
    for package in ("onnx", "onnxscript"):
        try:
            importlib.import_module(package)
        except ImportError as error:
            raise EnvironmentSetupError(f"exporting to ONNX needs {package}: pip install onnx onnxscript") from error
    try:
        with torch.no_grad(), _quiet():
            exported = torch.onnx.export(
                program,
                dynamo=True,
                input_names=["images"],
                output_names=["features"],
                opset_version=opset,
                verbose=False,
            )
    except Exception as error:  # the exporter raises many classes
        cause = _find_cause(error)
        name = re.search(r"No ONNX function found for <OpOverload\(op='([\w.]+)'", str(cause))
        if name is not None:
            raise InputError(f"a layer of the network has no ONNX operator: {name[1]}") from error
        raise InputError(f"the network cannot be converted to ONNX: {summarize_error(cause)}") from error
    if exported is None:
        raise InputError("the network cannot be exported to ONNX: torch returned no graph")
    model = exported.model_proto
    if model.ByteSize() > MAX_FILE_BYTES:
        raise InputError(f"the network has {model.ByteSize() / 2**30:.1f} GiB, but an ONNX file holds 2 GiB at most")
    content: bytes = model.SerializeToString()
    return content


def serialize_program(program: torch.export.ExportedProgram) -> bytes:
    """Return the content of the file of a torch.export program, for `torch.export.load`."""
    buffer = io.BytesIO()
    with _quiet():
        torch.export.save(program, buffer)
    return buffer.getvalue()


def load_program(content: bytes) -> nn.Module:
    """Return the network of the file of a torch.export program."""
    return torch.export.load(io.BytesIO(content)).module()


def measure_difference(features: Tensor, reference: Tensor) -> float:
    """Return the largest difference of a value of features (N, D), relative to the largest value of its reference."""
    scale = reference.abs().amax(dim=1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
    return float(((features - reference).abs() / scale).max())


def mean_cosine(features: Tensor, reference: Tensor) -> float:
    """Return the mean cosine between features (N, D) and their references."""
    return float((normalize(features) * normalize(reference)).sum(dim=1).mean())


def _find_cause(error: Exception) -> Exception:
    """Return the first error of a chain."""
    while isinstance(before := error.__cause__ or error.__context__, Exception):
        error = before
    return error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hide the progress and the internal warnings of torch's exporter; errors are raised anyway."""
    loggers = [logging.getLogger(name) for name in ("torch", "torch.onnx", "torch.fx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels):
            logger.setLevel(level)
