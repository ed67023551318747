"""The text form of filters: what each condition means, and the errors."""

import datetime

import pytest

from fastreid.index.columns import convert_name, convert_value, infer_type, normalize_values, parse_value
from fastreid.index.filter_syntax import MAX_CONDITIONS, MAX_DEPTH, parse_filter
from fastreid.index.filters import And, Comparison, Not, OneOf, StartsWith, matches
from fastreid.utils.errors import InputError

COLUMNS = {
    "patent": "text",
    "locarno": "text",
    "day": "date",
    "year": "integer",
    "ratio": "number",
    "active": "boolean",
}
ROW = {
    "patent": "D'1",
    "locarno": "06-01",
    "day": datetime.date(2018, 5, 1),
    "year": -3,
    "ratio": 0.5,
    "active": True,
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("patent = 'D''1'", True),
        ('patent = "D\'1"', True),
        ("PATENT != x", True),
        ("locarno STARTSWITH 06", True),
        ("locarno startswith '07'", False),
        ("year = -3 and ratio = 5e-1", True),
        ("year IN -5..-3", True),
        ("year NOT IN (1, 2)", True),
        ("day IN 2018-01-01..2018-12-31", True),
        ("day < 2018-05-01", False),
        ("day <= 2018-05-01 AND NOT active = false", True),
        ("patent IS NULL OR patent IS NOT NULL", True),
        ("year = 1 OR year = -3 AND active = FALSE", False),
        ("(year = 1 OR year = -3) AND active = true", True),
        ("NOT NOT (year=-3)", True),
    ],
)
def test_filter_on_a_row(text, expected):
    node = parse_filter(text, COLUMNS)
    assert matches(node, ROW) is expected
    assert matches(Not(node), ROW) is not expected


def test_missing_values_fulfill_only_negations():
    for text in ("patent = x", "patent STARTSWITH ''", "patent < z", "patent IN (x)"):
        assert not matches(parse_filter(text, COLUMNS), {})
        assert matches(parse_filter(f"NOT {text}", COLUMNS), {})
    assert matches(parse_filter("patent != x", COLUMNS), {"patent": None})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("locarno = 06-01", True),
        ("locarno = 07-02", True),
        ("locarno = '06-01|07-02'", True),
        ("locarno = 06", False),
        ("locarno != 07-02", False),
        ("locarno IN (01-01, 07-02)", True),
        ("locarno NOT IN (01-01, 02-02)", True),
        ("locarno STARTSWITH 07", True),
        ("locarno STARTSWITH 1", False),
        ("locarno STARTSWITH '06-01|0'", True),
        ("patent = b", False),
        ("patent = 'a|b'", True),
    ],
)
def test_one_of_several_values_fulfills_a_condition(text, expected):
    node = parse_filter(text, COLUMNS)
    assert matches(node, {"locarno": "06-01|07-02", "patent": "a|b"}) is expected


def test_values_of_a_cell_are_normalized():
    assert normalize_values("locarno", " 06-01 | |07-02|") == "06-01|07-02"
    assert normalize_values("locarno", "|") is None
    assert normalize_values("title", "A | B") == "A | B"
    assert convert_value(["06-01", None, " 07-02 "], "text") == "06-01|07-02"
    assert convert_value([], "text") is None
    for value, text in ((12, "12"), (12.0, "12"), (1.5, "1.5"), ([7.0, 8], "7|8"), (1e300, "1e+300")):
        assert convert_value(value, "text") == text  # 12.0: an integer column with missing values in pandas
    with pytest.raises(InputError, match="separates values"):
        convert_value(["a|b"], "text")


def test_words_after_an_operator_are_values():
    assert parse_filter("patent = IN", COLUMNS) == Comparison("patent", "=", "IN")
    assert parse_filter("patent in (and, OR)", COLUMNS) == OneOf("patent", ("and", "OR"))
    assert parse_filter("locarno STARTSWITH not", COLUMNS) == StartsWith("locarno", "not")


@pytest.mark.parametrize(
    ("text", "position", "message"),
    [
        ("", 1, "a column is missing here"),
        ("locarn = 06", 1, "'locarn' is unknown. Did you mean 'locarno'? Available: active, day"),
        ("year = 1 AND yaer = 2", 14, "Did you mean 'year'?"),
        ("year = 1.5", 8, "'1.5' is not an integer, as year is of type integer"),
        ("year = 9223372036854775808", 8, "is not an integer"),
        ("ratio = 1e999", 9, "is not a finite number"),
        ("day > 2018-02-30", 7, "is not a date such as 2018-01-31"),
        ("active = yes", 10, "is not true or false"),
        ("active < true", 8, "has no order"),
        ("year STARTSWITH 1", 1, "STARTSWITH needs a column of text"),
        ("patent = 'open", 10, "the quote is not closed"),
        ("patent 'x'", 8, "one of =, !="),
        ("patent = ", 10, "a value of patent is missing"),
        ("year IN (1, 2", 14, ") is missing here"),
        ("year IN 1", 10, "IN takes a list (a, b) or a range a..b"),
        ("year = 1 year = 2", 10, "join conditions with AND or OR"),
        ("(year = 1", 10, ") is missing here"),
        ("patent IS x", 11, "NULL is missing here"),
        ("(" * (MAX_DEPTH + 2) + "year = 1", MAX_DEPTH + 2, "levels of parentheses"),
        (" AND ".join(["year = 1"] * (MAX_CONDITIONS + 1)), None, f"more than {MAX_CONDITIONS} conditions"),
        ("patent = ! x", 10, "'!' is unexpected"),
    ],
)
def test_errors_name_the_position(text, position, message):
    with pytest.raises(InputError) as error:
        parse_filter(text, COLUMNS)
    assert message in str(error.value)
    assert position is None or f", position {position}: " in str(error.value)


def test_and_binds_before_or():
    one, two, three = (Comparison("year", "=", number) for number in (1, 2, 3))
    node = parse_filter("year = 1 OR year = 2 AND year = 3", COLUMNS)
    assert node.parts == (one, And((two, three)))


def test_names_and_types_of_columns():
    assert [convert_name(name) for name in ("Filing Date", " Année ", "year")] == ["filing_date", "annee", "year"]
    for name in ("sha256", "Vector", "NOT", "12", "日本"):
        with pytest.raises(InputError, match=r"reserved|no usable name"):
            convert_name(name)
    assert infer_type(["1", "", "-20"]) == "integer"
    assert infer_type(["1", "2.5"]) == "number"
    assert infer_type(["2018-01-31", ""]) == "date"
    assert infer_type(["true", "False"]) == "boolean"
    assert infer_type(["06", "12"]) == infer_type(["a"]) == infer_type([]) == "text"
    assert parse_value("+7", "integer") == 7
