"""Texts with a common prefix as a range, which an index can use, and in which % and _ have no meaning."""

_MAX_CODE_POINT = 0x10FFFF


def find_successor(prefix: str) -> str | None:
    """Return the first text after all those that start with a prefix, by code points; None if there is none."""
    stem = prefix.rstrip(chr(_MAX_CODE_POINT))
    if not stem:
        return None
    following = ord(stem[-1]) + 1
    return stem[:-1] + chr(0xE000 if 0xD800 <= following <= 0xDFFF else following)  # surrogates are no characters
