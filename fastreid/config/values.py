"""Conversion of values to the types of their defaults, or an error that names the allowed values."""

import ast
import math
import reprlib
import unicodedata
import warnings
from typing import Any

from fastreid.config.ranges import Rule
from fastreid.utils.errors import InputError, suggest_nearest
from fastreid.utils.files import expand_home

_MAX_LITERAL_CHARACTERS = 4000  # longer strings are not parsed as Python literals
_BOOLEANS = {"true": True, "false": False}


def quote(value: object) -> str:
    """Return the `repr` of a value for a message, shortened to about 80 characters."""
    short = reprlib.Repr()
    short.maxstring = short.maxother = short.maxlong = 80
    return short.repr(value)


def coerce(key: str, value: Any, *, default: Any, rule: Rule, location: str, note: str = "") -> Any:
    """Return a value with the type of its default.

    Conversions that lose nothing are allowed: int to float, a whole float to int, a string such as "1e-4" or
    "(0.9, 0.98)" to its literal, a single value to a list of one item, a list to a tuple and vice versa.

    Args:
        key: name of the setting, for messages.
        value: from a file, the command line or Python.
        default: determines the type.
        rule: the allowed values.
        location: where the value was set, for messages.
        note: how the value was read, for messages, such as "YAML reads yes as True".

    Raises:
        InputError: the value has another type, is not finite, or is not allowed.
    """
    try:
        return _coerce(value, default, rule)
    except (ValueError, OverflowError):
        hint = _list_hint(value, default) or _suggest_choice(value, rule)
        given = f"{quote(value)} ({note})" if note else quote(value)
        raise InputError(f"{location}: {key} is {given}; it must be {rule.describe(default)}{hint}")


def _suggest_choice(value: Any, rule: Rule) -> str:
    """Return the choice nearest to the first invalid string of a value, as a question; "" if none is near."""
    literal = _parse_literal(value) if isinstance(value, str) else value
    items = literal if isinstance(literal, (list, tuple)) else (literal,)
    invalid = next((item for item in items if isinstance(item, str) and item not in rule.choices), "")
    hint = suggest_nearest(invalid.lower(), rule.choices)
    return f".{hint}" if hint else ""


def _list_hint(value: Any, default: Any) -> str:
    """Return a hint if a string starts like a list but is none, as the shell removed the quotes of its items."""
    is_like_list = isinstance(default, (list, tuple)) and isinstance(value, str) and value[:1] in ("(", "[")
    if is_like_list and isinstance(_parse_literal(value), str):
        return """; quote the strings of a list, such as "['a', 'b']\""""
    return ""


def coerce_free_value(key: str, value: Any, *, location: str) -> Any:
    """Return a value of a setting without default: a number, a boolean, a string, None, or a tuple of these.

    Strings that are numbers are converted, also those in a list: YAML reads 1e-3 as a string.

    Raises:
        InputError: the value is anything else or not finite.
    """
    literal = _parse_free_item(value)
    is_list = isinstance(literal, (list, tuple))
    items = tuple(map(_parse_free_item, literal)) if is_list else (literal,)
    if not all(_is_scalar(item) for item in items):
        allowed = "a finite number, a string, or a list of them"
        raise InputError(f"{location}: {key} is {quote(value)}; it must be {allowed}")
    return items if is_list else literal


def _parse_free_item(value: Any) -> Any:
    return _parse_literal(value) if isinstance(value, str) else value


def _is_scalar(value: Any) -> bool:
    if isinstance(value, str):
        return is_single_line(value) and not value.startswith(("(", "[", "{")) and not _is_unusual_number(value)
    return value is None or (isinstance(value, (int, float)) and abs(value) < 2**63)  # False for NaN


def _is_unusual_number(text: str) -> bool:
    """Return whether a string that is no literal can be meant as a number, such as "nan" or "007"."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def _coerce(value: Any, default: Any, rule: Rule) -> Any:
    if isinstance(default, (list, tuple)):
        return type(default)(_coerce_items(value, rule.example_item(default), rule))
    if isinstance(default, str):
        return _coerce_text(value, rule)
    value = _parse_literal(value) if isinstance(value, str) else value
    if isinstance(default, bool):
        return _coerce_bool(value)
    return _coerce_number(value, default, rule)


def _coerce_items(value: Any, example: Any, rule: Rule) -> list[Any]:
    value = _parse_literal(value) if isinstance(value, str) else value
    items = list(value) if isinstance(value, (list, tuple)) else [value]
    if isinstance(value, str) and value[:1] in ("(", "["):
        raise ValueError("a list that is not closed or has strings without quotes")
    items = [_coerce(item, example, rule) for item in items]
    if not rule.allows_length(len(items)):
        raise ValueError("too few or too many items")
    if rule.ascending and items != sorted(items):
        raise ValueError("not in ascending order")
    return items


def _coerce_text(value: object, rule: Rule) -> str:
    if not isinstance(value, str) or value == "None" or not is_single_line(value):
        raise ValueError("not a string on one line")
    if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
        value = value[1:-1]
    if not rule.allows_text(value):
        raise ValueError("not one of the allowed values")
    return expand_home(value) if rule.is_path else value


def _coerce_bool(value: Any) -> bool:
    value = _BOOLEANS.get(value.lower(), value) if isinstance(value, str) else value
    if not isinstance(value, bool):
        raise ValueError("neither True nor False")
    return value


def _coerce_number(value: object, default: int | float, rule: Rule) -> int | float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError("not a finite number")
    if isinstance(default, float):
        value = float(value)
    elif not rule.allow_fractions and not (rule.is_duration and 0 < value < 1):
        if value != int(value):
            raise ValueError("not an integer")
        value = int(value)
    if not rule.allows_number(value):
        raise ValueError("out of range")
    return value


def _parse_literal(text: str) -> Any:
    """Return the value of a Python literal; the text itself if it is none."""
    if len(text) > _MAX_LITERAL_CHARACTERS:
        return text
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the compiler warns about backslashes in text that is not a literal
            return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text


def is_single_line(text: str) -> bool:
    """Return whether a text has no control characters, line ends or surrogates, so it can be written as a path."""
    return not any(unicodedata.category(character) in ("Cc", "Cs") for character in text)
