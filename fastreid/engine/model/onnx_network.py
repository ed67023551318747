"""Run an exported network in onnxruntime, in place of the network in torch."""

import importlib
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from fastreid.engine.export.record import ONNX_FILE, RECORD_FILE, ExportRecord, read_record
from fastreid.utils.errors import EnvironmentSetupError, InputError, WeightsError
from fastreid.utils.text import summarize_error

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class OnnxNetwork(nn.Module):
    """Features of images, computed by onnxruntime; for evaluation only.

    Args:
        session: the opened file.
        record: its record.
    """

    def __init__(self, session: Any, record: ExportRecord):
        super().__init__()
        self.session = session
        self.record = record
        self.num_threads: int = session.get_session_options().intra_op_num_threads

    def forward(self, images: Tensor) -> Tensor:
        """Return the features of images, float32 (B, D), on the device of the images.

        Args:
            images: float32 (B, 3, H, W), RGB, 0..255.

        Raises:
            InputError: the images have a shape that the file does not accept.
        """
        size_px = self.record.size_px
        if images.ndim != 4 or images.shape[1] != 3 or (size_px and tuple(images.shape[2:]) != size_px):
            wanted = f"{size_px[0]}, {size_px[1]}" if size_px else "H, W"
            raise InputError(f"images must be float32 (B, 3, {wanted}), RGB, 0..255, not {tuple(images.shape)}")
        levels = images.detach().to("cpu", torch.float32).contiguous().numpy()
        (features,) = self.session.run(None, {"images": levels})
        return torch.from_numpy(features).to(images.device)


def load_onnx_network(folder: Path, *, device: torch.device, num_threads: int, size_px: Sequence[int]) -> OnnxNetwork:
    """Open the exported network of a folder.

    Args:
        folder: was written by `fastreid export`.
        device: cpu or cuda.
        num_threads: of one call; 0: as torch.
        size_px: (H, W) of the images that it will get.

    Raises:
        InputError: the network does not accept images of this size, or the folder has a torch.export program.
        EnvironmentSetupError: onnxruntime, or its provider for the device, is not installed.
        WeightsError: a file is missing or damaged, or from another version.
    """
    record = read_record(folder)
    if record.file != ONNX_FILE:
        raise InputError(f"{folder}: has {record.file}, which onnxruntime does not run; export it with --to onnx")
    if record.size_px and tuple(size_px) != record.size_px:
        height, width = record.size_px
        raise InputError(
            f"{folder}: was exported for images of {height} x {width} px only; set INPUT.SIZE_TEST to "
            f"[{height}, {width}], not {list(size_px)}"
        )
    session = open_session(folder / ONNX_FILE, device=device, num_threads=num_threads)
    width = session.get_outputs()[0].shape[-1]
    if isinstance(width, int) and width != record.num_features:
        raise WeightsError(
            f"{folder}: {RECORD_FILE} says {record.num_features} features, but the file returns {width}; export the "
            "network again with fastreid export"
        )
    return OnnxNetwork(session, record)


def open_session(source: Path | bytes, *, device: torch.device, num_threads: int = 0) -> Any:
    """Return the onnxruntime session of a file or of its content.

    Raises:
        EnvironmentSetupError: onnxruntime, or its provider for the device, is not installed.
        WeightsError: onnxruntime cannot load the file.
    """
    library = import_onnxruntime()
    provider = _PROVIDERS.get(device.type)
    available = library.get_available_providers()
    if provider is None or provider not in available:
        raise EnvironmentSetupError(
            f"MODEL.DEVICE is {device}, but onnxruntime has no provider for it (it has {', '.join(available)}); set "
            "MODEL.DEVICE cpu, or install onnxruntime-gpu instead of onnxruntime for an NVIDIA GPU"
        )
    options = library.SessionOptions()
    options.intra_op_num_threads = num_threads or torch.get_num_threads()
    options.log_severity_level = 3  # errors; its warnings are about optimizations
    index = {"device_id": str(device.index or 0)} if device.type == "cuda" else {}
    name = "the exported network" if isinstance(source, bytes) else str(source)
    try:
        return library.InferenceSession(
            source if isinstance(source, bytes) else str(source), options, providers=[(provider, index)]
        )
    except Exception as error:  # onnxruntime's own classes have no common base
        raise WeightsError(
            f"{name}: onnxruntime {library.__version__} cannot load it ({summarize_error(error)}); export it again, "
            "or with a smaller --opset"
        ) from error


def import_onnxruntime() -> ModuleType:
    """Import onnxruntime.

    Raises:
        EnvironmentSetupError: it is not installed.
    """
    try:
        return importlib.import_module("onnxruntime")
    except ImportError as error:
        raise EnvironmentSetupError("running an exported network needs onnxruntime: pip install onnxruntime") from error
