"""Filters on the metadata of drawings, as a tree.

A condition on a missing value is false, so `NOT` of it is true: there are two truth values, unlike in SQL. If a text
has several values, equality, `OneOf` and `StartsWith` are true if one of them fulfills the condition; order compares
the whole text. `matches` defines what a filter means; back ends translate the tree and must agree with it.
"""

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from fastreid.index.columns import Row, Value, split_values

Operator = Literal["=", "<", "<=", ">", ">="]

_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True)
class Comparison:
    """A column compared with a value of its type; texts are compared by code points."""

    column: str
    operator: Operator
    value: Value


@dataclass(frozen=True)
class OneOf:
    """The value of a column is one of several."""

    column: str
    values: tuple[Value, ...]


@dataclass(frozen=True)
class StartsWith:
    """The text of a column starts with a prefix, such as a class with its first digits."""

    column: str
    prefix: str


@dataclass(frozen=True)
class IsNull:
    """A column has no value."""

    column: str


@dataclass(frozen=True)
class And:
    """All parts are true; true without parts."""

    parts: "tuple[Filter, ...]"


@dataclass(frozen=True)
class Or:
    """A part is true; false without parts."""

    parts: "tuple[Filter, ...]"


@dataclass(frozen=True)
class Not:
    """The part is false."""

    part: "Filter"


Filter = Comparison | OneOf | StartsWith | IsNull | And | Or | Not


def matches(node: Filter, row: Row) -> bool:
    """Return whether a row fulfills a filter; columns that the row lacks have no value."""
    if isinstance(node, And):
        return all(matches(part, row) for part in node.parts)
    if isinstance(node, Or):
        return any(matches(part, row) for part in node.parts)
    if isinstance(node, Not):
        return not matches(node.part, row)
    value = row.get(node.column)
    if isinstance(node, IsNull) or value is None:
        return isinstance(node, IsNull) and value is None
    values = (value, *split_values(node.column, value))
    if isinstance(node, StartsWith):
        return any(str(one).startswith(node.prefix) for one in values)
    if isinstance(node, OneOf):
        return any(one in node.values for one in values)
    if node.operator == "=":
        return node.value in values
    return _OPERATORS[node.operator](value, node.value)


def list_columns(node: Filter) -> set[str]:
    """Return the columns whose values a filter compares."""
    if isinstance(node, (And, Or)):
        return {column for part in node.parts for column in list_columns(part)}
    return list_columns(node.part) if isinstance(node, Not) else {node.column}


def join(*filters: Filter | None) -> Filter | None:
    """Return the filter that all given filters fulfill; None without any."""
    parts = tuple(part for part in filters if part is not None)
    return And(parts) if len(parts) > 1 else (parts[0] if parts else None)
