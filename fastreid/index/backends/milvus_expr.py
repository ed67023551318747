"""Translation of filters to the expressions of Milvus.

A row without a value can make an expression of Milvus neither true nor false, depending on its version. So a negation
is moved to the conditions, and each condition says what it means for a missing value.
"""

import datetime
import re
from collections.abc import Collection, Sequence

from fastreid.index.backends.text_ranges import find_successor
from fastreid.index.columns import SEPARATOR, SINGLE_COLUMNS, Value
from fastreid.index.filters import And, Comparison, Filter, IsNull, Not, OneOf, Or, StartsWith

KEY = "_key"  # field of the primary key, which is no name of a column and never empty
ALWAYS, _NEVER = f'({KEY} != "")', f'({KEY} == "")'  # Milvus has no constants
_OPPOSITES = {"==": "!=", "<": ">=", "<=": ">", ">": "<=", ">=": "<"}
_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"})


def to_expression(node: Filter, fields: Collection[str]) -> str:
    """Return a filter as an expression.

    Args:
        node: the filter.
        fields: columns that are fields of the schema; all others are dynamic.
    """
    return _translate(node, fields, negated=False)


def to_stored(value: Value) -> str | int | float | bool:
    """Return a value as Milvus stores it: a date as an integer with the digits of year, month and day."""
    if isinstance(value, datetime.date):
        return value.year * 10_000 + value.month * 100 + value.day
    return value


def quote_value(value: Value) -> str:
    """Return a literal of an expression."""
    stored = to_stored(value)
    if isinstance(stored, bool):
        return "true" if stored else "false"
    return repr(stored) if isinstance(stored, (int, float)) else f'"{stored.translate(_ESCAPES)}"'


def one_of(column: str, values: Sequence[Value], *, negated: bool = False) -> str:
    """Return the condition that a field of the schema has one of several values, or none of them."""
    if not values:
        return ALWAYS if negated else _NEVER
    return f"({column} {'not in' if negated else 'in'} [{', '.join(map(quote_value, values))}])"


def _translate(node: Filter, fields: Collection[str], *, negated: bool) -> str:
    if isinstance(node, Not):
        return _translate(node.part, fields, negated=not negated)
    if isinstance(node, (And, Or)):
        is_and = isinstance(node, And) is not negated
        return _join([_translate(part, fields, negated=negated) for part in node.parts], is_and=is_and)
    is_field = node.column in fields
    name = node.column if is_field else f'$meta["{node.column}"]'
    missing, present = (f"{name} is null", f"{name} is not null")
    if not is_field:
        missing, present = f"(not exists {name})", f"exists {name}"
    if isinstance(node, IsNull):
        return f"({present if negated else missing})"
    condition = _translate_condition(name, node, is_field=is_field, negated=negated)
    return f"({missing} or {condition})" if negated else f"({present} and {condition})"


def _translate_condition(name: str, node: Comparison | OneOf | StartsWith, *, is_field: bool, negated: bool) -> str:
    """Return a condition on the whole text, extended to the values of a text with several."""
    conditions = [_translate_whole(name, node, is_field=is_field, negated=negated)]
    for pattern in _list_patterns(node):
        like = f'{name} like "{pattern.translate(_ESCAPES)}"'
        conditions.append(f"(not ({like}))" if negated else f"({like})")
    return _join(conditions, is_and=negated)


def _list_patterns(node: Comparison | OneOf | StartsWith) -> list[str]:
    """Return patterns of `like` for texts with several values, one of which fulfills a condition."""
    if node.column in SINGLE_COLUMNS or (isinstance(node, Comparison) and node.operator != "="):
        return []
    if isinstance(node, StartsWith):
        prefix = _escape_pattern(node.prefix)
        return [] if SEPARATOR in node.prefix else [f"%{SEPARATOR}{prefix}%"]
    values = node.values if isinstance(node, OneOf) else (node.value,)
    parts = [_escape_pattern(part) for part in values if isinstance(part, str) and part and SEPARATOR not in part]
    return [
        pattern
        for part in parts
        for pattern in (f"{part}{SEPARATOR}%", f"%{SEPARATOR}{part}", f"%{SEPARATOR}{part}{SEPARATOR}%")
    ]


def _escape_pattern(text: str) -> str:
    """Return a text as a pattern; servers differ in how a backslash is written, so any character matches it."""
    return re.sub(r"([%_])", r"\\\1", text.replace("\\", "\0")).replace("\0", "_")


def _translate_whole(name: str, node: Comparison | OneOf | StartsWith, *, is_field: bool, negated: bool) -> str:
    if isinstance(node, Comparison):
        return _compare(name, "==" if node.operator == "=" else node.operator, node.value, negated=negated)
    if isinstance(node, OneOf):
        if is_field:
            return one_of(name, node.values, negated=negated)
        # Milvus Lite has no `in` for dynamic fields.
        return _join([_compare(name, "==", value, negated=negated) for value in node.values], is_and=negated)
    after = find_successor(node.prefix)
    low = _compare(name, ">=", node.prefix, negated=negated)
    return low if after is None else _join([low, _compare(name, "<", after, negated=negated)], is_and=not negated)


def _compare(name: str, operator: str, value: Value, *, negated: bool) -> str:
    return f"{name} {_OPPOSITES[operator] if negated else operator} {quote_value(value)}"


def _join(parts: Sequence[str], *, is_and: bool) -> str:
    """Join expressions as a balanced tree, because servers evaluate them recursively."""
    if not parts:
        return ALWAYS if is_and else _NEVER
    if len(parts) == 1:
        return parts[0]
    middle = len(parts) // 2
    halves = (_join(half, is_and=is_and) for half in (parts[:middle], parts[middle:]))
    return f"({(' and ' if is_and else ' or ').join(halves)})"
