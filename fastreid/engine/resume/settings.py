"""Compare the settings of a run with those of its checkpoint."""

import functools
from collections.abc import Mapping
from typing import Any

from fastreid.config.reader import parse_settings
from fastreid.data.io.limits import MAX_RENDERED_PIXELS

# Settings that may change when a run is resumed, by the start of their names.
RESUME_SAFE_SETTINGS = (
    "OUTPUT_DIR",
    "CUDNN_BENCHMARK",
    "DETERMINISTIC",
    "DATALOADER.NUM_WORKERS",
    "DATALOADER.TIMEOUT_S",
    "DATASETS.CACHE.",
    "DATASETS.FOLDER.PATH",  # the fingerprint of the lists detects other contents
    "DATASETS.LIST.",
    "DATASETS.ROOT",
    "DATASETS.TESTS",
    "INPUT.MAX_BAD_IMAGES",
    "INPUT.ON_BAD_IMAGE",  # a run that an unreadable image stopped has not skipped any before
    "MODEL.BACKBONE.PRETRAIN",
    "MODEL.BACKBONE.GRADIENT_CHECKPOINTING",
    "MODEL.COMPILE",
    "MODEL.DEVICE",
    "MODEL.DISTILL.CONFIG",  # the fingerprint of the teacher detects another one
    "MODEL.DISTILL.WEIGHTS",
    "MODEL.WEIGHTS",
    "SOLVER.CHECKPOINT_PERIOD",
    "SOLVER.SAVE_TOP_K",
    "SOLVER.LOG_PERIOD",
    "SOLVER.MAX_EPOCH",
    "SOLVER.EARLY_STOP_PATIENCE",
    "SOLVER.DIAGNOSTICS_PERIOD",
    "TEST.",
    "TRACKER.",
)

# Those of them that affect the final weights or their test results.
RESULT_AFFECTING_SETTINGS = (
    "DATASETS.FOLDER.PATH",
    "DATASETS.LIST.",
    "DATASETS.TESTS",
    "INPUT.ON_BAD_IMAGE",
    "MODEL.BACKBONE.PRETRAIN",
    "MODEL.DISTILL.CONFIG",
    "MODEL.DISTILL.WEIGHTS",
    "MODEL.WEIGHTS",
    "SOLVER.MAX_EPOCH",
    "SOLVER.EARLY_STOP_PATIENCE",
    "TEST.",
)


# Settings that may differ between the processes of a run, because machines have other paths and numbers of cores.
MACHINE_SETTINGS = (
    "OUTPUT_DIR",
    "DATALOADER.NUM_WORKERS",
    "DATALOADER.TIMEOUT_S",
    "DATASETS.CACHE.",
    "DATASETS.FOLDER.PATH",
    "DATASETS.LIST.",
    "DATASETS.ROOT",
    "MODEL.BACKBONE.PRETRAIN_PATH",
    "MODEL.DISTILL.CONFIG",
    "MODEL.DISTILL.WEIGHTS",
    "MODEL.WEIGHTS",
    "TRACKER.",
)

# Settings of TEST that do not change the score of a model. TOP_K, RECALLS and ROC determine which scores exist.
SCORE_INDEPENDENT_SETTINGS = (
    "TEST.ENGINE",
    "TEST.EVAL_PERIOD",
    "TEST.IMS_PER_BATCH",
    "TEST.MEMORY_MB",
    "TEST.NUM_VISUALIZED_QUERIES",
    "TEST.PRECISE_BN.",
    "TEST.PROJECTOR",
    "TEST.RECALLS",
    "TEST.ROC.",
    "TEST.SCORE.BOOTSTRAP",
    "TEST.SCORE.PER_QUERY_FILE",
    "TEST.TOP_K",
)


def diff_settings(before: str, now: str, *, defaults: str = "") -> dict[str, str]:
    """Return the settings that differ between two texts of a `config.yaml`.

    Args:
        before: the older text; settings that it does not contain have their default.
        now: the newer text.
        defaults: text with the defaults of every setting.

    Returns:
        Full name -> "was 1 and is 2", sorted by name.
    """
    old, new = _parse_settings(defaults) | _parse_settings(before), _parse_settings(now)
    return {key: f"was {old.get(key)!r} and is {new.get(key)!r}" for key in _find_different_keys(old, new)}


def find_forbidden_changes(before: str, now: str, *, defaults: str = "") -> list[str]:
    """Return the names of the changed settings that cannot change when a run is resumed, sorted.

    INPUT.MAX_PIXELS can change if both limits are too high for an effect on the pixels of pages that could be read, and
    the files of a teacher can be moved. The arguments are those of `diff_settings`.
    """
    old, new = _parse_settings(defaults) | _parse_settings(before), _parse_settings(now)
    changed = _find_different_keys(old, new)
    keys = [key for key in changed if not key.startswith(RESUME_SAFE_SETTINGS)]
    name = "INPUT.MAX_PIXELS"
    if name in keys and min(old.get(name, 0), new.get(name, 0)) >= MAX_RENDERED_PIXELS:
        keys.remove(name)
    if _has_teacher(old) != _has_teacher(new):
        keys = sorted({*keys, "MODEL.DISTILL.CONFIG" if "MODEL.DISTILL.CONFIG" in changed else "MODEL.DISTILL.WEIGHTS"})
    return keys


def find_score_changes(before: str, now: str, *, defaults: str = "") -> list[str]:
    """Return the names of the changed settings because of which scores cannot be compared, sorted.

    These are the first of DATASETS.TESTS and settings of TEST, without those of disabled post-processing steps. The
    arguments are those of `diff_settings`.
    """
    old, new = _parse_settings(defaults) | _parse_settings(before), _parse_settings(now)
    relevant = _find_different_keys(_select_score_settings(old), _select_score_settings(new))
    return [key for key in relevant if old.get(key) != new.get(key)]


def diff_processes(main: str, other: str) -> list[str]:
    """Return the settings, other than MACHINE_SETTINGS, in which the texts of two processes differ."""
    keys = _find_different_keys(_parse_settings(main), _parse_settings(other))
    return [key for key in keys if not key.startswith(MACHINE_SETTINGS)]


def _has_teacher(settings: Mapping[str, Any]) -> bool:
    return any(settings.get(f"MODEL.DISTILL.{key}") for key in ("CONFIG", "WEIGHTS"))


def _find_different_keys(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    return sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))


def _select_score_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that determine the score of a model by their names."""
    disabled = [
        key.removesuffix("ENABLED") for key, value in settings.items() if key.endswith(".ENABLED") and not value
    ]
    ignored = (*SCORE_INDEPENDENT_SETTINGS, *disabled)
    selected = {
        key: value for key, value in settings.items() if key.startswith("TEST.") and not key.startswith(ignored)
    }
    steps = settings.get("TEST.STEPS", ())
    selected["TEST.STEPS"] = [name for name in steps if settings.get(f"TEST.{name}.ENABLED", True)]
    selected["DATASETS.TESTS"] = list(settings.get("DATASETS.TESTS", ()))[:1]
    return selected


@functools.lru_cache(maxsize=4)  # an ablation compares every run with the same defaults and the same baseline
def _parse_settings(text: str) -> dict[str, Any]:
    return parse_settings(text, "config.yaml")
