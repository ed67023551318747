"""Image files as the decoders read them."""

import io
import os
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, BinaryIO, cast

PDF_HEADER_BYTES = 1024  # a PDF may start with other bytes before "%PDF-"


class ImageSource(io.RawIOBase):
    """A file opened for reading, with some bytes replaced and others appended.

    It has no file descriptor, so that every byte is read here, and an error of the disk is not taken for a damaged
    image: decoders replace such errors by their own.

    Args:
        file: the open file; it is not closed.
        patches: position -> bytes that replace those of the file.
        tail: bytes that follow the end of the file.
    """

    def __init__(self, file: BinaryIO, *, patches: Mapping[int, bytes] | None = None, tail: bytes = b""):
        super().__init__()
        self.file = file
        self.read_error: OSError | None = None
        self._patches = dict(patches or {})
        self._tail = tail
        self._size = int(self._call(file.seek, 0, os.SEEK_END))
        self._position = 0

    @property
    def num_bytes(self) -> int:
        """Size of the file in bytes, without the tail."""
        return self._size

    def patched(self, patches: Mapping[int, bytes], tail: bytes) -> "ImageSource":
        """Return a source of the same file with other bytes."""
        return ImageSource(self.file, patches=patches, tail=tail)

    def excerpt(self, head: bytes, spans: Sequence[tuple[int, int]]) -> "ImageSource":
        """Return a source of some bytes, followed by parts of this one.

        Args:
            head: the first bytes.
            spans: position and number of bytes of each part; each is inside the file and not empty.
        """
        return ImageSource(cast(BinaryIO, _Excerpt(self, head, spans)))

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Set the position and return it."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size + len(self._tail)}[whence]
        if start + offset < 0:
            raise ValueError(f"negative position {start + offset}")
        self._position = start + offset
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        """Return up to `size` bytes from the position; all if it is negative or None."""
        end = self._size + len(self._tail)
        num = end - self._position if size is None or size < 0 else min(size, end - self._position)
        return self.read_at(self._position, max(0, num), move=True)

    def readall(self) -> bytes:
        """Return all bytes from the position."""
        return self.read()

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer from the position and return the number of bytes."""
        content = self.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def read_at(self, position: int, num: int, *, move: bool = False) -> bytes:
        """Return up to `num` bytes from a position.

        Args:
            position: of the first byte.
            num: number of bytes; fewer are returned at the end.
            move: set the position to the end of these bytes; otherwise it stays.
        """
        content = b""
        if position < self._size:
            self._call(self.file.seek, position)
            content = self._call(self.file.read, min(num, self._size - position))
        if position + num > self._size and self._tail:
            start = max(0, position - self._size)
            content += self._tail[start : start + num - len(content)]
        for start, replacement in self._patches.items():
            if start < position + len(content) and position < start + len(replacement):
                content = _overlay(content, start - position, replacement)
        if move:
            self._position = position + len(content)
        return content

    def _call(self, function: Any, *args: Any) -> Any:
        try:
            return function(*args)
        except OSError as error:
            self.read_error = error
            raise


class _Excerpt:
    """The part of a file object that `ImageSource` needs, for some bytes and parts of another source."""

    def __init__(self, source: ImageSource, head: bytes, spans: Sequence[tuple[int, int]]):
        self._source, self._head, self._spans = source, head, spans
        self._starts = list(accumulate((num for _, num in spans), initial=len(head)))  # and the end
        self._position = 0

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._position = offset + (self._starts[-1] if whence == os.SEEK_END else 0)
        return self._position

    def read(self, num: int) -> bytes:
        start, end = self._position, min(self._position + num, self._starts[-1])
        parts = [self._head[start:end]]
        for row in range(max(0, bisect_right(self._starts, start) - 1), len(self._spans)):
            first = self._starts[row]
            if first >= end:
                break
            position, length = self._spans[row]
            skipped = max(0, start - first)
            parts.append(self._source.read_at(position + skipped, min(length, end - first) - skipped))
        self._position = max(start, end)
        return parts[0] if len(parts) == 1 else b"".join(parts)


def detect_format(source: ImageSource) -> str:
    """Return PDF, TIFF, JPEG, JPEG2000, WEBP or "" for any other content."""
    head = source.read_at(0, PDF_HEADER_BYTES)
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "TIFF"
    if head.startswith(b"\xff\xd8"):
        return "JPEG"
    if head.startswith((b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  \r\n\x87\n")):
        return "JPEG2000"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    return "PDF" if b"%PDF-" in head else ""


def _overlay(content: bytes, start: int, replacement: bytes) -> bytes:
    """Return the content with a replacement at a start, which may be negative."""
    skipped = max(0, -start)
    first = max(0, start)
    part = replacement[skipped : skipped + len(content) - first]
    return content[:first] + part + content[first + len(part) :]
