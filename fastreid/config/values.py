"""A value as the kind its default has, or a refusal that says what is allowed."""

import ast
import math
import reprlib
import unicodedata
import warnings
from typing import Any

from fastreid.config.ranges import Rule
from fastreid.utils.errors import InputError, suggest_nearest

_MAX_TEXT = 4000  # characters of a value that is read as a literal
_LONGEST_WORD = 80  # characters of a word that others like it are sought for
_WORDS = {"true": True, "false": False}


def shown(value: object) -> str:
    """A value for a message: as Python writes it, cut to a line."""
    short = reprlib.Repr()
    short.maxstring = short.maxother = short.maxlong = 80
    return short.repr(value)


def fitted(key: str, value: Any, *, default: Any, rule: Rule, place: str) -> Any:
    """The value as the kind of its default.

    An int passes for a float, a whole float for an int, a text such as "1e-4" or "(0.9, 0.98)" for what it says, one
    value for a list of one, a list for a tuple and the other way round.

    Raises:
        InputError: it is of another kind, not finite, or out of range.
    """
    try:
        return _fit(value, default, rule)
    except (ValueError, OverflowError):
        hint = _unquoted(value, default) or _nearest(value, rule)
        raise InputError(f"{place}: {key} is {shown(value)}; it takes {rule.words(default)}{hint}")


def _nearest(value: Any, rule: Rule) -> str:
    """The choice that the first wrong word of a value nearly is, as a question; nothing where none is near."""
    meant = _literal(value) if isinstance(value, str) else value
    words = meant if isinstance(meant, (list, tuple)) else (meant,)
    wrong = next((word for word in words if isinstance(word, str) and word not in rule.choices), "")
    near = suggest_nearest(wrong[:_LONGEST_WORD].lower(), rule.choices)
    return f".{near}" if near else ""


def _unquoted(value: Any, default: Any) -> str:
    """What to say of a text that was meant to be a list, and on a command line lacks what makes it one."""
    meant = isinstance(default, (list, tuple)) and isinstance(value, str) and value[:1] in ("(", "[")
    return (
        """; words between brackets stand in quotes, such as "['a', 'b']\""""
        if meant and isinstance(_literal(value), str)
        else ""
    )


def free_value(key: str, value: Any, *, place: str) -> Any:
    """A value without a default: a number, a truth value, a word, None, or a tuple of those.

    Raises:
        InputError: it is anything else or not finite.
    """
    meant = _literal(value) if isinstance(value, str) else value
    many = isinstance(meant, (list, tuple))
    parts = tuple(meant) if many else (meant,)
    if not all(_is_plain(part) for part in parts):
        raise InputError(f"{place}: {key} is {shown(value)}; it takes a finite number, a word, or a list of them")
    return parts if many else meant


def _is_plain(value: Any) -> bool:
    if isinstance(value, str):
        return is_text(value)
    return value is None or (isinstance(value, (int, float)) and abs(value) < 2**63)  # NaN is never less


def _fit(value: Any, default: Any, rule: Rule) -> Any:
    if isinstance(default, (list, tuple)):
        return type(default)(_fit_items(value, rule.item(default), rule))
    if isinstance(default, str):
        return _text(value, rule)
    value = _literal(value) if isinstance(value, str) else value
    if isinstance(default, bool):
        return _truth(value)
    return _number(value, default, rule)


def _fit_items(value: Any, item: Any, rule: Rule) -> list[Any]:
    value = _literal(value) if isinstance(value, str) else value
    items = list(value) if isinstance(value, (list, tuple)) else [value]
    if isinstance(value, str) and value[:1] in ("(", "["):
        raise ValueError("a list that is not closed or whose words lack quotes")
    fit = [_fit(each, item, rule) for each in items]
    if not rule.fits_length(len(fit)):
        raise ValueError("too few or too many")
    if rule.ascending and fit != sorted(fit):
        raise ValueError("not in rising order")
    return fit


def _text(value: Any, rule: Rule) -> str:
    if not isinstance(value, str) or value == "None" or not is_text(value):
        raise ValueError("not a text")
    if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
        value = value[1:-1]
    if not rule.suits(value):
        raise ValueError("not among the words there are")
    return value


def _truth(value: Any) -> bool:
    value = _WORDS.get(value.lower(), value) if isinstance(value, str) else value
    if not isinstance(value, bool):
        raise ValueError("neither True nor False")
    return value


def _number(value: Any, default: int | float, rule: Rule) -> int | float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError("not a finite number")
    if isinstance(default, float):
        value = float(value)
    elif not rule.real:
        if value != int(value):
            raise ValueError("not whole")
        value = int(value)
    if not rule.holds(value):
        raise ValueError("out of range")
    return value


def _literal(text: str) -> Any:
    """What the text says as a Python literal; the text itself when it is none."""
    if len(text) > _MAX_TEXT:
        return text
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the compiler warns of odd backslashes in what is no literal at all
            return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text


def is_text(text: str) -> bool:
    """Without control characters, line ends and halves of characters: it can be a name or a path, and be written."""
    return not any(unicodedata.category(character) in ("Cc", "Cs") for character in text)
