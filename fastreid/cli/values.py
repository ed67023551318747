"""Convert the values of options."""

from collections.abc import Callable
from typing import Any


def split_commas(text: str) -> list[str]:
    """Return the parts of "a,b" as a list."""
    return text.split(",")


def list_of(kind: type) -> Callable[[str], list[Any]]:
    """Return a function that converts "1,2" to a list of this type; argparse names it in errors."""

    def convert(text: str) -> list[Any]:
        return [kind(word) for word in text.split(",") if word]

    convert.__name__ = f"list of {kind.__name__}"
    return convert
