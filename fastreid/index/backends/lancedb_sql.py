"""Translation of filters to the SQL of LanceDB."""

import datetime
from collections.abc import Sequence

from fastreid.index.backends.text_ranges import find_successor
from fastreid.index.columns import SEPARATOR, SINGLE_COLUMNS, ColumnType, Value
from fastreid.index.filters import And, Comparison, Filter, IsNull, Not, OneOf, Or, StartsWith

SQL_TYPES: dict[ColumnType, str] = {
    "text": "string",
    "integer": "bigint",
    "number": "double",
    "date": "date",
    "boolean": "boolean",
}


def to_sql(node: Filter) -> str:
    """Return a filter as an SQL expression that is true or false for every row, never NULL."""
    if isinstance(node, (And, Or)):
        word, empty = (" AND ", "true") if isinstance(node, And) else (" OR ", "false")
        return f"({word.join(map(to_sql, node.parts))})" if node.parts else empty
    if isinstance(node, Not):
        return f"(NOT {to_sql(node.part)})"
    column = quote_column(node.column)
    if isinstance(node, IsNull):
        return f"({column} IS NULL)"
    return f"({column} IS NOT NULL AND {_translate_condition(column, node)})"


def quote_column(name: str) -> str:
    """Return a column name for SQL; names contain letters, digits and underscores only."""
    return f"`{name}`"


def quote_value(value: Value) -> str:
    """Return a literal of SQL."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime.date):
        return f"date '{value.isoformat()}'"
    if isinstance(value, (int, float)):
        return repr(value)
    doubled = value.replace("'", "''")
    return f"'{doubled}'"


def _translate_condition(column: str, node: Comparison | OneOf | StartsWith) -> str:
    if isinstance(node, Comparison):
        whole = f"{column} {node.operator} {quote_value(node.value)}"
        return _add_parts(whole, column, node, [node.value]) if node.operator == "=" else whole
    if isinstance(node, OneOf):
        if not node.values:
            return "false"
        whole = f"{column} IN ({', '.join(map(quote_value, node.values))})"
        return _add_parts(whole, column, node, node.values)
    after = find_successor(node.prefix)
    whole = f"{column} >= {quote_value(node.prefix)}"
    if after is not None:
        whole = f"({whole} AND {column} < {quote_value(after)})"
    if node.column in SINGLE_COLUMNS or SEPARATOR in node.prefix:
        return whole
    return f"({whole} OR contains({column}, {quote_value(SEPARATOR + node.prefix)}))"


def _add_parts(whole: str, column: str, node: Comparison | OneOf, values: Sequence[Value]) -> str:
    """Return a condition on the whole text, extended to the values of a text with several."""
    parts = [value for value in values if isinstance(value, str) and value and SEPARATOR not in value]
    if node.column in SINGLE_COLUMNS or not parts:
        return whole
    listed = f"make_array({', '.join(map(quote_value, parts))})"
    return f"({whole} OR array_has_any(string_to_array({column}, {quote_value(SEPARATOR)}), {listed}))"
