"""LanceDB and Milvus select the rows that `matches` defines, and the text form of a filter gives the same tree."""

import datetime

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import example, given, settings

from fastreid.index.columns import STANDARD_COLUMNS, SYSTEM_COLUMNS
from fastreid.index.filter_syntax import parse_filter
from fastreid.index.filters import And, Comparison, IsNull, Not, OneOf, Or, StartsWith, matches

EXTRA = {"order": "text", "year": "integer", "ratio": "number", "active": "boolean"}
COLUMNS = {**SYSTEM_COLUMNS, **STANDARD_COLUMNS, **EXTRA}
TEXTS = (
    "",
    "a",
    "A",
    "a%",
    "a_b",
    "ab",
    "a'b",
    'a"b',
    "a\\'b",
    "ä",
    "日本",
    "\U0001f600",
    "\ud7ff",
    "\uffff",
    "`",
    "--",
)
VALUES = {
    "text": st.sampled_from(TEXTS) | st.text(st.characters(exclude_categories=["Cs"]), max_size=3),
    "integer": st.sampled_from((0, 1, -1, 2000, 2**53 + 1, 1 - 2**63, 2**63 - 1)) | st.integers(-5, 5),
    "number": st.sampled_from((0.0, -0.5, 1 / 3, 1e-300, -1.5e300)) | st.floats(allow_nan=False, allow_infinity=False),
    "date": st.dates(datetime.date(1, 1, 1), datetime.date(2100, 1, 1)),
    "boolean": st.booleans(),
}
USED = {"patent": "text", "filing_date": "date", **EXTRA}


def make_rows():
    """Return 48 rows with and without values, texts with all special characters among them."""
    rows = []
    for number in range(48):
        row = {"id": f"{number:02}", "path": "", "page": 1, "source": "", "added": "", "sha256": "", "digest": ""}
        row |= {"size_bytes": 0, "mtime_ns": 0}
        row["patent"] = TEXTS[number % len(TEXTS)] if number % 5 else None
        row["order"] = TEXTS[number // 3] if number % 7 else None
        row["year"] = (0, 1, -1, 2000, 2**53 + 1, 1 - 2**63, 2**63 - 1, None)[number % 8]
        row["ratio"] = (0.0, -0.5, 1 / 3, 1e-300, -1.5e300, None)[number % 6]
        row["active"] = (True, False, None)[number % 3]
        row["filing_date"] = datetime.date(2000 + number, 1, 31) if number % 4 else None
        rows.append(row)
    return rows


ROWS = make_rows()


@pytest.fixture(scope="module")
def backend(tmp_path_factory):
    pytest.importorskip("lancedb", reason="the extra `search` is not installed")
    from fastreid.index.backends.base import IndexSettings
    from fastreid.index.backends.lancedb import LanceBackend

    folder = tmp_path_factory.mktemp("filters") / "lance"
    backend = LanceBackend.create(folder, dim=8, columns=COLUMNS, settings=IndexSettings())
    backend.insert(ROWS, torch.ones(len(ROWS), 8))
    return backend


@pytest.fixture(scope="module")
def milvus_backend(milvus_server):
    from fastreid.index.backends.base import IndexSettings
    from fastreid.index.backends.milvus import MilvusBackend
    from fastreid.index.backends.milvus_client import connect, parse_address
    from fastreid.index.backends.milvus_records import MilvusRecords

    address = parse_address(f"{milvus_server}/filter_laws")
    client = connect(address)
    records = MilvusRecords(client, address)
    records.create()
    MilvusBackend.create_table(client, address, dim=8)
    backend = MilvusBackend(client, address, records, settings=IndexSettings(), check_lock=lambda: None)
    backend.add_columns(EXTRA)
    backend.insert(ROWS, torch.ones(len(ROWS), 8))
    return backend


def conditions():
    """Return a strategy of conditions on the columns in use."""

    def on(column):
        kind = USED[column]
        operators = ("=",) if kind == "boolean" else ("=", "<", "<=", ">", ">=")
        compared = st.builds(Comparison, st.just(column), st.sampled_from(operators), VALUES[kind])
        listed = st.builds(OneOf, st.just(column), st.lists(VALUES[kind], min_size=1, max_size=3).map(tuple))
        prefix = st.builds(StartsWith, st.just(column), VALUES["text"]) if kind == "text" else st.nothing()
        return compared | listed | prefix | st.just(IsNull(column))

    return st.sampled_from(sorted(USED)).flatmap(on)


FILTERS = st.recursive(
    conditions(),
    lambda inner: (
        st.builds(Not, inner)
        | st.builds(And, st.lists(inner, min_size=2, max_size=3).map(tuple))
        | st.builds(Or, st.lists(inner, min_size=2, max_size=3).map(tuple))
    ),
    max_leaves=6,
)


def to_text(node):
    """Return the text form of a filter with all parentheses."""
    if isinstance(node, (And, Or)):
        return f"({(' AND ' if isinstance(node, And) else ' OR ').join(map(to_text, node.parts))})"
    if isinstance(node, Not):
        return f"NOT {to_text(node.part)}"
    if isinstance(node, IsNull):
        return f"{node.column} IS NULL"
    if isinstance(node, StartsWith):
        return f"{node.column} STARTSWITH {quote(node.prefix)}"
    if isinstance(node, OneOf):
        return f"{node.column} IN ({', '.join(map(quote, node.values))})"
    return f"{node.column} {node.operator} {quote(node.value)}"


def quote(value):
    doubled = str(value).replace("'", "''")
    return f"'{doubled}'"


@settings(max_examples=40, deadline=None)
@given(node=FILTERS)
@example(node=StartsWith("patent", "\ud7ff"))
@example(node=StartsWith("patent", "\U0010ffff"))
@example(node=And(()))
@example(node=Or(()))
def test_backend_selects_the_rows_that_match(backend, node):
    expected = {row["id"] for row in ROWS if matches(node, row)}
    assert {row["id"] for block in backend.scan(["id"], node) for row in block} == expected
    assert backend.count(node) == len(expected)


@settings(max_examples=40, deadline=None)
@given(node=FILTERS)
@example(node=StartsWith("order", "\ud7ff"))
@example(node=Not(StartsWith("order", "\U0010ffff")))
@example(node=Not(OneOf("order", tuple(TEXTS))))
@example(node=Not(Comparison("patent", "<", '\\"\n')))
@example(node=And(()))
@example(node=Or(()))
def test_milvus_selects_the_rows_that_match(milvus_backend, node):
    expected = {row["id"] for row in ROWS if matches(node, row)}
    assert {row["id"] for block in milvus_backend.scan(["id"], node) for row in block} == expected
    assert milvus_backend.count(node) == len(expected)


@settings(max_examples=40, deadline=None)
@given(node=FILTERS)
def test_text_of_a_filter_gives_the_filter(node):
    assert parse_filter(to_text(node), COLUMNS) == node
