"""Check the type and range of every value of a training checkpoint before anything of it is used.

A check is a function of the key and the value that yields one line per fault. `CHECKPOINT` is the table of all keys.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from fastreid.engine.checkpoint.index import BEST_MODEL_PATTERN
from fastreid.engine.resume.data_fingerprint import FORMAT
from fastreid.utils.text import escape_unprintable

Check = Callable[[str, Any], Iterator[str]]

MAX_COUNT = 2**53
MAX_SHOWN_CHARACTERS = 40


def find_value_faults(state: Mapping[str, Any]) -> list[str]:
    """Return the values of a wrong type or range, one line each, such as "iteration is -5, not an integer ...".

    Missing keys are no faults. `find_optimizer_faults` compares the optimizer's tensors with the optimizer.

    Args:
        state: the content of the file.
    """
    return [fault for key, check in CHECKPOINT.items() if key in state for fault in check(key, state[key])]


def find_epoch_faults(state: Mapping[str, Any], *, iters_per_epoch: int) -> list[str]:
    """Return the epochs that do not fit the iteration, one line each.

    Args:
        state: the content of a file without value faults.
        iters_per_epoch: iterations per epoch of the run.
    """
    faults, iteration = [], state["iteration"]
    last_epoch = iteration // iters_per_epoch - 1
    if state.get("epoch", last_epoch) != last_epoch:
        faults.append(
            f"epoch is {state['epoch']}, but after iteration {iteration}, with {iters_per_epoch} iterations per epoch, "
            f"it is {last_epoch}; unless the training list has changed"
        )
    if state.get("best_epoch", -1) > last_epoch:
        faults.append(f"best_epoch is {state['best_epoch']}, which is after epoch {last_epoch}")
    return faults


def find_tensor_faults(key: str, loaded: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> list[str]:
    """Return the differences in name and shape of two state dicts, and NaN, one line each."""
    faults = [f"{key}.{name} is missing" for name in expected if name not in loaded]
    for name, tensor in loaded.items():
        if name not in expected:
            faults.append(f"{key}.{escape_unprintable(name)} is unknown to the model")
        elif tensor.shape != expected[name].shape or tensor.is_floating_point() != expected[name].is_floating_point():
            faults.append(f"{key}.{name} is {show_value(tensor)}, not {show_value(expected[name])}")
        elif tensor.is_floating_point() and not torch.isfinite(tensor).all():
            faults.append(f"{key}.{name} contains NaN or Inf")
    return faults


def show_value(value: Any) -> str:
    """Return a short text that describes a value of a checkpoint."""
    if isinstance(value, Tensor):
        shape = "x".join(map(str, value.shape)) or "a scalar"
        return f"a tensor {str(value.dtype).removeprefix('torch.')} {shape}"
    if isinstance(value, (dict, list, tuple, set)):
        return f"a {type(value).__name__} of {len(value)}"
    text = escape_unprintable(repr(value))
    return f"{text[:MAX_SHOWN_CHARACTERS]}..." if len(text) > MAX_SHOWN_CHARACTERS else text


def is_number(value: Any) -> bool:
    """Return whether a value is a finite int or float; bool is neither."""
    return type(value) in (int, float) and math.isfinite(value)


def _value(expected: str, is_valid: Callable[[Any], bool]) -> Check:
    def check(key: str, value: Any) -> Iterator[str]:
        if not is_valid(value):
            yield f"{key} is {show_value(value)}, not {expected}"

    return check


def _record(fields: Mapping[str, Check]) -> Check:
    """Return the check of a dict that contains at least these keys."""

    def check(key: str, value: Any) -> Iterator[str]:
        if not isinstance(value, dict):
            yield f"{key} is {show_value(value)}, not a dict"
            return
        for name, field in fields.items():
            if name in value:
                yield from field(f"{key}.{name}", value[name])
            else:
                yield f"{key}.{name} is missing"

    return check


def _dict_of(item: Check, *, is_key: Callable[[Any], bool] = lambda key: isinstance(key, str)) -> Check:
    def check(key: str, value: Any) -> Iterator[str]:
        if not isinstance(value, dict):
            yield f"{key} is {show_value(value)}, not a dict"
            return
        for name, content in value.items():
            if is_key(name):
                yield from item(f"{key}.{escape_unprintable(str(name))}", content)
            else:
                yield f"{key} has the invalid key {show_value(name)}"

    return check


def _list_of(item: Check) -> Check:
    def check(key: str, value: Any) -> Iterator[str]:
        if not isinstance(value, list):
            yield f"{key} is {show_value(value)}, not a list"
            return
        for index, content in enumerate(value):
            yield from item(f"{key}[{index}]", content)

    return check


def _in_sequence(*checks: Check) -> Check:
    """Return a check that stops at the first of these checks that finds a fault."""

    def check(key: str, value: Any) -> Iterator[str]:
        for part in checks:
            faults = list(part(key, value))
            if faults:
                yield from faults
                return

    return check


def _check_scaler_value(key: str, value: Any) -> Iterator[str]:
    if not (is_number(value) and value >= 0 and (value > 0 or key != "scaler.scale")):
        yield f"{key} is {show_value(value)}, not a finite number above 0"


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < MAX_COUNT


def _is_score(value: Any) -> bool:
    """Return whether a value is -1, no score, or a score in percent; a mean of hundreds may round to slightly more."""
    return is_number(value) and (value == -1 or 0 <= value <= 100 + 1e-6)


def _is_vector(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dtype == torch.int64 and value.ndim == 1


def _is_table(value: Any) -> bool:
    """Return whether a value is a table of hard identities: row indices of itself."""
    if not (isinstance(value, Tensor) and value.dtype == torch.int32 and value.ndim == 2):
        return False
    return value.numel() == 0 or (int(value.min()) >= 0 and int(value.max()) < len(value))


def _is_random_state(value: Any) -> bool:
    expected = torch.get_rng_state()
    if not (isinstance(value, Tensor) and value.dtype == expected.dtype and value.shape == expected.shape):
        return False
    try:
        torch.Generator().set_state(value)
    except RuntimeError:
        return False
    return True


def _is_memory(value: dict[str, Any]) -> bool:
    features, num = value["features"], len(value["targets"])
    is_matrix = features.ndim == 2 and features.is_floating_point() and len(features) == num
    return is_matrix and bool(features.isfinite().all()) and 0 <= value["position"] < max(num, 1)


def _has_equal_lengths(value: dict[str, Any]) -> bool:
    return len({len(value[name]) for name in ("names", "ids", "sizes", "times")}) == 1


def _check_data(key: str, value: Any) -> Iterator[str]:
    yield from _record({"format": COUNT})(key, value)
    if isinstance(value, dict) and value.get("format") == FORMAT:  # other formats have other values
        yield from _record({"labels": DIGEST, "lists": _dict_of(LIST_STATE)})(key, value)


COUNT = _value("an integer of 0 or more", _is_count)
EPOCH = _value("an integer of -1 or more", lambda value: type(value) is int and -1 <= value < MAX_COUNT)
NUMBER = _value("a finite number", is_number)
SCORE = _value("-1 or a score in percent, 0 to 100", _is_score)
FLAG = _value("True or False", lambda value: isinstance(value, bool))
TEXT = _value("text", lambda value: isinstance(value, str))
DIGEST = _value("a sha256", lambda value: isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) is not None)
TENSOR = _value("a tensor", lambda value: isinstance(value, Tensor))
VECTOR = _value("a tensor int64 of one dimension", _is_vector)
LIST_STATE = _in_sequence(
    _record({"names": VECTOR, "ids": VECTOR, "sizes": VECTOR, "times": VECTOR, "samples": _list_of(TEXT)}),
    _value("a record of vectors of one length", _has_equal_lengths),
)

CHECKPOINT: Mapping[str, Check] = {
    "model": _dict_of(TENSOR),
    "optimizer": _record(
        {
            "state": _dict_of(_dict_of(lambda key, value: iter(())), is_key=_is_count),
            "param_groups": _list_of(_record({"params": _list_of(COUNT), "lr": NUMBER})),
        }
    ),
    "scaler": _dict_of(_check_scaler_value),
    "skipped": _in_sequence(
        _list_of(COUNT), _value("two numbers, the larger first", lambda value: len(value) == 2 and value[0] >= value[1])
    ),
    "iteration": COUNT,
    "epoch": EPOCH,
    "metric": SCORE,
    "best": SCORE,
    "best_epoch": EPOCH,
    "best_average": SCORE,
    "window": _dict_of(_list_of(NUMBER)),
    "hard_identities": _dict_of(_value("a table of row indices, int32", _is_table), is_key=_is_count),
    "num_bad_evaluations": COUNT,
    "stopped_early": FLAG,
    "epoch_end_pending": FLAG,
    "best_models": _dict_of(
        SCORE, is_key=lambda key: isinstance(key, str) and BEST_MODEL_PATTERN.fullmatch(key) is not None
    ),
    "average": _record({"model": _dict_of(TENSOR), "num_steps": COUNT, "num_averaged": COUNT}),
    "memory": _in_sequence(
        _record({"features": TENSOR, "targets": VECTOR, "position": COUNT, "num_steps": COUNT}),
        _value("a record of a finite feature for each target", _is_memory),
    ),
    "starting_point": _dict_of(TENSOR),
    "teacher": _dict_of(TEXT),
    "generator": _value("a state of torch's random generator", _is_random_state),
    "config": TEXT,
    "data": _check_data,
}
