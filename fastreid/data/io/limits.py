"""Limits that are checked before an image is decoded, so that no file needs much memory or time."""

import re
import struct

from PIL import Image

from fastreid.data.io.source import ImageSource
from fastreid.utils.errors import InputError

MAX_RENDERED_PIXELS = 64_000_000  # of a page that is rendered or gets square pixels; a higher limit has no effect on it
MAX_SCANS = 32  # of a JPEG; libjpeg writes 10, and each is decoded over the whole page
_LARGE_DECODERS = {"WEBP": 4, "JPEG2000": 4}  # bytes per pixel in these decoders, as a multiple of the others'
_MARKER = re.compile(rb"\xff+([\x01-\xcf\xd8-\xfe])")  # followed by 0 or a restart number it belongs to the pixels
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
_START_OF_CODE_STREAM = b"\xff\x4f"
_WITHOUT_LENGTH = (0x01, 0xD8)


def check_size(width: int, height: int, *, max_pixels: int, format: str = "") -> None:
    """Raise InputError if a page has too many pixels for its format."""
    allowed = max_pixels // _LARGE_DECODERS.get(format, 1)
    if width * height > allowed:
        kind = f" in a {format}" if format in _LARGE_DECODERS else ""
        raise InputError(
            f"{width} x {height} px is more than the {allowed} allowed{kind}; reduce the image or raise "
            "INPUT.MAX_PIXELS"
        )


def check_image(image: Image.Image, *, max_pixels: int) -> None:
    """Raise InputError if an opened image has too many pixels for its format."""
    check_size(*image.size, max_pixels=max_pixels, format=image.format or "")


def check_webp(source: ImageSource, *, max_pixels: int) -> None:
    """Check the size of a WebP before Pillow opens it, because its decoder allocates the canvas at once."""
    head = source.read_at(0, 30)
    size = (0, 0)
    if head[12:16] == b"VP8X" and len(head) == 30:
        size = (int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1)
    elif head[12:16] == b"VP8L" and len(head) >= 25:
        bits = int.from_bytes(head[21:25], "little")
        size = ((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    elif head[12:16] == b"VP8 " and len(head) == 30:
        width, height = struct.unpack("<HH", head[26:30])
        size = (width & 0x3FFF, height & 0x3FFF)
    check_size(*size, max_pixels=max_pixels, format="WEBP")


def check_jpeg2000_end(source: ImageSource) -> None:
    """Raise InputError if a JPEG 2000 is cut off: its decoder would fill the missing part with black.

    The code stream is a separate file or the content of the box "jp2c" (ISO/IEC 15444-1, annexes A and I).
    """
    start, end = 0, source.num_bytes
    if source.read_at(0, 2) != _START_OF_CODE_STREAM:
        while start + 8 <= source.num_bytes:
            length, kind = struct.unpack(">I4s", source.read_at(start, 8))
            if length == 1 and start + 16 <= source.num_bytes:
                length = int.from_bytes(source.read_at(start + 8, 8), "big")
            end = start + length if length else source.num_bytes
            if kind == b"jp2c" or (length < 8 and length):
                break
            start = end
    if end > source.num_bytes or source.read_at(end - 2, 2) != bytes((0xFF, _END_OF_IMAGE)):
        raise InputError("a JPEG 2000 that is cut off; copy or save it again")


def check_jpeg_scans(source: ImageSource) -> None:
    """Raise InputError if a JPEG has more than MAX_SCANS scans."""
    content, position, num_scans = source.read_at(0, source.num_bytes), 2, 0
    if content.count(bytes((0xFF, _START_OF_SCAN))) <= MAX_SCANS:  # fast, and never less than the number of scans
        return
    while (match := _MARKER.search(content, position)) is not None:
        marker, position = match[1][0], match.end()
        if marker == _END_OF_IMAGE:
            return
        num_scans += marker == _START_OF_SCAN
        if num_scans > MAX_SCANS:
            raise InputError(f"a JPEG with more than {MAX_SCANS} scans, which takes too long; save it again")
        if marker not in _WITHOUT_LENGTH:
            position += int.from_bytes(content[position : position + 2], "big")
