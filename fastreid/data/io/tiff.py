"""Pages of TIFF files: which images of a file are pages, and what their tags say.

Source: Adobe, "TIFF Revision 6.0", 1992; Aware Systems, "BigTIFF Design".
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastreid.data.io.source import ImageSource
from fastreid.utils.errors import InputError

MAX_PAGES = 1000  # of a file

_MAX_ENTRIES = 4096  # of a directory
_MAX_VALUES = 64  # read from one tag here; the decoder reads the long ones
_MAX_COPIED_BYTES = 1 << 24  # of tags
_NEW_SUBFILE_TYPE, _SUBFILE_TYPE = 254, 255
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _ORIENTATION = 256, 257, 258, 259, 262, 274
_MAX_SAMPLE, _TILE_WIDTH, _TILE_HEIGHT, _EXTRA_SAMPLES, _SAMPLE_FORMAT = 281, 322, 323, 338, 339
_PIXEL_TAGS = ((273, 279), (324, 325))  # positions and numbers of bytes of strips, and of tiles
_UNCOMPRESSED, _OLD_JPEG = 1, 6
_REDUCED, _MASK = 1, 4  # bits of NewSubfileType
_WHITE_IS_ZERO, _BLACK_IS_ZERO = 0, 1
_UNSIGNED, _SIGNED = 1, 2
# Type -> bytes, and for whole numbers (struct code, bytes); only these are read here.
_VALUE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_INTEGERS = {1: ("B", 1), 3: ("H", 2), 4: ("I", 4), 6: ("b", 1), 8: ("h", 2), 9: ("i", 4), 16: ("Q", 8)}
# The tags that decoding needs. Others, such as profiles, thumbnails and comments, are not passed to the decoder.
_DECODED_TAGS = frozenset(
    {*range(256, 260), 262, 266, 273, *range(277, 280), 282, 283, 284, 292, 293, 296, 317, 320, *range(322, 326)}
    | {332, 338, 339, 347, *range(512, 522), *range(529, 533)}
)


@dataclass(frozen=True)
class TiffPage:
    """One page.

    Args:
        source: the file as one with this page only, upright and with black as zero where there are more than 8 bits.
        width, height: px, as stored.
        orientation: 1 to 8, as in EXIF.
        bits: of a sample.
        is_inverted: white is zero, and the decoder does not invert the levels.
        is_white_zero: white is zero (WhiteIsZero); the decoder inverts the levels unless `is_inverted`.
        is_unsigned: samples are unsigned integers.
        has_alpha: an extra sample is declared as alpha.
        max_level: the largest possible level according to the file; 0 if it is not stated.
        description: of the samples, for messages.
    """

    source: ImageSource
    width: int
    height: int
    orientation: int
    bits: int
    is_inverted: bool
    is_white_zero: bool
    is_unsigned: bool
    has_alpha: bool
    max_level: int
    description: str


class _Directory:
    """An image file directory: its entries, and the position of the next one."""

    def __init__(self, source: ImageSource, layout: "_Layout", offset: int):
        self.source, self.layout = source, layout
        head = source.read_at(offset, layout.count_bytes)
        num = layout.unpack(layout.count_code, head)
        if not 0 < num <= _MAX_ENTRIES:
            raise InputError(f"a corrupt image (a TIFF directory with {num} tags); replace the file")
        body = source.read_at(offset + layout.count_bytes, num * layout.entry_bytes + layout.link_bytes)
        self.next = layout.unpack(layout.link_code, body[num * layout.entry_bytes :])
        entries = [body[row * layout.entry_bytes : (row + 1) * layout.entry_bytes] for row in range(num)]
        self.entries: Mapping[int, bytes] = {layout.unpack("H", entry[:2]): entry for entry in entries}

    def read(self, tag: int) -> tuple[int, ...]:
        """Return the first values of a tag; empty if it is absent or has no integers."""
        entry, layout = self.entries.get(tag), self.layout
        if entry is None:
            return ()
        kind, count = layout.unpack("H", entry[2:4]), layout.unpack(layout.link_code, entry[4 : 4 + layout.link_bytes])
        if kind not in _INTEGERS:
            return ()
        code, size = _INTEGERS[kind]
        value = entry[4 + layout.link_bytes :]
        num = min(count, _MAX_VALUES)
        if count * size > len(value):
            value = self.source.read_at(layout.unpack(layout.link_code, value), num * size)
        num = min(num, len(value) // size)
        return struct.unpack(f"{layout.order}{num}{code}", value[: num * size])

    def read_long(self, tag: int) -> np.ndarray:
        """Return all values of a tag, uint64 (N,); empty if it is absent, cut off or has no unsigned integers."""
        kind, content = self.copy_values(self.entries.get(tag, b""))
        if kind not in _INTEGERS or not _INTEGERS[kind][0].isupper():
            return np.empty(0, np.uint64)
        return np.frombuffer(content, f"{self.layout.order}u{_INTEGERS[kind][1]}").astype(np.uint64)

    def copy_values(self, entry: bytes) -> tuple[int, bytes]:
        """Return the type of an entry and the bytes of its values; (0, b"") if they are cut off or of no known type."""
        layout = self.layout
        if len(entry) < layout.entry_bytes:
            return 0, b""
        kind, size = layout.unpack("H", entry[2:4]), layout.count_bytes_of_values(entry)
        content = entry[4 + layout.link_bytes :]
        if size > len(content):
            content = self.source.read_at(layout.unpack(layout.link_code, content), size)
        return (kind, content[:size]) if 0 < size <= len(content) else (0, b"")

    def read_one(self, tag: int, default: int) -> int:
        """Return the first value of a tag."""
        return (self.read(tag) or (default,))[0]

    @property
    def is_page(self) -> bool:
        """Whether it is neither a thumbnail nor a mask."""
        return not self.read_one(_NEW_SUBFILE_TYPE, 0) & (_REDUCED | _MASK) and self.read_one(_SUBFILE_TYPE, 1) != 2


class _Layout:
    """Byte order and sizes of a classic TIFF or a BigTIFF."""

    def __init__(self, source: ImageSource):
        head = source.read_at(0, 16)
        self.order = "<" if head.startswith(b"II") else ">"
        self.is_big = head[2:4] in (b"+\0", b"\0+")
        if self.is_big and self.order == ">":
            raise InputError("a big-endian BigTIFF, which Pillow cannot read; save it as a classic TIFF")
        self.count_code, self.count_bytes = ("Q", 8) if self.is_big else ("H", 2)
        self.link_code, self.link_bytes = ("Q", 8) if self.is_big else ("I", 4)
        self.entry_bytes = 20 if self.is_big else 12
        self.link_position = 8 if self.is_big else 4
        self.first = self.unpack(self.link_code, head[self.link_position :])

    def unpack(self, code: str, content: bytes) -> Any:
        size = struct.calcsize(f"{self.order}{code}")
        if len(content) < size:
            raise InputError("a corrupt image (the TIFF directory is cut off); replace the file")
        return struct.unpack(f"{self.order}{code}", content[:size])[0]

    def count_bytes_of_values(self, entry: bytes) -> int:
        """Return the number of bytes of the values of an entry; 0 if their type is unknown."""
        count = int(self.unpack(self.link_code, entry[4 : 4 + self.link_bytes]))
        return count * _VALUE_BYTES.get(self.unpack("H", entry[2:4]), 0)

    def pack(self, code: str, number: int) -> bytes:
        return struct.pack(f"{self.order}{code}", number)


def count_tiff_pages(source: ImageSource) -> int:
    """Return the number of pages, at most MAX_PAGES + 1; thumbnails and masks are not pages."""
    return sum(1 for _ in _find_pages(source))


def open_tiff_page(source: ImageSource, page: int, *, max_pixels: int) -> TiffPage:
    """Return a page, counted from 0.

    Raises:
        InputError: there is no such page, or the file is damaged.
    """
    num = 0
    for num, directory in enumerate(_find_pages(source), start=1):
        if num == page + 1:
            return _describe_page(directory, max_pixels=max_pixels)
    raise InputError(f"has no page {page + 1}; it has {num}")


def _find_pages(source: ImageSource) -> Iterator[_Directory]:
    """Yield the directories of pages; the first directory if none is a page."""
    layout = _Layout(source)
    offset, seen, num_pages = layout.first, set[int](), 0
    while offset and offset not in seen:
        if len(seen) > 2 * MAX_PAGES or num_pages > MAX_PAGES:
            return
        seen.add(offset)
        try:
            directory = _Directory(source, layout, offset)
        except InputError:
            if num_pages:  # a damaged end does not hide the pages before it
                return
            raise
        if directory.is_page:
            num_pages += 1
            yield directory
        offset = directory.next
    if not num_pages:
        yield _Directory(source, layout, layout.first)


def _describe_page(directory: _Directory, *, max_pixels: int) -> TiffPage:
    width, height = directory.read_one(_WIDTH, 0), directory.read_one(_HEIGHT, 0)
    tile = directory.read_one(_TILE_WIDTH, 1) * directory.read_one(_TILE_HEIGHT, 1)
    if tile > max(max_pixels, 1 << 20):
        raise InputError(f"a corrupt image (tiles of {tile} px); replace the file")
    bits, photometric = directory.read_one(_BITS, 1), directory.read_one(_PHOTOMETRIC, _WHITE_IS_ZERO)
    sample_format = directory.read_one(_SAMPLE_FORMAT, _UNSIGNED)
    is_inverted = bits > 8 and photometric == _WHITE_IS_ZERO
    replaced: dict[int, int] = {}
    if is_inverted:
        replaced[_PHOTOMETRIC] = _BLACK_IS_ZERO
    if bits == 32 and sample_format == _UNSIGNED:  # Pillow reads 32 bits as signed in both byte orders
        replaced[_SAMPLE_FORMAT] = _SIGNED
    kind = {_UNSIGNED: "unsigned", _SIGNED: "signed", 3: "float"}.get(sample_format, f"format {sample_format}")
    return TiffPage(
        _extract_directory(directory, replaced),
        width,
        height,
        orientation=directory.read_one(_ORIENTATION, 1),
        bits=bits,
        is_inverted=is_inverted,
        is_white_zero=photometric == _WHITE_IS_ZERO,
        is_unsigned=sample_format == _UNSIGNED,
        has_alpha=bool({1, 2} & set(directory.read(_EXTRA_SAMPLES))),
        max_level=directory.read_one(_MAX_SAMPLE, 0),
        description=f"{kind} samples of {directory.read(_BITS) or (1,)} bits, photometric interpretation {photometric}"
        f", compression {directory.read_one(_COMPRESSION, 1)}",
    )


def _extract_directory(directory: _Directory, replaced: Mapping[int, int]) -> ImageSource:
    """Return a file with a single directory that has the needed tags and some other values.

    It contains only the pixels of this page if they are compressed, because Pillow reads a whole file to decode one
    page. Otherwise, or if the tags do not say where all pixels are, it is the file with the directory at its end.
    """
    layout, source = directory.layout, directory.source
    entries = {tag: entry for tag, entry in directory.entries.items() if tag in _DECODED_TAGS}
    for tag, number in replaced.items():
        field = layout.pack("H", number).ljust(layout.link_bytes, b"\0")
        entries[tag] = layout.pack("H", tag) + layout.pack("H", 3) + layout.pack(layout.link_code, 1) + field
    excerpt = _extract_pixels(directory, entries)
    if excerpt is not None:
        return excerpt
    padding = b"\0" * (source.num_bytes % 2)
    tail = layout.pack(layout.count_code, len(entries)) + b"".join(entry for _, entry in sorted(entries.items()))
    link = layout.pack(layout.link_code, source.num_bytes + len(padding))
    return source.patched({layout.link_position: link}, padding + tail + layout.pack(layout.link_code, 0))


def _extract_pixels(directory: _Directory, entries: Mapping[int, bytes]) -> ImageSource | None:
    """Return a file of some entries of a directory and the pixels to which they point; None if it cannot be made."""
    layout, source = directory.layout, directory.source
    tags = [pair for pair in _PIXEL_TAGS if entries.keys() & set(pair)]
    if len(tags) != 1 or directory.read_one(_COMPRESSION, _UNCOMPRESSED) in (_UNCOMPRESSED, _OLD_JPEG):
        return None  # the second has pixels and tables at other positions
    starts, nums = (directory.read_long(tag) for tag in tags[0])
    size = np.uint64(source.num_bytes)
    if not 0 < len(starts) == len(nums) or (starts > size).any() or (nums > size - starts).any() or not nums.all():
        return None
    if sum(map(layout.count_bytes_of_values, entries.values())) > _MAX_COPIED_BYTES:
        return None
    values = {tag: directory.copy_values(entry) for tag, entry in entries.items()}
    if not all(content for _, content in values.values()):  # damaged, which the decoder reports
        return None
    values[tags[0][0]] = (16 if layout.is_big else 4), bytes(len(starts) * layout.link_bytes)
    body_start = layout.link_position + layout.link_bytes
    body_start += layout.count_bytes + len(values) * layout.entry_bytes + layout.link_bytes
    num_bytes = sum(len(content) for _, content in values.values() if len(content) > layout.link_bytes)
    spans, positions = _merge_spans(starts, nums)
    positions += np.uint64(body_start + num_bytes)
    values[tags[0][0]] = values[tags[0][0]][0], positions.astype(f"{layout.order}u{layout.link_bytes}").tobytes()
    table, body = b"", b""
    for tag, (kind, content) in sorted(values.items()):
        num = len(content) // _VALUE_BYTES[kind]
        field = content.ljust(layout.link_bytes, b"\0")
        if len(content) > layout.link_bytes:
            field, body = layout.pack(layout.link_code, body_start + len(body)), body + content
        table += layout.pack("H", tag) + layout.pack("H", kind) + layout.pack(layout.link_code, num) + field
    head = source.read_at(0, layout.link_position)
    head += layout.pack(layout.link_code, len(head) + layout.link_bytes) + layout.pack(layout.count_code, len(values))
    return source.excerpt(head + table + layout.pack(layout.link_code, 0) + body, spans)


def _merge_spans(starts: np.ndarray, nums: np.ndarray) -> tuple[list[tuple[int, int]], np.ndarray]:
    """Return the parts of a file that spans cover, and the position of each span in these parts joined.

    Spans may overlap, so that the parts are never larger than the file.

    Args:
        starts, nums: uint64 (N,), position and number of bytes of each span.

    Returns:
        (position, number of bytes) of each part, and uint64 (N,).
    """
    order = np.argsort(starts)
    first, last = starts[order], np.maximum.accumulate((starts + nums)[order])
    is_new = np.append(True, first[1:] > last[:-1])
    part_starts, part_ends = first[is_new], last[np.append(is_new[1:], True)]
    part_nums = part_ends - part_starts
    rows = np.searchsorted(part_starts, starts, side="right") - 1
    joined = np.cumsum(part_nums) - part_nums
    return list(zip(part_starts.tolist(), part_nums.tolist())), joined[rows] + starts - part_starts[rows]
