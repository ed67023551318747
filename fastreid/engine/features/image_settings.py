"""Settings that affect how a page becomes an image of the network, and their comparison with those of a checkpoint."""

import json
from collections.abc import Mapping
from typing import Any

from fastreid.config.config import flat_defaults
from fastreid.config.reader import parse_settings
from fastreid.evaluation.storage.manifest import diff_values
from fastreid.utils.errors import InputError

PAGE_SETTINGS = (
    "INPUT.COLOR",
    "INPUT.SIZE_TEST",
    "INPUT.LONGEST_PX",
    "INPUT.ASPECT",
    "INPUT.FILL",
    "INPUT.LABEL.IN_TESTS",
    "INPUT.INK_CROP.IN_TESTS",
    "INPUT.INK_CROP.MARGIN",
    "INPUT.CROP.ENABLED",
    "INPUT.CROP.SIZE",
)
# Settings of a test that affect features of the same images. A run that saved a checkpoint may have had others.
TEST_SETTINGS = ("TEST.FLIP.ENABLED", "TEST.SCALES", "TEST.GEM_POWER", "TEST.NETWORK_PRECISION")
# Settings of the network that fit the same weights. MODEL.HEADS.NECK_FEAT is not one: only losses use it.
_NETWORK_SETTINGS = (
    "MODEL.PIXEL_MEAN",
    "MODEL.PIXEL_STD",
    "MODEL.HEADS.POOL_LAYER",
    "MODEL.BACKBONE.LAST_STRIDE",
)


def select_page_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings by full name that affect the images of a test; the value of an unused one is "".

    Args:
        settings: all settings of a run by full name.
    """
    unused = {
        "INPUT.FILL": settings["INPUT.ASPECT"] == "squash",
        "INPUT.INK_CROP.MARGIN": not settings["INPUT.INK_CROP.IN_TESTS"],
        "INPUT.CROP.SIZE": not settings["INPUT.CROP.ENABLED"],
    }
    return {name: "" if unused.get(name) else settings[name] for name in PAGE_SETTINGS}


def find_changed_settings(text: object, current: Mapping[str, Any]) -> list[str]:
    """Return how settings differ from those of the run that saved a checkpoint, such as "INPUT.COLOR was gray and ...".

    Only settings are compared that change the features without a change of the weights. One that did not exist when the
    checkpoint was saved had its default value.

    Args:
        text: `config` of a checkpoint. Anything but the text of a run's settings, such as the `config` of another
            project, has no settings to compare.
        current: all settings by full name.
    """
    if not isinstance(text, str):
        return []
    try:
        saved = parse_settings(text, "config")
    except InputError:
        return []
    if "INPUT.SIZE_TEST" not in saved:  # a run saves all its settings
        return []
    before, now = (_select_for_features(settings) for settings in (flat_defaults() | saved, current))
    unresolved = [name for name in before if before[name] == [] or now[name] == []]  # the backbone's own, as the other
    return diff_values(*({k: v for k, v in part.items() if k not in unresolved} for part in (before, now)))


def _select_for_features(settings: Mapping[str, Any]) -> dict[str, Any]:
    selected = select_page_settings(settings) | {name: settings[name] for name in _NETWORK_SETTINGS}
    return dict(json.loads(json.dumps(selected)))  # lists instead of tuples
