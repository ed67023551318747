"""TIFF files that Pillow cannot write: any samples, byte order, tags and number of pages."""

import struct

import numpy as np

CODES = {3: "H", 4: "I", 5: "II", 16: "Q"}


def make_tiff_page(levels, *, photometric=1, **tags):
    """Return the tags and strips of a page.

    Args:
        levels: (H, W) or (H, W, C), any dtype of whole bytes.
        photometric: 0 white is zero, 1 black is zero, 2 RGB, 5 CMYK, 6 YCbCr, 8 Lab.
        tags: further tags such as `t338=(0,)`.
    """
    shape = levels.shape if levels.ndim == 3 else (*levels.shape, 1)
    kinds = {"u": 1, "i": 2, "f": 3}
    entries = {
        256: (4, (shape[1],)),
        257: (4, (shape[0],)),
        258: (3, (levels.itemsize * 8,) * shape[2]),
        259: (3, (1,)),
        262: (3, (photometric,)),
        277: (3, (shape[2],)),
        278: (4, (shape[0],)),
        339: (3, (kinds[levels.dtype.kind],) * shape[2]),
    }
    entries |= {int(name[1:]): (5 if int(name[1:]) in (282, 283) else 3, values) for name, values in tags.items()}
    return entries, levels


def make_tiff_file(*pages, order="<", big=False):
    """Return a TIFF, or a BigTIFF, of pages from `make_tiff_page`."""
    link, count = ("Q", "Q") if big else ("I", "H")
    number = 43 if big else 42
    content = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}H", number)
    content += struct.pack(f"{order}HHQ", 8, 0, 0) if big else struct.pack(f"{order}I", 0)
    link_position = len(content) - struct.calcsize(link)
    for entries, levels in pages:
        pixels = levels if isinstance(levels, bytes) else levels.astype(levels.dtype.newbyteorder(order)).tobytes()
        strip, content = len(content), content + pixels + b"\0" * (len(pixels) % 2)
        strips = {} if 324 in entries else {273: (4, (strip,)), 279: (4, (len(pixels),))}
        table = strips | entries
        body, first = b"", len(content)
        size = struct.calcsize(f"={count}") + len(table) * (20 if big else 12) + struct.calcsize(f"={link}")
        extra = b""
        for tag, (kind, values) in sorted(table.items()):
            packed = struct.pack(f"{order}{len(values) // len(CODES[kind]) * CODES[kind]}", *values)
            num = len(values) // len(CODES[kind])
            field = packed.ljust(struct.calcsize(f"={link}"), b"\0")
            if len(packed) > struct.calcsize(f"={link}"):
                field, extra = struct.pack(f"{order}{link}", first + size + len(extra)), extra + packed
            body += struct.pack(f"{order}HH{link}", tag, kind, num) + field
        content = (
            content[:link_position]
            + struct.pack(f"{order}{link}", first)
            + content[link_position + struct.calcsize(f"={link}") :]
        )
        content += struct.pack(f"{order}{count}", len(table)) + body
        link_position = len(content)
        content += struct.pack(f"{order}{link}", 0) + extra + b"\0" * (len(extra) % 2)
    return content


def write_tiff(path, *pages, **options):
    """Write a TIFF of pages from `make_tiff_page`, or of one page of levels, and return the path."""
    made = [make_tiff_page(page) if isinstance(page, np.ndarray) else page for page in pages]
    path.write_bytes(make_tiff_file(*made, **options))
    return path
