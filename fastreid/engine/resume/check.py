"""Check that a checkpoint belongs to the run that resumes from it: its values, settings and image lists."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fastreid.engine.model.teacher import describe_teacher_change
from fastreid.engine.resume.checkpoint_values import find_epoch_faults, find_tensor_faults, find_value_faults
from fastreid.engine.resume.data import (
    describe_change_since,
    describe_changed_times,
    find_repaired,
    merge_fingerprints,
)
from fastreid.engine.resume.data_fingerprint import FORMAT, TRAINING, DataFingerprint
from fastreid.engine.resume.optimizer_state import describe_size_change, find_optimizer_faults
from fastreid.engine.resume.settings import diff_settings, find_forbidden_changes, find_score_changes
from fastreid.engine.step.starting_point import select_backbone
from fastreid.engine.step.train_step import TrainStep
from fastreid.utils.errors import InputError, WeightsError
from fastreid.utils.logger import get_logger
from fastreid.utils.text import escape_unprintable, format_count, summarize_error

REQUIRED_KEYS = ("model", "optimizer", "scaler", "iteration", "generator")


def check_values(path: Path, state: Mapping[str, Any]) -> None:
    """Check the keys, types and ranges of a checkpoint.

    Raises:
        WeightsError: a value is missing or invalid.
    """
    missing = [name for name in REQUIRED_KEYS if name not in state]
    if missing:
        raise WeightsError(
            f"{path}: not a training checkpoint, {', '.join(missing)} missing; start a new run with it as MODEL.WEIGHTS"
        )
    _raise_faults(path, find_value_faults(state))


def check_settings(path: Path, before: str, now: str, *, defaults: str) -> list[str]:
    """Check that only `RESUME_SAFE_SETTINGS` have changed, and log those that do not affect scores.

    Args:
        path: the checkpoint, for messages.
        before: text of its settings; "": unknown.
        now: text of the current settings; "": unknown.
        defaults: text with the defaults of every setting.

    Returns:
        The changes because of which new scores are not comparable with those of the checkpoint.

    Raises:
        InputError: other settings have changed.
        WeightsError: the settings of the checkpoint cannot be read.
    """
    if not before or not now:
        return []
    try:
        changes = diff_settings(before, now, defaults=defaults)
        score_keys = find_score_changes(before, now, defaults=defaults)
        forbidden = [f"{key} {changes[key]}" for key in find_forbidden_changes(before, now, defaults=defaults)]
    except (InputError, TypeError) as error:
        raise WeightsError(f"{path}: its settings cannot be read ({summarize_error(error)}); use another checkpoint")
    if forbidden:
        raise InputError(
            f"--resume from {path}: {'; '.join(forbidden[:5])}; these settings cannot change during a run. "
            "Restore them, or start a new run with another OUTPUT_DIR and MODEL.WEIGHTS"
        )
    for key in changes.keys() - set(score_keys):
        get_logger().info(f"{key} {changes[key]}")
    return [f"{key} {changes[key]}" for key in score_keys]


def check_data(path: Path, before: Mapping[str, Any] | None, now: DataFingerprint | None) -> dict[str, Any] | None:
    """Check that the image lists and their files are those of the checkpoint, except for repaired unreadable files.

    Args:
        path: the checkpoint, for messages.
        before: its fingerprint of the data; None: it has none.
        now: the current one; None: unknown.

    Returns:
        The state of the fingerprint for the next checkpoints; None: unknown.

    Raises:
        InputError: a list or a file has changed.
    """
    if now is None:
        return None
    if before is None or before["format"] != FORMAT:
        get_logger().warning(
            f"{path}: another version of fastreid wrote it without a fingerprint of the image lists, or with one of "
            "another format, so changes of the lists cannot be detected"
        )
        return now.state
    change = describe_change_since(before, now)
    if change:
        raise InputError(
            f"--resume from {path}: {change}; restore it, or start a new run with MODEL.WEIGHTS {path} and another "
            "OUTPUT_DIR"
        )
    repaired = find_repaired(before, now)
    if repaired:
        first = escape_unprintable(now.lists[TRAINING][repaired[0]].name)
        num = format_count(len(repaired), "file")
        get_logger().info(f"{TRAINING}: {num} that this run could not read changed, first {first}; used from now on")
    compared, unknown = describe_changed_times(before, now)
    for line in compared:
        get_logger().info(line)
    for line in unknown:
        get_logger().warning(f"{line}. If they contain other images, start a new run with another OUTPUT_DIR")
    return merge_fingerprints(before, now)


def find_whitening_change(before: Mapping[str, Any] | None, now: DataFingerprint | None) -> list[str]:
    """Return that the whitening file of the tests has another content, so that scores cannot be compared; else [].

    The arguments are those of `check_data`.
    """
    old = "" if before is None else before.get("whitening", "")
    new = "" if now is None else now.state["whitening"]
    return ["the content of TEST.WHITEN.LEARN_FROM"] if old and new and old != new else []


def check_step_state(path: Path, state: Mapping[str, Any], step: TrainStep, *, iters_per_epoch: int) -> None:
    """Check that a checkpoint without invalid values fits the teacher, the optimizer, the scaler and the epoch length.

    Raises:
        InputError: it belongs to a run with another teacher.
        WeightsError: it does not fit.
    """
    _check_teacher(path, state.get("teacher"), step.teacher)
    size_change = describe_size_change(state["optimizer"], step.optimizer)
    if size_change:
        raise WeightsError(
            f"{path}: {size_change}; another version of fastreid or timm trained other parameters: resume with that "
            f"version, or start a new run with MODEL.WEIGHTS {path} and another OUTPUT_DIR"
        )
    faults = find_epoch_faults(state, iters_per_epoch=iters_per_epoch)
    faults += find_optimizer_faults(state["optimizer"], step.optimizer)
    if step.scaler.is_enabled() and state["scaler"].keys() != step.scaler.state_dict().keys():
        faults.append(f"scaler has the values {sorted(state['scaler'])}, not {sorted(step.scaler.state_dict())}")
    faults += [f"{name} is missing" for name in step.optional_parts() if name not in state]
    if step.memory is not None and len(state.get("memory", {}).get("targets", ())) > step.memory.size:
        faults.append(f"memory has more than MODEL.LOSSES.MEMORY.SIZE {step.memory.size} features")
    if step.starting_point is not None and state.get("starting_point"):
        groups = step.optimizer.param_groups
        starts = {name: value for group in groups for name, value in select_backbone(group).items()}
        faults += find_tensor_faults("starting_point", state["starting_point"], starts)
    if step.average is not None and "average" in state:
        expected = step.average.model.state_dict()
        faults += find_tensor_faults("average.model", state["average"]["model"], expected)
    _raise_faults(path, faults)


def _check_teacher(path: Path, before: Mapping[str, str] | None, now: Mapping[str, str]) -> None:
    """Check that the teacher of MODEL.DISTILL is that of the checkpoint; its files may have been moved."""
    if before is None and now:
        get_logger().warning(
            f"{path}: an older version of fastreid wrote it without a fingerprint of the teacher, so another teacher "
            "cannot be detected"
        )
    change = "" if before is None else describe_teacher_change(before, now)
    if change:
        raise InputError(
            f"--resume from {path}: the {change} of the teacher (MODEL.DISTILL) changed; restore it, or start a new "
            f"run with MODEL.WEIGHTS {path} and another OUTPUT_DIR"
        )


def _raise_faults(path: Path, faults: Sequence[str]) -> None:
    if faults:
        more = f" (and {len(faults) - 1} more faults)" if len(faults) > 1 else ""
        raise WeightsError(
            f"{path}: {faults[0]}{more}; the file was damaged or edited: remove it to resume from the one before"
        )
