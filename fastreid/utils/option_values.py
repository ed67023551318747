"""Convert the values of command-line options; an error gives the allowed values and an example."""

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastreid.utils.errors import suggest_nearest
from fastreid.utils.files import expand_home

_MAX_SHOWN_CHARACTERS = 80  # of an invalid value
_LIMITS = {int: 2**63, float: math.inf}  # absolute values must be smaller, as in a config


class InvalidValueError(argparse.ArgumentTypeError):
    """The value of an option is invalid; argparse adds the name of the option.

    Args:
        value: the value.
        allowed: the allowed values, such as "an integer >= 1".
        example: a valid value; "": none.
        hint: result of `suggest_nearest`.
    """

    def __init__(self, value: str, allowed: str, *, example: str = "", hint: str = ""):
        such_as, hint_sentence = f", such as {example}" if example else "", f".{hint}" if hint else ""
        super().__init__(f"'{_shorten(value)}' is invalid; it must be {allowed}{such_as}{hint_sentence}")
        self.allowed, self.hint = allowed, hint


@dataclass(frozen=True)
class NumberParser:
    """Converts the value of an option to a number; argparse names the option in errors.

    Args:
        kind: int or float.
        minimum: smallest allowed number.
        maximum: largest allowed number.
        example: a valid value, for errors.
        exclusive: the minimum itself is not allowed.
    """

    kind: type[int] | type[float]
    minimum: float = -math.inf
    maximum: float = math.inf
    example: str = "1"
    exclusive: bool = False

    def __call__(self, text: str) -> int | float:
        """Return the number of a text, such as "3".

        Raises:
            argparse.ArgumentTypeError: the text is not a number, or it is out of range.
        """
        try:
            number = self.kind(text)
        except ValueError:
            number = math.nan
        is_large_enough = self.minimum < number if self.exclusive else self.minimum <= number
        if not (is_large_enough and number <= self.maximum and abs(number) < _LIMITS[self.kind]):
            raise InvalidValueError(text, self.describe(), example=self.example)
        return number

    def describe(self) -> str:
        """Return the allowed values, such as "an integer >= 1"."""
        name = "an integer" if self.kind is int else "a number"
        if self.minimum > -math.inf and self.maximum < math.inf:
            return f"{name} from {self.minimum:.12g} to {self.maximum:.12g}"
        return f"{name} {'>' if self.exclusive else '>='} {self.minimum:.12g}" if self.minimum > -math.inf else name


@dataclass(frozen=True)
class ChoiceParser:
    """Checks that the value of an option is one of some words.

    Args:
        choices: the allowed words.
    """

    choices: tuple[str, ...]

    def __call__(self, text: str) -> str:
        """Return the text.

        Raises:
            argparse.ArgumentTypeError: it is not one of the choices.
        """
        if text not in self.choices:
            allowed = " or ".join(filter(None, (", ".join(self.choices[:-1]), self.choices[-1])))
            raise InvalidValueError(text, allowed, hint=suggest_nearest(text, self.choices))
        return text


@dataclass(frozen=True)
class ListParser:
    """Converts "1,2" to a list; each item is given once. All options that take a list use this class.

    Args:
        example: a valid list, for errors.
        item: converts an item; `str`: any text but an empty one.
    """

    example: str
    item: Callable[[str], Any] = str

    def __call__(self, text: str) -> list[Any]:
        """Return the items.

        Raises:
            argparse.ArgumentTypeError: an item is empty, invalid or repeated.
        """
        words = [word.strip() for word in text.split(",")]
        try:
            items = [self.item(word) for word in words]
        except InvalidValueError as error:
            allowed = f"items separated by commas, each {error.allowed}"
            raise InvalidValueError(text, allowed, example=self.example, hint=error.hint)
        if "" in words:
            raise InvalidValueError(text, "items separated by commas", example=self.example)
        repeated = next((word for word, item in zip(words, items) if items.count(item) > 1), None)
        if repeated is not None:
            raise argparse.ArgumentTypeError(f"'{_shorten(text)}' contains {repeated} twice; give each item once")
        return items


def parse_path(text: str) -> Path:
    """Return the path of a text; `~` is the home folder.

    Raises:
        argparse.ArgumentTypeError: the text is empty, which would be the current folder.
    """
    if not text:
        raise InvalidValueError(text, "the path of a file or folder")
    return Path(expand_home(text))


def parse_png_path(text: str) -> Path:
    """Return the path of a PNG file to write; `~` is the home folder.

    Raises:
        argparse.ArgumentTypeError: the name does not end in .png.
    """
    path = parse_path(text)
    if path.suffix.lower() != ".png":
        raise argparse.ArgumentTypeError(f"'{_shorten(text)}': the image is a PNG, so its name must end in .png")
    return path


def _shorten(text: str) -> str:
    return text if len(text) <= _MAX_SHOWN_CHARACTERS else f"{text[:_MAX_SHOWN_CHARACTERS]}..."
