from fastreid.utils.text import escape_unprintable, format_count, format_faults, summarize_error


def test_escape_unprintable_keeps_one_line_and_limits_its_length():
    assert escape_unprintable("a\nb\x1b[31m\u2028ü") == "a\\nb\\x1b[31m\\u2028ü"
    assert escape_unprintable("x" * 200 + "y" * 300) == "x" * 200 + "..." + "y" * 200


def test_format_count_uses_the_singular_for_one():
    counts = [format_count(1, "error"), format_count(0, "error"), format_count(1200, "query", "queries")]
    assert counts == ["1 error", "0 errors", "1,200 queries"]


def test_summarize_error_joins_and_cuts_lines():
    assert summarize_error(ValueError("first\n  second")) == "first second"
    assert len(summarize_error(ValueError("x" * 1000))) == 300


def test_format_faults_has_one_line_per_fault():
    assert format_faults([], "list.txt") == ""
    assert format_faults(["1: no\nid"], "list.txt") == "list.txt: 1: no\\nid"
    assert format_faults(["1: a", "2: b"], "list.txt") == "list.txt: 2 faults\n  1: a\n  2: b"


def test_format_faults_shows_twenty_and_the_number_of_others():
    lines = format_faults([f"{number}: a" for number in range(25)], "list.txt").splitlines()
    assert (lines[0], lines[20], lines[21:]) == ("list.txt: 25 faults", "  19: a", ["  ... and 5 more"])
