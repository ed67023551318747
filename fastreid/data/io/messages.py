"""Names from files and lists, made fit for a message."""

MOST_CHARACTERS = 400


def one_line(text: str) -> str:
    """The text with everything escaped that breaks a line or steers a terminal, its middle left out where it is long."""
    shown = "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)
    if len(shown) <= MOST_CHARACTERS:
        return shown
    return f"{shown[: MOST_CHARACTERS // 2]}...{shown[-MOST_CHARACTERS // 2 :]}"
