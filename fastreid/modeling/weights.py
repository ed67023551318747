"""Weights from a file into a model: read safely, checked against the model, and told in one line.

Nothing here runs code from a file: `.pth` is read with `weights_only=True`, always, and `.safetensors` holds none.
"""

import re
import warnings
import zipfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from fastreid.utils.checksums import verify_checksum
from fastreid.utils.errors import InputError, WeightsError

MAX_NAMES_SHOWN = 20  # faults a message lists before it only counts
CONFIG_BUFFERS = ("pixel_mean", "pixel_std")  # older checkpoints hold them; here the config says them
WRAPPERS = ("model", "state_dict")  # keys under which a checkpoint keeps its tensors


@dataclass(frozen=True)
class LoadReport:
    """What was loaded and what was not; `str(report)` is the line for the log.

    Args:
        num_loaded: tensors taken from the file.
        num_total: tensors the model has.
        anew: name -> how it differs, for the tensors (or groups of them) that keep their fresh values.
        left_out: names in the file that the model has no use for.
    """

    num_loaded: int
    num_total: int
    reinitialized: Mapping[str, str] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()

    def __str__(self) -> str:
        parts = [f"loaded {self.num_loaded}/{self.num_total} tensors"]
        if self.reinitialized:
            shown = [f"{name} made anew ({how})" for name, how in list(self.reinitialized.items())[:3]]
            parts += shown + [f"and {len(self.reinitialized) - 3} more"] * (len(self.reinitialized) > 3)
        if self.ignored:
            more = ", ..." if len(self.ignored) > 3 else ""
            parts.append(f"left out {len(self.ignored)}: {', '.join(self.ignored[:3])}{more}")
        return "; ".join(parts)


def read_weights(path: str | Path) -> dict[str, Any]:
    """The content of a `.safetensors` file or of a file `torch.save` wrote, on the CPU.

    Raises:
        InputError: there is no such file.
        WeightsError: it cannot be read, holds more than tensors and plain values, or is not what the sha256 beside it
            belongs to.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such weights file; check the path")
    try:
        verify_checksum(path)
        content = load_file(path) if path.suffix == ".safetensors" else _load_pickle(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(f"{path}: cannot be read ({_first_line(error)}); fetch or save it again") from error
    if not isinstance(content, dict):
        raise WeightsError(f"{path}: holds a {type(content).__name__}, not a dict of tensors; save a state dict")
    return content


def extract_model_state(content: Mapping[str, Any]) -> dict[str, Tensor]:
    """The model's tensors of a checkpoint, under the names this project uses.

    Takes `{"model": ...}`, `{"state_dict": ...}` or the bare state dict; takes a leading "module." off; leaves out the
    pixel statistics; gives `heads.classifier.weight` and `heads.bnneck.*` of older files their present names.

    Raises:
        WeightsError: there are other things than tensors, or no tensor at all.
    """
    for key in WRAPPERS:
        if isinstance(content.get(key), Mapping):
            content = content[key]
            break
    wrong = [str(name) for name, value in content.items() if not isinstance(value, Tensor)]
    if wrong or not content:
        came = f"other things too: {format_names(wrong)}" if wrong else "none"
        raise WeightsError(f'weights are tensors by name, and this file holds {came}; save {{"model": state dict}}')
    plain = {name.removeprefix("module."): tensor for name, tensor in content.items()}
    neck = 1 if "heads.bottleneck.0.weight" in plain and plain["heads.bottleneck.0.weight"].ndim == 4 else 0
    return {_current_name(name, neck): tensor for name, tensor in plain.items() if name not in CONFIG_BUFFERS}


def load_state(
    model: nn.Module, state: Mapping[str, Tensor], *, may_differ: Collection[str] = (), source: str = ""
) -> LoadReport:
    """Put tensors into a model, all or none.

    Args:
        model: what they go into, on any device.
        state: name -> tensor, as `extract_model_state` gives them.
        may_differ: names that may be missing or of another shape; they keep the model's own values.
        source: where the tensors come from, such as the file, for messages.

    Raises:
        WeightsError: a tensor is missing, unknown, of another shape or kind, or holds NaN or Inf; nothing is loaded.
    """
    wanted = model.state_dict()
    faults: list[str] = []
    anew: dict[str, str] = {}
    for name, tensor in wanted.items():
        difference = _describe_difference(tensor, state.get(name))
        if difference and name in may_differ:
            anew[name] = difference
        elif difference:
            faults.append(f"{name}: {difference}")
    where = f"{source}: " if source else ""
    faults += [f"{name}: unknown to the model" for name in state if name not in wanted]
    if faults:
        raise WeightsError(
            f"{where}weights do not fit the model, {len(faults)} of {len(wanted)} tensors differ: {format_names(faults)}; "
            "check DEPTH, WITH_IBN, WITH_SE, WITH_NL, EMBEDDING_DIM and POOL_LAYER"
        )
    chosen = {name: state[name] for name in wanted if name not in anew}
    check_finite(chosen, source=source)
    model.load_state_dict(chosen, strict=False)
    return LoadReport(len(chosen), len(wanted), anew)


def check_finite(state: Mapping[str, Tensor], *, source: str = "") -> None:
    """Refuse tensors with NaN or Inf in them, by name; `source`, such as the file, opens the message."""
    where = f"{source}: " if source else ""
    bad = find_nonfinite_tensors(state)
    if bad:
        raise WeightsError(
            f"{where}weights hold NaN or Inf in {len(bad)} tensors: {format_names(bad)}; use an earlier checkpoint"
        )


def find_nonfinite_tensors(state: Mapping[str, Tensor]) -> list[str]:
    """The names of the tensors with NaN or Inf in them."""
    return [name for name, tensor in state.items() if tensor.is_floating_point() and not torch.isfinite(tensor).all()]


def _describe_difference(wanted: Tensor, found: Tensor | None) -> str:
    if found is None:
        return "absent"
    if wanted.is_floating_point() != found.is_floating_point() or found.is_complex():
        return f"{_format_dtype(found)} -> {_format_dtype(wanted)}"
    if wanted.shape == found.shape:
        return ""
    if wanted.ndim == found.ndim == 2 and wanted.shape[1] == found.shape[1]:
        return f"{found.shape[0]} -> {wanted.shape[0]} classes"
    return f"{_format_shape(found)} -> {_format_shape(wanted)}"


def _current_name(name: str, neck: int) -> str:
    if name == "heads.classifier.weight":
        return "heads.weight"
    return re.sub(r"^heads\.bnneck\.", f"heads.bottleneck.{neck}.", name)


def _load_pickle(path: Path) -> Any:
    _check_inflation(path)
    try:
        with warnings.catch_warnings():  # a refusal is one line, and torch tells of odd files before it refuses them
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged files raise whatever their bytes lead to
        raise WeightsError(
            f"{path}: not a file of tensors and plain values, or damaged; fetch it again, or convert it where it was "
            'made: torch.save({"model": model.state_dict()}, path)'
        ) from error


def _check_inflation(path: Path) -> None:
    """Refuse an archive that would be larger in memory than on the disk; `torch.save` compresses nothing."""
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            num_bytes = sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return  # torch says what is wrong with it
    if num_bytes > path.stat().st_size:
        raise WeightsError(
            f"{path}: unpacks to {num_bytes} bytes from {path.stat().st_size}, as no file of torch.save does; fetch it again, "
            "or save it again where it was compressed"
        )


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).strip().splitlines()[0][:160]


def format_names(names: list[str]) -> str:
    """The first names, and how many there are where that is not all."""
    rest = f", ... ({len(names)} in all)" if len(names) > MAX_NAMES_SHOWN else ""
    return ", ".join(names[:MAX_NAMES_SHOWN]) + rest


def _format_shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "one number"


def _format_dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
