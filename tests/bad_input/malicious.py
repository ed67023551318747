"""What payloads are made of, and what is known of each."""

import json
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

LARGE = 1 << 28  # bytes; more than a payload may take


@dataclass(frozen=True)
class Payload:
    """What is tried.

    Args:
        door: one of DOORS in test_malicious_files.py: by what it would come in.
        write: writes it into a folder and gives the path that the door takes; it is told the file that code would make.
        code: exit code of the refusal; 0 where nothing of it counts and nothing need be refused.
        is_armed: whether `pickle.loads` of the file would make that file, so that the test is known to see it.
    """

    door: str
    write: Callable[[Path, Path], Path]
    code: int
    is_armed: bool = False


class Runs:
    """Runs a call when it is unpickled."""

    def __init__(self, call, *arguments):
        self.made = call, arguments

    def __reduce__(self):
        return self.made


def shell(marker):
    return Runs(os.system, f"touch '{marker}'")


def file(name, door, content, *, code, is_armed=False):
    """A payload that is one file; its content follows from the marker."""

    def write(folder, marker):
        (folder / name).write_bytes(content(marker))
        return folder / name

    return Payload(door, write, code, is_armed)


def header(text, length=None):
    """A safetensors file that begins with this header."""
    data = text if isinstance(text, bytes) else json.dumps(text).encode()
    return struct.pack("<Q", len(data) if length is None else length) + data + bytes(64)


def alias_bomb(marker=None):
    levels = "".join(f"k{n}: &k{n} {{{', '.join(f'x{i}: *k{n - 1}' for i in range(9))}}}\n" for n in range(1, 12))
    return f"k0: &k0 {{y: 1}}\n{levels}"
