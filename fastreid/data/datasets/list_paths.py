"""Files of the paths in an image list, and the content of folders for messages."""

import contextlib
import errno
import os
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from fastreid.utils.errors import InputError
from fastreid.utils.page_address import split_page_address

ABSOLUTE = "is an absolute path"
NO_FILE = "no file"
_MAX_ENTRIES_SHOWN = 10


def describe_contents(folder: Path) -> str:
    """Return a part of a message: what the folder, or its nearest existing parent, contains."""
    if not folder.is_dir():
        parent = next((parent for parent in folder.absolute().parents if parent.is_dir()), None)
        return f"{folder} does not exist" + (f", {describe_contents(parent)}" if parent else "")
    try:
        with os.scandir(folder) as entries:
            names = sorted(f"{entry.name}/" if entry.is_dir() else entry.name for entry in entries)
    except OSError as error:
        return f"{folder} cannot be listed ({error.strerror})"
    more = f" and {len(names) - _MAX_ENTRIES_SHOWN} more" if len(names) > _MAX_ENTRIES_SHOWN else ""
    return f"{folder} contains {', '.join(names[:_MAX_ENTRIES_SHOWN])}{more}" if names else f"{folder} is empty"


class PathResolver:
    """Resolves the paths of a list within its folders; paths outside of them are invalid.

    Args:
        folders: the folders, at least one; the first that contains the file is used.
    """

    def __init__(self, folders: Sequence[Path]):
        self.roots = [(str(folder), os.path.realpath(folder)) for folder in folders]
        self.real_parents: dict[str, str] = {}
        self.spellings: dict[str, dict[str, list[str]]] = {}

    def resolve(self, name: str) -> str:
        """Return the path of the file, or the address of its page.

        A letter with an accent is one character or two (Unicode forms NFC and NFD), depending on the system that wrote
        a name. A file is found in the other form if none has the exact name.

        Raises:
            InputError: the path is absolute, leaves its folder, or no such file exists.
        """
        if name.startswith("/") or re.match(r"[A-Za-z]:", name):
            raise InputError(f"{name} {ABSOLUTE}; write it relative to {self.roots[0][0]}")
        if ".." in PurePosixPath(name).parts:
            raise InputError(f"{name!r} leaves {self.roots[0][0]}; write it without '..'")
        for find in (os.path.join, self._find_other_form):
            for folder, real_root in self.roots:
                path = find(folder, name)
                try:
                    file, _ = split_page_address(path)
                    is_file = os.path.isfile(file)
                except ValueError:
                    break
                if is_file:
                    self._check_inside(file, folder, real_root)
                    return path
            if name.isascii():
                break
        path = os.path.join(self.roots[0][0], name)
        raise InputError(f"{NO_FILE} {path}{_describe_other_reason(path)}{self._suggest_shorter(name)}")

    def _suggest_shorter(self, name: str) -> str:
        """Return advice if a path repeats the end of its folder, as in images/images/a.png; otherwise ""."""
        parts = PurePosixPath(name).parts
        for folder, _ in self.roots:
            folder_parts = Path(folder).absolute().parts
            for num in range(1, min(len(parts), len(folder_parts) + 1)):
                if folder_parts[-num:] == parts[:num] and os.path.isfile(os.path.join(folder, *parts[num:])):
                    return f"; paths are relative to {folder}: write {os.path.join(*parts[num:])}"
        return ""

    def _find_other_form(self, folder: str, name: str) -> str:
        """Return the path with each missing part replaced by the only name that differs in its Unicode form."""
        path = folder
        for part in PurePosixPath(name).parts:
            file, _ = split_page_address(part)
            if not os.path.lexists(os.path.join(path, file)):
                others = self._list_spellings(path).get(unicodedata.normalize("NFC", file), [])
                part = others[0] + part[len(file) :] if len(others) == 1 else part
            path = os.path.join(path, part)
        return path

    def _list_spellings(self, folder: str) -> dict[str, list[str]]:
        """Return the names in a folder by their form NFC; only those with letters outside ASCII."""
        if folder not in self.spellings:
            spellings: dict[str, list[str]] = {}
            with contextlib.suppress(OSError):  # the caller reports that the file is missing
                for name in os.listdir(folder):
                    if not name.isascii():
                        spellings.setdefault(unicodedata.normalize("NFC", name), []).append(name)
            self.spellings[folder] = spellings
        return self.spellings[folder]

    def _check_inside(self, path: str, folder: str, real_root: str) -> None:
        # One realpath() per folder instead of per file: a list has up to a hundred thousand files in few folders.
        parent = os.path.dirname(path)
        if parent not in self.real_parents:
            self.real_parents[parent] = os.path.realpath(parent)
        real = os.path.realpath(path) if os.path.islink(path) else self.real_parents[parent] + "/"
        if not (real + "/").startswith(real_root.rstrip("/") + "/"):
            raise InputError(f"{path} is a link to a file outside {folder}; put the file itself there")


def _describe_other_reason(path: str) -> str:
    """Return why a path cannot be looked up, such as " (Permission denied)"; "" if there is no such file."""
    try:
        os.stat(split_page_address(path)[0])
    except OSError as error:
        return "" if error.errno in (errno.ENOENT, errno.ENOTDIR) else f" ({error.strerror})"
    except ValueError:
        pass
    return ""
