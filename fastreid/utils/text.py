"""Text of messages: escaped names, shortened errors, lists of faults."""

import re
from collections.abc import Sequence

MAX_CHARACTERS = 400
MAX_ERROR_CHARACTERS = 300
MAX_FAULTS_SHOWN = 20


def escape_unprintable(text: str) -> str:
    """Return the text on one line, with line breaks and control characters escaped.

    Names from files and lists may contain sequences that break a line or control a terminal. Text longer than
    MAX_CHARACTERS loses its middle.
    """
    escaped = _escape(text)
    if len(escaped) <= MAX_CHARACTERS:
        return escaped
    return f"{escaped[: MAX_CHARACTERS // 2]}...{escaped[-MAX_CHARACTERS // 2 :]}"


def escape_message(text: str, *, keep_lines: bool = False) -> str:
    """Return a message in which control characters are escaped; applied to every message on its way out.

    A line break stays if the next line is indented by two spaces, as in `format_faults`: a line of foreign text cannot
    look like a message of this package.

    Args:
        text: the message.
        keep_lines: keep all line breaks, for tables and messages with several headings.
    """
    separator = r"\n" if keep_lines else r"\n(?=  )"
    return "\n".join(_escape(line) for line in re.split(separator, text))


def _escape(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def summarize_error(error: Exception) -> str:
    """Return an error's message on one line, cut to MAX_ERROR_CHARACTERS."""
    return " ".join(str(error).split())[:MAX_ERROR_CHARACTERS]


def format_count(num: int, noun: str, plural: str = "") -> str:
    """Return "1 error" or "2 errors".

    Args:
        num: the count, formatted with commas.
        noun: in the singular.
        plural: of the noun; "": the noun with an s.
    """
    return f"{num:,} {noun if num == 1 else plural or noun + 's'}"


def format_faults(faults: Sequence[str], where: str) -> str:
    """Return all faults found in one place as text; "" if there are none.

    A single fault takes one line. Several have a heading with their number, then one line each for the first
    MAX_FAULTS_SHOWN, then the number of the others.

    Args:
        faults: one line each; unprintable characters are escaped.
        where: the list or folder that contains the faults, escaped too.
    """
    where = escape_unprintable(where)
    if len(faults) < 2:
        return "".join(f"{where}: {escape_unprintable(fault)}" for fault in faults)
    lines = [f"{where}: {len(faults)} faults", *map(escape_unprintable, faults[:MAX_FAULTS_SHOWN])]
    if len(faults) > MAX_FAULTS_SHOWN:
        lines.append(f"... and {len(faults) - MAX_FAULTS_SHOWN} more")
    return "\n  ".join(lines)


def print_message(text: str) -> None:
    """Print the output of a command, which may have several lines; control characters in it are escaped."""
    print(escape_message(text, keep_lines=True), flush=True)


def is_unicode(text: str) -> bool:
    """Return whether a text can be encoded as UTF-8; a file name of another encoding cannot."""
    return not any("\ud800" <= character <= "\udfff" for character in text)
