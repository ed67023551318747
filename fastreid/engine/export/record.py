"""The record of an exported network, `export.json`: what the file computes, from which weights, and how well.

Nothing here needs torch.
"""

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastreid.utils.errors import WeightsError
from fastreid.utils.files import compute_sha256, write_text
from fastreid.utils.text import summarize_error

RECORD_FILE, ONNX_FILE, PROGRAM_FILE = "export.json", "model.onnx", "model.pt2"
PRECISIONS = ("float32", "float16", "int8")
FORMAT_VERSION = 1

_EXPORT_AGAIN = "export the network again with fastreid export"


@dataclass(frozen=True)
class ExportRecord:
    """What an exported file computes.

    Input: `images`, float32 (B, 3, H, W), RGB, 0..255, which the file itself normalizes. Output: `features`, float32
    (B, D).

    Args:
        file: name of the file in the same folder.
        sha256: of the file.
        network_sha256: identifies the weights of the exported network, as in saved features.
        precision: float32, float16 or int8.
        flip: the file averages the features of each image and its mirror image.
        gem_power: power of the generalized-mean pooling; 0: as trained.
        size_px: (H, W) of the images; empty: any size.
        example_size_px: (H, W) of the images with which the file was checked.
        num_features: D.
        opset: version of the ONNX operators; 0: no ONNX file.
        network: settings of MODEL that differ from the defaults; the file has no others.
        num_checked: drawings with which the file was checked in its own runtime.
        difference: largest difference of a feature from that of torch, relative to the largest value of the feature.
        cosine: mean cosine of the features to those of torch.
        preprocessing: how a page becomes an image; settings of INPUT by name.
        scores: dataset -> score of the network in torch and of the file, such as {"mAP": [61.4, 60.9]}, in percent.
        versions: of the packages that wrote the file.
    """

    file: str
    sha256: str
    network_sha256: str
    precision: str
    flip: bool
    gem_power: float
    size_px: tuple[int, ...]
    example_size_px: tuple[int, ...]
    num_features: int
    opset: int
    network: Mapping[str, Any]
    num_checked: int
    difference: float
    cosine: float
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    scores: Mapping[str, Mapping[str, list[float]]] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def weights_sha256(self) -> str:
        """Identifies the features: as the network in torch if they are the same, otherwise as the file."""
        is_same = self.precision == "float32" and not self.flip and not self.gem_power
        return self.network_sha256 if is_same else self.sha256


def write_record(folder: Path, record: ExportRecord) -> None:
    """Write `export.json`."""
    content = {"format_version": FORMAT_VERSION, **dataclasses.asdict(record)}
    write_text(folder / RECORD_FILE, json.dumps(content, indent=2) + "\n")


def describes_export(folder: Path) -> bool:
    """Return whether a folder has a record of an export, of any version; its content is not checked."""
    try:
        content = json.loads((folder / RECORD_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and {"format_version", "network_sha256"} <= content.keys()


def read_record(folder: Path) -> ExportRecord:
    """Read `export.json` and check that the file is the one that it describes.

    Raises:
        WeightsError: a file is missing, damaged, or from another version.
    """
    path = folder / RECORD_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        version = content.pop("format_version")
    except FileNotFoundError as error:
        raise WeightsError(f"{folder}: has no {RECORD_FILE}; {_EXPORT_AGAIN}") from error
    except (OSError, ValueError, AttributeError, TypeError, KeyError) as error:
        raise WeightsError(f"{path}: cannot be read ({summarize_error(error)}); {_EXPORT_AGAIN}") from error
    if version != FORMAT_VERSION:
        raise WeightsError(
            f"{path}: has format version {version!r}, but this fastreid reads version {FORMAT_VERSION}; {_EXPORT_AGAIN}"
        )
    record = _parse(path, content)
    file = folder / record.file
    if not file.is_file():
        raise WeightsError(f"{file}: no such file, but {RECORD_FILE} describes it; {_EXPORT_AGAIN}")
    if compute_sha256(file) != record.sha256:
        raise WeightsError(f"{file}: is not the file that {RECORD_FILE} describes; copy both again")
    return record


def _parse(path: Path, content: dict[str, Any]) -> ExportRecord:
    names = [entry.name for entry in dataclasses.fields(ExportRecord)]
    unknown, missing = sorted(set(content) - set(names)), [name for name in names if name not in content]
    if unknown or missing:
        raise WeightsError(f"{path}: has unknown entries {unknown} or lacks entries {missing}; {_EXPORT_AGAIN}")
    content |= {name: tuple(content[name]) for name in ("size_px", "example_size_px") if _is_size(content[name])}
    record = ExportRecord(**content)
    texts = (record.file, record.sha256, record.network_sha256)
    counts = (record.num_features, record.opset, record.num_checked)
    numbers = (record.gem_power, record.difference, record.cosine)
    is_valid = (
        all(isinstance(text, str) for text in texts)
        and all(isinstance(count, int) and not isinstance(count, bool) and count >= 0 for count in counts)
        and all(isinstance(number, (int, float)) and math.isfinite(number) for number in numbers)
        and all(
            isinstance(part, dict) for part in (record.network, record.preprocessing, record.scores, record.versions)
        )
        and all(isinstance(size, tuple) for size in (record.size_px, record.example_size_px))
        and record.file in (ONNX_FILE, PROGRAM_FILE)
        and record.precision in PRECISIONS
        and isinstance(record.flip, bool)
    )
    if not is_valid:
        raise WeightsError(f"{path}: has an invalid value; {_EXPORT_AGAIN}")
    return record


def _is_size(value: object) -> bool:
    return isinstance(value, list) and len(value) in (0, 2) and all(isinstance(side, int) for side in value)
