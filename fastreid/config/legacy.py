"""Settings of fast-reid that do not exist here, so that its config files load nevertheless."""

from typing import TYPE_CHECKING, Any, NamedTuple

from fastreid.config.ranges import Rule
from fastreid.config.values import coerce, quote
from fastreid.utils.errors import InputError
from fastreid.utils.logger import get_logger

if TYPE_CHECKING:
    from fastreid.config.reader import Setting

_NO_VISION_TRANSFORMER = "use a vision transformer of timm: MODEL.BACKBONE.NAME build_timm_backbone"
_GRAY_PAGES = "pages are gray; use INPUT.CJ.BRIGHTNESS and CONTRAST"
_NO_DISTILLATION = "knowledge distillation does not exist here"


class LegacyKey(NamedTuple):
    """A setting of fast-reid without effect here.

    Args:
        default: the value in fast-reid, which is ignored.
        reason: why other values are invalid, and what to use instead.
    """

    default: Any
    reason: str


LEGACY_KEYS: dict[str, LegacyKey] = {
    "MODEL.QUEUE_SIZE": LegacyKey(8192, "MoCo does not exist here"),
    "MODEL.BACKBONE.SIE_COE": LegacyKey(3.0, _NO_VISION_TRANSFORMER),
    "MODEL.BACKBONE.STRIDE_SIZE": LegacyKey((16, 16), _NO_VISION_TRANSFORMER),
    "MODEL.BACKBONE.DROP_PATH_RATIO": LegacyKey(0.1, _NO_VISION_TRANSFORMER),
    "MODEL.BACKBONE.DROP_RATIO": LegacyKey(0.0, _NO_VISION_TRANSFORMER),
    "MODEL.BACKBONE.ATT_DROP_RATE": LegacyKey(0.0, _NO_VISION_TRANSFORMER),
    "INPUT.CJ.SATURATION": LegacyKey(0.1, _GRAY_PAGES),
    "INPUT.CJ.HUE": LegacyKey(0.1, _GRAY_PAGES),
    "KD.MODEL_CONFIG": LegacyKey([], _NO_DISTILLATION),
    "KD.MODEL_WEIGHTS": LegacyKey([], _NO_DISTILLATION),
    "KD.EMA.ENABLED": LegacyKey(False, "use SOLVER.AVERAGE.METHOD ema to average weights"),
    "KD.EMA.MOMENTUM": LegacyKey(0.999, "use SOLVER.AVERAGE.DECAY"),
    "DATALOADER.SET_WEIGHT": LegacyKey([], "SetReWeightSampler does not exist here; see DATALOADER.SAMPLER_TRAIN"),
    "TEST.PRECISE_BN.DATASET": LegacyKey("Market1501", "statistics are computed on DATASETS.NAMES"),
}


def check_legacy_setting(setting: "Setting") -> None:
    """Check that a setting of LEGACY_KEYS has its default in fast-reid, and log that it is ignored.

    Raises:
        InputError: it has another value, which would have no effect.
    """
    key, value, location = setting
    default, reason = LEGACY_KEYS[key]
    try:
        is_default = coerce(key, value, default=default, rule=Rule(), location=location) == default
    except InputError:
        is_default = False
    if not is_default:
        raise InputError(f"{location}: {key} is {quote(value)}, which has no effect: {reason}; remove the setting")
    get_logger().debug("%s: %s is ignored: %s", location, key, reason)
