"""Addresses of pages in files that contain several: `file.tif#page=2`."""

import os
import re

_ADDRESS = re.compile(r"(?P<file>.+)#page=(?P<number>[1-9][0-9]{0,8})", re.DOTALL)


def split_page_address(path: str | os.PathLike[str]) -> tuple[str, int]:
    """Return the file and the page, counted from 0, of an address such as "a.tif#page=2"; any other path is page 0.

    A file whose name is the whole address is that file.
    """
    text = os.fspath(path)
    match = _ADDRESS.fullmatch(text) if "#page=" in text else None
    if match is None or os.path.lexists(text):
        return text, 0
    return match["file"], int(match["number"]) - 1


def join_page_address(path: str, page: int) -> str:
    """Return the address of a page, counted from 0."""
    return f"{path}#page={page + 1}"
