"""Settings that a user's code adds to the tree, as in fast-reid's projects: `cfg.MODEL.MY = CfgNode(...)`."""

import difflib
from collections.abc import Iterable
from typing import Any

from fastreid.config.legacy import LEGACY_KEYS, RENAMED_KEYS, describe_old_key
from fastreid.config.ranges import Rule
from fastreid.config.values import coerce, coerce_free_value
from fastreid.utils.errors import InputError

SIMILARITY = 0.8  # ratio of difflib from which a new name counts as a misspelled one


def check_new_name(name: str, known: Iterable[str], *, prefix: str) -> None:
    """Check that a new name is not a misspelled or former one.

    Args:
        name: the name within its section.
        known: the names in the section.
        prefix: of the section, such as "SOLVER.".

    Raises:
        InputError: the name is no identifier, a setting of fast-reid without effect, or similar to a known name.
    """
    key = f"{prefix}{name}"
    if not isinstance(name, str) or not name.isidentifier():
        raise InputError(f"Python: {key!r} cannot be a new setting; its name must be an identifier, such as MY_KEY")
    if key in LEGACY_KEYS:
        raise InputError(f"Python: {key} has no effect: {LEGACY_KEYS[key].reason}; remove the setting")
    if key in RENAMED_KEYS:
        raise InputError(f"Python: {key} is now {RENAMED_KEYS[key]}; change the name")
    is_of_project = bool(describe_old_key(key))  # a name that projects of fast-reid add, such as MODEL.LOSSES.BCE
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=SIMILARITY)
    if nearest and not is_of_project:
        raise InputError(
            f"Python: unknown setting '{key}'. Did you mean '{prefix}{nearest[0]}'? A new setting needs a less similar "
            "name"
        )


def check_default(key: str, value: Any) -> Any:
    """Return the default of a new setting: a number, a boolean, a string, None, or a list or tuple of these.

    Raises:
        InputError: the value is anything else or not finite.
    """
    items = coerce_free_value(key, value, location="Python") if not isinstance(value, str) else value
    if isinstance(value, str):
        coerce(key, value, default="", rule=Rule(), location="Python")
    return list(items) if isinstance(value, list) else items


def coerce_own_value(key: str, value: Any, *, default: Any, location: str, note: str = "") -> Any:
    """Return a value with the type of the default of a user's setting; any simple value if that is None or empty.

    Raises:
        InputError: the value has another type.
    """
    if default is None or default in ([], ()):
        converted = coerce_free_value(key, value, location=location)
        if default is None:
            return converted
        return type(default)(converted if isinstance(converted, (list, tuple)) else (converted,))
    return coerce(key, value, default=default, rule=Rule(), location=location, note=note)
