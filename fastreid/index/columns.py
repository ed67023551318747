"""Columns of a collection: their types, their names, and the conversion of values."""

import datetime
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Literal

from fastreid.utils.errors import InputError

Value = str | int | float | bool | datetime.date
Row = Mapping[str, Value | None]
ColumnType = Literal["text", "integer", "number", "date", "boolean"]

# Metadata that every collection has; a value is None if it is unknown.
STANDARD_COLUMNS: dict[str, ColumnType] = {
    "patent": "text",
    "title": "text",
    "applicant": "text",
    "locarno": "text",
    "jurisdiction": "text",
    "filing_date": "date",
    "publication_date": "date",
    "figure": "text",
}
# Types of columns that a collection has only once a table has them.
OPTIONAL_COLUMNS: dict[str, ColumnType] = {"family": "text"}  # the patents of one invention in several countries
# Written by fastreid: where a drawing comes from, and the state of its file.
SYSTEM_COLUMNS: dict[str, ColumnType] = {
    "id": "text",
    "path": "text",
    "page": "integer",
    "source": "text",
    "added": "text",
    "size_bytes": "integer",
    "mtime_ns": "integer",
    "sha256": "text",
    "digest": "text",
}
# Columns with one value; a text of another column can have several, separated by SEPARATOR.
SINGLE_COLUMNS = frozenset({"patent", "title", "figure", *SYSTEM_COLUMNS})
SEPARATOR = "|"
# The state of a file, which filters may use, but messages do not list.
STATE_COLUMNS = frozenset({"source", "size_bytes", "mtime_ns", "sha256", "digest"})
VECTOR = "vector"
KEYWORDS = frozenset({"and", "or", "not", "in", "is", "null", "startswith"})  # of filters

_MAX_EXACT_FLOAT = 2**53  # all integers up to it are floats
MAX_INTEGER = 2**63  # absolute values of integers are smaller
_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_INTEGER = re.compile(r"[+-]?[0-9]{1,19}")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_BOOLEANS = {"true": True, "false": False}
_ALLOWED = {
    "text": "a text",
    "integer": "an integer",
    "number": "a finite number",
    "date": "a date such as 2018-01-31",
    "boolean": "true or false",
}


def list_names(columns: Iterable[str]) -> list[str]:
    """Return the columns that messages offer: all but the state of files."""
    return [name for name in columns if name not in STATE_COLUMNS]


def convert_name(name: str) -> str:
    """Return the name of a column for the header of a table: "Filing Date" becomes "filing_date".

    Raises:
        InputError: nothing but other characters remains, or the name is reserved.
    """
    plain = unicodedata.normalize("NFKD", name.strip()).encode("ascii", "ignore").decode().lower()
    converted = re.sub(r"[^a-z0-9]+", "_", plain).strip("_")
    if not _NAME.fullmatch(converted):
        raise InputError(f"the column {name.strip()!r} has no usable name; start it with a letter a to z")
    if converted in SYSTEM_COLUMNS or converted == VECTOR or converted in KEYWORDS:
        raise InputError(f"the column name {converted!r} is reserved; rename the column")
    return converted


def parse_value(text: str, kind: ColumnType) -> Value:
    """Return the value of a text for a column.

    Raises:
        InputError: the text is no value of this type.
    """
    value: Value | None = None
    if kind == "text":
        value = text
    elif kind == "integer" and _INTEGER.fullmatch(text) and abs(int(text)) < MAX_INTEGER:
        value = int(text)
    elif kind == "number":
        value = _parse_number(text)
    elif kind == "date":
        value = _parse_date(text)
    elif kind == "boolean":
        value = _BOOLEANS.get(text.lower())
    if value is None:
        raise InputError(f"{text[:80]!r} is not {_ALLOWED[kind]}")
    return value


def split_values(column: str, value: Value) -> tuple[Value, ...]:
    """Return the values that a value of a column consists of: several ones of a text with SEPARATOR, each once."""
    if column in SINGLE_COLUMNS or not isinstance(value, str) or SEPARATOR not in value:
        return (value,)
    return tuple(dict.fromkeys(value.split(SEPARATOR)))


def normalize_values(column: str, value: Value | None) -> Value | None:
    """Return a text with several values without spaces around them and without empty ones; others unchanged."""
    if column in SINGLE_COLUMNS or not isinstance(value, str) or SEPARATOR not in value:
        return value
    parts = [part.strip() for part in value.split(SEPARATOR)]
    return SEPARATOR.join(part for part in parts if part) or None


def infer_type(texts: Iterable[str]) -> ColumnType:
    """Return the type of a column of a CSV file; empty texts are missing values.

    Numbers with leading zeros, such as classes and patent numbers, are text.
    """
    values = [text for text in texts if text]
    if not values or any(re.match(r"[+-]?0[0-9]", text) and not _DATE.fullmatch(text) for text in values):
        return "text"
    kinds: tuple[ColumnType, ...] = ("integer", "number", "date", "boolean")
    return next((kind for kind in kinds if all(_is_valid(text, kind) for text in values)), "text")


def convert_value(value: object, kind: ColumnType) -> Value | None:
    """Return a Python value, such as one of a Parquet file, as the value of a column; None and NaN are missing.

    A list of texts is a text with several values.

    Raises:
        InputError: the value does not fit the type.
    """
    if kind == "text" and isinstance(value, (list, tuple)):
        texts = [_make_text(item).strip() for item in value if item is not None]
        if any(SEPARATOR in text for text in texts):
            raise InputError(f"a value of a list contains {SEPARATOR!r}, which separates values; replace it")
        value = SEPARATOR.join(filter(None, texts))
    if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, datetime.datetime):
        value = value.date()
    if kind == "text":
        return _check_text(_make_text(value))
    if kind == "date" and isinstance(value, datetime.date):
        return value
    if kind == "boolean" and isinstance(value, bool):
        return value
    return parse_value(str(value), kind)


def _make_text(value: object) -> str:
    """Return a value as text; a whole float, which other programs make of integers with missing values, as integer."""
    if isinstance(value, float) and value.is_integer() and abs(value) <= _MAX_EXACT_FLOAT:
        return str(int(value))
    return value.isoformat() if isinstance(value, datetime.date) else str(value)


def _check_text(text: str) -> str:
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise InputError(f"{text[:80]!r} is not valid Unicode")
    return text


def _is_valid(text: str, kind: ColumnType) -> bool:
    try:
        parse_value(text, kind)
    except InputError:
        return False
    return True


def _parse_number(text: str) -> float | None:
    if not re.fullmatch(r"[+-]?[0-9.]+([eE][+-]?[0-9]+)?", text):
        return None
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _parse_date(text: str) -> datetime.date | None:
    try:
        return datetime.date.fromisoformat(text) if _DATE.fullmatch(text) else None
    except ValueError:
        return None
