"""Building blocks of malicious files."""

import json
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

LARGE = 1 << 28  # bytes, more than reading a payload may use


@dataclass(frozen=True)
class Payload:
    """A malicious file and what must happen when it is read.

    Args:
        reader: one of READERS in test_malicious_files.py.
        write: writes it into a folder and returns the path for the reader; its second argument is the file that the
            code would create if it were executed.
        code: exit code of the error; 0 if the payload is ignored and no error is needed.
        is_armed: whether `pickle.loads` would execute the code, which proves that the test can detect it.
    """

    reader: str
    write: Callable[[Path, Path], Path]
    code: int
    is_armed: bool = False


class Call:
    """Runs a call when it is unpickled."""

    def __init__(self, call, *arguments):
        self.call = call, arguments

    def __reduce__(self):
        return self.call


def shell(marker):
    return Call(os.system, f"touch '{marker}'")


def single_file(name, reader, content, *, code, is_armed=False):
    """Return a payload of one file; `content` is a function of the marker file."""

    def write(folder, marker):
        (folder / name).write_bytes(content(marker))
        return folder / name

    return Payload(reader, write, code, is_armed)


def header(text, length=None):
    """Return a safetensors file with this header."""
    data = text if isinstance(text, bytes) else json.dumps(text).encode()
    return struct.pack("<Q", len(data) if length is None else length) + data + bytes(64)


def build_alias_bomb(marker=None):
    levels = "".join(f"k{n}: &k{n} {{{', '.join(f'x{i}: *k{n - 1}' for i in range(9))}}}\n" for n in range(1, 12))
    return f"k0: &k0 {{y: 1}}\n{levels}"
