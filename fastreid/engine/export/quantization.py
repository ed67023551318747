"""Variants of an ONNX file with smaller numbers: int8 and float16."""

import importlib
import logging
from collections.abc import Iterator
from typing import Any

import numpy as np

from fastreid.utils.errors import EnvironmentSetupError, InputError
from fastreid.utils.files import atomic_write
from fastreid.utils.temporary_folders import make_temporary_folder
from fastreid.utils.text import summarize_error


def convert_precision(content: bytes, precision: str, images: np.ndarray) -> bytes:
    """Return an ONNX file with weights and activations of another precision; input and output remain float32.

    int8: static quantization, weights per channel, activations with the range that the images reach.

    Args:
        content: of a float32 file.
        precision: float32, float16 or int8.
        images: float32 (N, 3, H, W), 0..255, for the ranges of int8.

    Raises:
        EnvironmentSetupError: onnxruntime or onnx is not installed.
        InputError: the file cannot be converted.
    """
    if precision == "float32":
        return content
    try:
        return _to_int8(content, images) if precision == "int8" else _to_float16(content)
    except ImportError as error:
        raise EnvironmentSetupError(f"--precision {precision} needs onnx and onnxruntime ({error})") from error
    except (RuntimeError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"the network cannot be converted to {precision}: {summarize_error(error)}") from error


def _to_int8(content: bytes, images: np.ndarray) -> bytes:
    quantization = importlib.import_module("onnxruntime.quantization")
    preparation = importlib.import_module("onnxruntime.quantization.shape_inference")

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc, name-defined]
        """Gives the images to the calibration, one by one."""

        def __init__(self, images: np.ndarray):
            self.rows: Iterator[np.ndarray] = iter(images)

        def get_next(self) -> dict[str, Any] | None:
            """Return the next image, None at the end."""
            row = next(self.rows, None)
            return None if row is None else {"images": row[None]}

    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)  # the library logs advice to the root logger
    try:
        with make_temporary_folder("fastreid-export-") as folder:
            source, prepared, result = (folder / name for name in ("source.onnx", "prepared.onnx", "int8.onnx"))
            with atomic_write(source) as file:
                file.write(content)
            preparation.quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
            quantization.quantize_static(
                str(prepared),
                str(result),
                Reader(images),
                quant_format=quantization.QuantFormat.QDQ,
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
                per_channel=True,
            )
            return result.read_bytes()
    finally:
        logger.setLevel(level)


def _to_float16(content: bytes) -> bytes:
    onnx = importlib.import_module("onnx")
    float16 = importlib.import_module("onnxruntime.transformers.float16")
    model = float16.convert_float_to_float16(onnx.load_from_string(content), keep_io_types=True)
    result: bytes = model.SerializeToString()
    return result
