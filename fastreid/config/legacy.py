"""Settings of fast-reid that do not exist here, so that its config files load nevertheless."""

from typing import TYPE_CHECKING, Any, NamedTuple

from fastreid.config.legacy_names import KEYS
from fastreid.config.ranges import Rule
from fastreid.config.values import coerce, quote
from fastreid.utils.errors import InputError
from fastreid.utils.logger import get_logger

if TYPE_CHECKING:
    from fastreid.config.reader import Setting

_NO_VISION_TRANSFORMER = "use a vision transformer of timm: MODEL.BACKBONE.NAME build_timm_backbone"
_NO_DISTILLATION = "use MODEL.DISTILL.CONFIG and WEIGHTS, one teacher whose similarities are learned"


class LegacyKey(NamedTuple):
    """A setting of fast-reid without effect here.

    Args:
        default: the value in fast-reid, which is ignored.
        reason: why other values are invalid, and what to use instead.
    """

    default: Any
    reason: str


LEGACY_KEYS: dict[str, LegacyKey] = {
    "MODEL.QUEUE_SIZE": LegacyKey(8192, "MoCo does not exist here; MODEL.LOSSES.MEMORY.SIZE keeps earlier features"),
    "MODEL.BACKBONE.SIE_COE": LegacyKey(3.0, _NO_VISION_TRANSFORMER),
    "MODEL.BACKBONE.STRIDE_SIZE": LegacyKey((16, 16), _NO_VISION_TRANSFORMER),
    "MODEL.BACKBONE.DROP_PATH_RATIO": LegacyKey(0.1, _NO_VISION_TRANSFORMER),
    "MODEL.BACKBONE.DROP_RATIO": LegacyKey(0.0, _NO_VISION_TRANSFORMER),
    "MODEL.BACKBONE.ATT_DROP_RATE": LegacyKey(0.0, _NO_VISION_TRANSFORMER),
    "KD.MODEL_CONFIG": LegacyKey([], _NO_DISTILLATION),
    "KD.MODEL_WEIGHTS": LegacyKey([], _NO_DISTILLATION),
    "KD.EMA.ENABLED": LegacyKey(False, "use SOLVER.AVERAGE.METHOD ema to average weights"),
    "KD.EMA.MOMENTUM": LegacyKey(0.999, "use SOLVER.AVERAGE.DECAY"),
    "DATALOADER.SET_WEIGHT": LegacyKey([], "SetReWeightSampler does not exist here; see DATALOADER.SAMPLER_TRAIN"),
    "TEST.PRECISE_BN.DATASET": LegacyKey("Market1501", "statistics are computed on DATASETS.NAMES"),
}


# Settings of earlier versions of this package -> their new names, for errors: the old names are invalid.
RENAMED_KEYS: dict[str, str] = {
    "DATALOADER.LOOK_ALIKES": "DATALOADER.HARD_IDENTITIES",
    "DATASETS.GENERATED.WITHOUT": "DATASETS.GENERATED.EXCLUDE",
    "DATASETS.LIST.DATABASE": "DATASETS.LIST.GALLERY",
    "MODEL.BACKBONE.RECOMPUTE": "MODEL.BACKBONE.GRADIENT_CHECKPOINTING",
    "MODEL.HEADS.CLASS_SHARE": "MODEL.HEADS.PARTIAL_FC_RATIO",
    "SOLVER.ACCUMULATE": "SOLVER.GRAD_ACCUM_STEPS",
    "SOLVER.BASE_BATCH": "SOLVER.LR_REFERENCE_BATCH",
    "SOLVER.KEEP_BEST": "SOLVER.SAVE_TOP_K",
    "SOLVER.STOP_AFTER": "SOLVER.EARLY_STOP_PATIENCE",
    "SOLVER.WATCH_PERIOD": "SOLVER.DIAGNOSTICS_PERIOD",
    "TEST.AQE.DATABASE": "TEST.AQE.GALLERY",
    "TEST.SCORE.NORMALISER": "TEST.SCORE.NORMALIZER",
    "TEST.SCORE.TABLE": "TEST.SCORE.PER_QUERY_FILE",
    "TEST.SHEET_QUERIES": "TEST.NUM_VISUALIZED_QUERIES",
}

# Settings, or sections with all their settings, of earlier versions and of fast-reid's projects -> what to use instead.
REMOVED_KEYS: dict[str, str] = {
    **{
        f"INPUT.{section}": f"add {operation} to INPUT.LINE_AUG.OPS; PROB and STRENGTH are set there too"
        for section, operation in (
            ("TURN", "rot90"),
            ("ROT90", "rot90"),
            ("WARP", "warp"),
            ("ELASTIC", "elastic"),
            ("STROKES", "stroke_width"),
            ("BREAKS", "stroke_gaps"),
            ("SCAN", "scan_noise"),
        )
    },
    "MODEL.CHANNELS_LAST": "remove it; it made no training step faster",
    **dict.fromkeys(("MODEL.HEADS.PFC", "MODEL.PFC"), "use MODEL.HEADS.PARTIAL_FC_RATIO"),
    "MODEL.LOSSES.BCE": "attributes are not learned; use CrossEntropyLoss",
    "SOLVER.FUSED": "remove it; fused kernels are used where torch has them, and SOLVER.OPT_ARGS.fused overrides that",
    "TEST.DIFFUSION": "use TEST.RERANK",
    "TEST.PRECISION": "remove it; the fastest exact search is always used",
}


def describe_old_key(key: str) -> str:
    """Return what replaces a setting of an earlier version, as the end of a sentence about it; "" for other keys."""
    if key in RENAMED_KEYS:
        return f"is now {RENAMED_KEYS[key]}; change the name"
    for old, advice in {**REMOVED_KEYS, **KEYS}.items():
        if key == old or key.startswith(f"{old}."):
            return f"does not exist; {advice}"
    return ""


def check_legacy_setting(setting: "Setting") -> None:
    """Check that a setting of LEGACY_KEYS has its default in fast-reid, and log that it is ignored.

    Raises:
        InputError: it has another value, which would have no effect.
    """
    key, value, location, _ = setting
    default, reason = LEGACY_KEYS[key]
    try:
        is_default = coerce(key, value, default=default, rule=Rule(), location=location) == default
    except InputError:
        is_default = False
    if not is_default:
        raise InputError(f"{location}: {key} is {quote(value)}, which has no effect: {reason}; remove the setting")
    get_logger().debug("%s: %s is ignored: %s", location, key, reason)
