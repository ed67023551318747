"""Loads weights from a file into a model: safely, checked against the model, with a one-line report.

No code from a file is executed: `.pth` files are always read with `weights_only=True`, and `.safetensors` files contain
no code.
"""

import re
import warnings
import zipfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from fastreid.modeling.mismatch import explain_mismatch
from fastreid.utils.checksums import verify_checksum
from fastreid.utils.errors import InputError, WeightsError
from fastreid.utils.logger import get_logger
from fastreid.utils.text import format_count, summarize_error

MAX_NAMES_SHOWN = 20  # listed in a message before the total count
CONFIG_BUFFERS = ("pixel_mean", "pixel_std")  # stored in older checkpoints; now set by the config
WRAPPERS = (  # keys of a checkpoint that may contain the state dict, in this order
    *("model", "state_dict", "model_state_dict", "network", "net", "model_state", "ema", "model_ema", "state_dict_ema"),
    *("ema_state_dict", "teacher", "student", "weights", "params"),
)
USUAL_WRAPPERS = ("", "model", "state_dict")  # not worth a line in the log
PREFIXES = ("module.", "model.", "network.", "net.", "_forward_module.")  # of wrappers around a network
BACKBONE = "backbone."  # the names of a network without a wrapper
COMPILED = "_orig_mod."  # part of the names in a network compiled by torch.compile
COUNTER = "num_batches_tracked"  # of batch norm; missing in files of torch before 0.4.1 and in frozen batch norm


@dataclass(frozen=True)
class LoadReport:
    """Report of loaded and skipped tensors; `str(report)` is a line for the log.

    Args:
        num_loaded: number of tensors loaded from the file.
        num_total: number of tensors of the model.
        reinitialized: name -> difference, for the tensors (or groups of them) that keep their initial values.
        ignored: names in the file that the model does not use.
    """

    num_loaded: int
    num_total: int
    reinitialized: Mapping[str, str] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()

    def __str__(self) -> str:
        parts = [f"loaded {self.num_loaded}/{self.num_total} tensors"]
        if self.reinitialized:
            items = list(self.reinitialized.items())[:3]
            parts += [f"{name} reinitialized ({reason})" for name, reason in items]
            parts += [f"and {len(self.reinitialized) - 3} more"] * (len(self.reinitialized) > 3)
        if self.ignored:
            more = ", ..." if len(self.ignored) > 3 else ""
            parts.append(f"ignored {len(self.ignored)}: {', '.join(self.ignored[:3])}{more}")
        return "; ".join(parts)


def read_weights(path: str | Path) -> dict[str, Any]:
    """Read a `.safetensors` file or a file written by `torch.save`; tensors are on the CPU.

    Raises:
        InputError: the file does not exist.
        WeightsError: the file is unreadable, contains objects other than tensors and plain values, or does not match
            its `.sha256` file.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such weights file; check the path")
    try:
        verify_checksum(path)
        content = load_file(path) if path.suffix == ".safetensors" else _load_pickle(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(f"{path}: cannot be read ({summarize_error(error)}); download or save it again") from error
    if not isinstance(content, dict):
        raise WeightsError(f"{path}: contains a {type(content).__name__}, not a dict of tensors; save a state dict")
    return content


def extract_model_state(
    content: Mapping[str, Any], *, source: str = "", expected: Collection[str] = ()
) -> dict[str, Tensor]:
    """Return the state dict of the model in a checkpoint, with current parameter names.

    Accepts a plain state dict, or one under a key of WRAPPERS. Removes the prefixes of DistributedDataParallel,
    torch.compile and other wrappers if all names have them, any other common prefix if names of the network remain,
    and the pixel statistics; renames `heads.classifier.weight`
    and `heads.bnneck.*` of older files. Unusual changes are logged.

    Args:
        content: content of the checkpoint.
        source: source of the tensors, such as a file name, for messages.
        expected: names in the network; a prefix that some of them have is kept.

    Raises:
        WeightsError: a value is not a tensor, or there is no tensor.
    """
    content, wrapper = _unwrap(content)
    wrong = [str(name) for name, value in content.items() if not isinstance(value, Tensor)]
    if wrong or not content:
        problem = f"contains other values: {format_names(wrong)}" if wrong else "is empty"
        raise WeightsError(
            f'a state dict must map names to tensors, but this one {problem}; save {{"model": state dict}}'
        )
    removable = [prefix for prefix in PREFIXES if not any(name.startswith(prefix) for name in expected)]
    tensors, prefixes = _remove_prefixes(content, removable, expected=frozenset(expected))
    changes = [f"the tensors are those of '{wrapper}'"] * (wrapper not in USUAL_WRAPPERS)
    changes += [f"removed from their names: {', '.join(prefixes)}"] * bool(set(prefixes) - {"module."})
    if changes:
        get_logger().info(f"{source or 'weights'}: {'; '.join(changes)}")
    neck = 1 if "heads.bottleneck.0.weight" in tensors and tensors["heads.bottleneck.0.weight"].ndim == 4 else 0
    return {_current_name(name, neck): tensor for name, tensor in tensors.items() if name not in CONFIG_BUFFERS}


def _unwrap(content: Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
    """Return the innermost state dict, and the keys that lead to it, joined by dots."""
    keys: list[str] = []
    while key := next((key for key in WRAPPERS if isinstance(content.get(key), Mapping)), ""):
        content = content[key]
        keys.append(key)
    return content, ".".join(keys)


def _remove_prefixes(
    content: Mapping[str, Tensor], removable: Sequence[str], *, expected: frozenset[str]
) -> tuple[dict[str, Tensor], list[str]]:
    tensors, prefixes = {name.replace(COMPILED, ""): value for name, value in content.items()}, []
    if tensors.keys() != content.keys():
        prefixes.append(COMPILED)
    while prefix := _find_prefix(tensors, removable, expected=expected):
        tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
        prefixes.append(prefix)
    if "module." in removable:  # DistributedDataParallel of parts of a network
        tensors = {name.removeprefix("module."): value for name, value in tensors.items()}
    return tensors, prefixes


def _find_prefix(names: Collection[str], removable: Sequence[str], *, expected: frozenset[str]) -> str:
    """Return a prefix of all names that is removable, or without which they are those of a network; "" if none is."""
    own = next(iter(names)).partition(".")[0] + "."
    rest = [name.removeprefix(own) for name in names]
    is_wrapped = own != BACKBONE and any(name.startswith(BACKBONE) or name in expected for name in rest)
    candidates = [*removable, own] if is_wrapped and expected.isdisjoint(names) else removable
    return next((prefix for prefix in candidates if all(name.startswith(prefix) for name in names)), "")


def load_state(
    model: nn.Module,
    state: Mapping[str, Tensor],
    *,
    may_differ: Collection[str] = (),
    may_lack_counters: bool = False,
    source: str = "",
) -> LoadReport:
    """Load tensors into a model, all or none.

    Args:
        model: destination, on any device.
        state: name -> tensor, as `extract_model_state` returns them.
        may_differ: names of tensors that may be missing or have another shape; these keep the values of the model.
        may_lack_counters: set the counters of batch norm to 0 if the file has none, as a file of fast-reid with frozen
            batch norm or an old file of torch. They have no influence on features.
        source: source of the tensors, such as a file name, for messages.

    Raises:
        WeightsError: a tensor is missing, unknown, has another shape or type, or contains NaN or Inf; nothing is
            loaded.
    """
    expected = model.state_dict()
    if may_lack_counters:
        state = {**{name: torch.zeros_like(value) for name, value in expected.items() if _is_counter(name)}, **state}
    faults: list[str] = []
    reinitialized: dict[str, str] = {}
    for name, tensor in expected.items():
        difference = _describe_difference(tensor, state.get(name))
        if difference and name in may_differ:
            reinitialized[name] = difference
        elif difference:
            faults.append(f"{name}: {difference}")
    prefix = f"{source}: " if source else ""
    unknown = [f"{name}: unknown to the model" for name in state if name not in expected]
    if faults or unknown:
        others = f" and the file has {format_count(len(unknown), 'more tensor')}" if unknown else ""
        raise WeightsError(
            f"{prefix}weights do not match the model, {len(faults)} of {len(expected)} tensors differ{others}: "
            f"{format_names(faults + unknown)}; {explain_mismatch(expected, state)}"
        )
    selected = {name: state[name] for name in expected if name not in reinitialized}
    check_finite(selected, source=source)
    model.load_state_dict(selected, strict=False)
    return LoadReport(len(selected), len(expected), reinitialized)


def check_finite(state: Mapping[str, Tensor], *, source: str = "") -> None:
    """Raise a `WeightsError` if a tensor contains NaN or Inf.

    Args:
        state: name -> tensor.
        source: source of the tensors, such as a file name, for the message.
    """
    prefix = f"{source}: " if source else ""
    bad = find_nonfinite_tensors(state)
    if bad:
        raise WeightsError(
            f"{prefix}weights contain NaN or Inf in {len(bad)} tensors: {format_names(bad)}; use an earlier checkpoint"
        )


def find_nonfinite_tensors(state: Mapping[str, Tensor]) -> list[str]:
    """Return the names of the tensors that contain NaN or Inf."""
    return [name for name, tensor in state.items() if tensor.is_floating_point() and not torch.isfinite(tensor).all()]


def _is_counter(name: str) -> bool:
    return name.rpartition(".")[2] == COUNTER


def _describe_difference(expected: Tensor, loaded: Tensor | None) -> str:
    if loaded is None:
        return "absent"
    if expected.is_floating_point() != loaded.is_floating_point() or loaded.is_complex():
        return f"{_format_dtype(loaded)} -> {_format_dtype(expected)}"
    if expected.shape == loaded.shape:
        return ""
    if expected.ndim == loaded.ndim == 2 and expected.shape[1] == loaded.shape[1]:
        return f"{loaded.shape[0]} -> {expected.shape[0]} classes"
    return f"{_format_shape(loaded)} -> {_format_shape(expected)}"


def _current_name(name: str, neck: int) -> str:
    if name == "heads.classifier.weight":
        return "heads.weight"
    return re.sub(r"^heads\.bnneck\.", f"heads.bottleneck.{neck}.", name)


def _load_pickle(path: Path) -> Any:
    _check_inflation(path)
    try:
        with (
            warnings.catch_warnings()
        ):  # torch warns about unusual files before its error; the message here is one line
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged files can raise any exception
        raise WeightsError(
            f"{path}: not a file of tensors and plain values, or damaged; download it again, or convert it where it "
            'was created: torch.save({"model": model.state_dict()}, path)'
        ) from error


def _check_inflation(path: Path) -> None:
    """Raise a `WeightsError` for compressed archives (zip bombs); `torch.save` does not compress."""
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            num_bytes = sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return  # torch.load raises the error
    if num_bytes > path.stat().st_size:
        raise WeightsError(
            f"{path}: unpacks from {path.stat().st_size} to {num_bytes} bytes, but torch.save does not compress; "
            "download or save it again"
        )


def format_names(names: list[str]) -> str:
    """Join the first names, long ones without their middle, followed by the total number if there are more."""
    rest = f", ... ({len(names)} in all)" if len(names) > MAX_NAMES_SHOWN else ""
    shown = [name if len(name) <= 300 else f"{name[:200]}...{name[-80:]}" for name in names[:MAX_NAMES_SHOWN]]
    return ", ".join(shown) + rest


def _format_shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"


def _format_dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
