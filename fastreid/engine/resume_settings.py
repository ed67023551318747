"""Compare the settings of a run with those of its checkpoint."""

import functools
from typing import Any

from fastreid.config.reader import parse_settings

# Settings that may change when a run is resumed, by the start of their names.
RESUME_SAFE_SETTINGS = (
    "OUTPUT_DIR",
    "CUDNN_BENCHMARK",
    "DETERMINISTIC",
    "DATALOADER.NUM_WORKERS",
    "DATALOADER.TIMEOUT_S",
    "DATASETS.CACHE.",
    "DATASETS.ROOT",
    "DATASETS.TESTS",
    "INPUT.MAX_BAD_IMAGES",
    "INPUT.ON_BAD_IMAGE",  # a run that an unreadable image stopped has not skipped any before
    "MODEL.BACKBONE.PRETRAIN",
    "MODEL.BACKBONE.GRADIENT_CHECKPOINTING",
    "MODEL.COMPILE",
    "MODEL.DEVICE",
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
    "DATASETS.TESTS",
    "INPUT.ON_BAD_IMAGE",
    "MODEL.BACKBONE.PRETRAIN",
    "MODEL.WEIGHTS",
    "SOLVER.MAX_EPOCH",
    "SOLVER.EARLY_STOP_PATIENCE",
    "TEST.",
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
    return {
        key: f"was {old.get(key)!r} and is {new.get(key)!r}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    }


@functools.lru_cache(maxsize=4)  # an ablation compares every run with the same defaults and the same baseline
def _parse_settings(text: str) -> dict[str, Any]:
    return parse_settings(text, "config.yaml")
