"""The text form of filters, such as `locarno STARTSWITH 06 AND NOT jurisdiction IN (US, EM)`.

    filter    := and-part (OR and-part)*
    and-part  := part (AND part)*
    part      := NOT part | "(" filter ")" | condition
    condition := COLUMN (= | != | < | <= | > | >=) VALUE
               | COLUMN STARTSWITH VALUE
               | COLUMN [NOT] IN "(" VALUE ("," VALUE)* ")"
               | COLUMN [NOT] IN VALUE ".." VALUE               both ends included
               | COLUMN IS [NOT] NULL

Words are not case-sensitive, values and texts are. A value is a word, such as 06-01, US or 2018-01-31, or a text in
single or double quotes, in which a doubled quote is one quote.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple, NoReturn, cast, get_args

from fastreid.index.columns import ColumnType, Value, list_names, parse_value
from fastreid.index.filters import And, Comparison, Filter, IsNull, Not, OneOf, Operator, Or, StartsWith
from fastreid.utils.errors import InputError, suggest_and_list
from fastreid.utils.text import escape_unprintable

MAX_DEPTH = 20  # of parentheses and NOT; back ends parse filters recursively
MAX_CONDITIONS = 100
MAX_VALUES = 10_000  # of one list

_TOKEN = re.compile(
    r"(?P<space>\s+)|(?P<text>'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\")|(?P<symbol>!=|<=|>=|\.\.|[=<>(),])"
    r"|(?P<word>(?:(?!\.\.)[^\s()'\",=<>!])+)",
    re.DOTALL,
)


class _Token(NamedTuple):
    kind: str  # word, text, symbol or end
    text: str
    position: int  # of its first character, from 1


def parse_filter(text: str, columns: Mapping[str, ColumnType]) -> Filter:
    """Return the tree of a filter.

    Args:
        text: the filter; see the docstring of this module.
        columns: name -> type of the columns of the collection.

    Raises:
        InputError: the filter is invalid; the message has the position.
    """
    return _Parser(text, columns).parse()


class _Parser:
    def __init__(self, text: str, columns: Mapping[str, ColumnType]):
        self.text, self.columns = text, columns
        self.tokens = self._split(text)
        self.index = 0
        self.num_conditions = 0

    def parse(self) -> Filter:
        node = self._parse_or(0)
        if self._peek().kind != "end":
            self._fail(f"{self._peek().text!r} is unexpected; join conditions with AND or OR")
        return node

    def _split(self, text: str) -> list[_Token]:
        tokens, start = [], 0
        while start < len(text):
            match = _TOKEN.match(text, start)
            if match is None:
                what = "the quote is not closed" if text[start] in "'\"" else f"{text[start]!r} is unexpected"
                self._fail(what, start + 1)
            kind = str(match.lastgroup)
            if kind == "text":
                quote = match[0][0]
                tokens.append(_Token(kind, match[0][1:-1].replace(quote * 2, quote), start + 1))
            elif kind != "space":
                tokens.append(_Token(kind, match[0], start + 1))
            start = match.end()
        tokens.append(_Token("end", "", len(text) + 1))
        return tokens

    def _parse_or(self, depth: int) -> Filter:
        parts = [self._parse_and(depth)]
        while self._accept("or"):
            parts.append(self._parse_and(depth))
        return Or(tuple(parts)) if len(parts) > 1 else parts[0]

    def _parse_and(self, depth: int) -> Filter:
        parts = [self._parse_part(depth)]
        while self._accept("and"):
            parts.append(self._parse_part(depth))
        return And(tuple(parts)) if len(parts) > 1 else parts[0]

    def _parse_part(self, depth: int) -> Filter:
        if depth > MAX_DEPTH:
            self._fail(f"more than {MAX_DEPTH} levels of parentheses and NOT; write it without nesting")
        if self._accept("not"):
            return Not(self._parse_part(depth + 1))
        if self._accept("("):
            node = self._parse_or(depth + 1)
            self._expect(")")
            return node
        self.num_conditions += 1
        if self.num_conditions > MAX_CONDITIONS:
            self._fail(f"more than {MAX_CONDITIONS} conditions; list values with IN (...)")
        return self._parse_condition()

    def _parse_condition(self) -> Filter:
        token = self._next()
        if token.kind != "word":
            self._fail("a column is missing here, as in locarno STARTSWITH 06", token.position)
        column = token.text.lower()
        if column not in self.columns:
            hint = suggest_and_list(column, list_names(self.columns))
            self._fail(f"the column '{escape_unprintable(token.text)}' is unknown.{hint}", token.position)
        kind = self.columns[column]
        if self._accept("is"):
            is_negated = self._accept("not")
            self._expect("null")
            return Not(IsNull(column)) if is_negated else IsNull(column)
        if self._accept("startswith"):
            if kind != "text":
                self._fail(f"STARTSWITH needs a column of text, and {column} is of type {kind}", token.position)
            return StartsWith(column, str(self._parse_value(column)))
        is_negated = self._accept("not")
        if self._accept("in"):
            node = self._parse_list(column) if self._accept("(") else self._parse_range(column)
            return Not(node) if is_negated else node
        symbol = self._next()
        if is_negated or symbol.kind != "symbol" or symbol.text not in (*get_args(Operator), "!="):
            self._fail("one of =, !=, <, <=, >, >=, IN, STARTSWITH or IS NULL is missing here", symbol.position)
        if symbol.text == "!=":
            return Not(Comparison(column, "=", self._parse_value(column)))
        if symbol.text != "=" and kind == "boolean":
            self._fail(f"{column} is true or false and has no order; use =", symbol.position)
        return Comparison(column, cast(Operator, symbol.text), self._parse_value(column))

    def _parse_list(self, column: str) -> Filter:
        values = [self._parse_value(column)]
        while self._accept(","):
            values.append(self._parse_value(column))
            if len(values) > MAX_VALUES:
                self._fail(f"more than {MAX_VALUES} values in a list")
        self._expect(")")
        return OneOf(column, tuple(values))

    def _parse_range(self, column: str) -> Filter:
        if self.columns[column] == "boolean":
            self._fail(f"{column} is true or false and has no range; use =")
        low = self._parse_value(column)
        if not self._accept(".."):
            self._fail("IN takes a list (a, b) or a range a..b")
        return And((Comparison(column, ">=", low), Comparison(column, "<=", self._parse_value(column))))

    def _parse_value(self, column: str) -> Value:
        token = self._next()
        if token.kind not in ("word", "text"):
            self._fail(f"a value of {column} is missing here", token.position)
        try:
            return parse_value(token.text, self.columns[column])
        except InputError as error:
            self._fail(f"{error}, as {column} is of type {self.columns[column]}", token.position)

    def _peek(self) -> _Token:
        return self.tokens[self.index]

    def _next(self) -> _Token:
        token = self.tokens[self.index]
        self.index = min(self.index + 1, len(self.tokens) - 1)
        return token

    def _accept(self, text: str) -> bool:
        """Skip a keyword or symbol and return whether it was there."""
        token = self._peek()
        is_next = token.kind in ("word", "symbol") and token.text.lower() == text
        self.index += is_next
        return is_next

    def _expect(self, text: str) -> None:
        if not self._accept(text):
            self._fail(f"{text.upper()} is missing here")

    def _fail(self, reason: str, position: int = 0) -> NoReturn:
        where = position or self._peek().position
        raise InputError(f"filter {escape_unprintable(self.text)!r}, position {where}: {reason}")
