"""The same page in every mode and file format: name -> function that writes it into a folder and returns the path."""

import struct
import zlib

import numpy as np
from PIL import Image, ImageCms
from tiff_files import make_tiff_file, make_tiff_page

ORIENTATION = 0x0112


def page(*, bilevel=False):
    """Return a page without symmetries: a frame, a gray gradient (bilevel: a diagonal) and white elsewhere."""
    levels = np.full((18, 26), 255, np.uint8)
    levels[2:16, 3] = levels[2, 3:20] = 0
    if bilevel:
        levels[np.arange(5, 12), np.arange(6, 13)] = 0
    else:
        levels[5:12, 6:20] = np.arange(14) * 15
    return levels


def make_tiff(levels, *, sample_format, photometric=1):
    """Return an uncompressed little-endian TIFF of one channel, which Pillow cannot write."""
    height, width = levels.shape
    tags = [
        *((256, 4, width), (257, 4, height), (258, 3, levels.itemsize * 8), (259, 3, 1), (262, 3, photometric)),
        *((273, 4, 8), (277, 3, 1), (278, 4, height), (279, 4, levels.nbytes), (339, 3, sample_format)),
    ]
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    head = b"II*\0" + struct.pack("<I", 8 + levels.nbytes)
    return head + levels.tobytes() + struct.pack("<H", len(tags)) + entries + b"\0\0\0\0"


def make_bmp(alpha, *, header_bytes):
    """Return the page as a 32-bit BMP with an alpha channel (V4: 108 bytes, V5: 124 bytes), which Pillow cannot write.

    Args:
        alpha: (H, W), integers.
        header_bytes: size of the header.
    """
    rows = b"".join(bytes((v, v, v, a)) for v, a in zip(page()[::-1].ravel().tolist(), alpha[::-1].ravel().tolist()))
    header = struct.pack("<IiiHHIIiiII", header_bytes, 26, 18, 1, 32, 3, len(rows), 0, 0, 0, 0)
    header += struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    header = header.ljust(header_bytes, b"\0")
    offset = 14 + len(header)
    return b"BM" + struct.pack("<IHHI", offset + len(rows), 0, 0, offset) + header + rows


def with_alpha(mode):
    """Return the page with transparent paper that is black underneath."""
    levels = page()
    alpha = np.where(levels == 255, 0, 255).astype(np.uint8)
    gray = np.where(levels == 255, 0, levels).astype(np.uint8)
    bands = [gray, alpha] if mode == "LA" else [gray, gray, gray, alpha]
    return Image.fromarray(np.stack(bands, axis=2), mode=None)


def gray_palette():
    image = Image.fromarray(page()).convert("P")
    image.putpalette([level for gray in range(256) for level in (gray, gray, gray)])
    return image


def transparent_palette():
    """Return the page with index 255, the paper, black in the palette and transparent."""
    image = Image.fromarray(page())
    image = image.convert("P")
    image.putpalette([level for gray in range(255) for level in (gray, gray, gray)] + [0, 0, 0])
    return image


def save(name, image, **options):
    def write(folder):
        image().save(folder / name, **options)
        return folder / name

    return write


def write_bytes(name, content):
    def write(folder):
        (folder / name).write_bytes(content())
        return folder / name

    return write


def save_frames(name, **options):
    return save(name, gray, save_all=True, append_images=[Image.new("L", (26, 18), 90)], **options)


def gray():
    return Image.fromarray(page())


def with_transparent_level(mode):
    """Return the page with level 7 for paper, which the file declares transparent."""
    levels = page()
    levels[levels == 255] = 7
    return Image.fromarray(levels).convert(mode)


SAME = {
    "png gray": save("a.png", gray),
    "png RGB": save("a.png", lambda: gray().convert("RGB")),
    "png palette": save("a.png", gray_palette),
    "png 16 bit": save("a.png", lambda: Image.fromarray(page().astype(np.uint16) * 257)),
    "png gray and alpha": save("a.png", lambda: with_alpha("LA")),
    "png RGB and alpha": save("a.png", lambda: with_alpha("RGBA")),
    "png transparent palette": save("a.png", transparent_palette, transparency=255),
    "png transparent palette by bytes": save("a.png", transparent_palette, transparency=b"\xff" * 255 + b"\0"),
    "png transparent gray level": save("a.png", lambda: with_transparent_level("L"), transparency=7),
    "png transparent RGB level": save("a.png", lambda: with_transparent_level("RGB"), transparency=(7, 7, 7)),
    "tiff LZW": save("a.tif", gray, compression="tiff_lzw"),
    "tiff deflate RGB": save("a.tif", lambda: gray().convert("RGB"), compression="tiff_adobe_deflate"),
    "tiff alpha": save("a.tif", lambda: with_alpha("RGBA")),
    "tiff 16 bit": save("a.tif", lambda: Image.fromarray(page().astype(np.uint16) * 257)),
    "tiff 16 bit white is zero": write_bytes(
        "a.tif", lambda: make_tiff((255 - page().astype(np.uint16)) * 257, sample_format=1, photometric=0)
    ),
    "tiff 32 bit, 0..255": save("a.tif", lambda: Image.fromarray(page().astype(np.int32))),
    "tiff 32 bit, 0..65535": save("a.tif", lambda: Image.fromarray(page().astype(np.int32) * 257)),
    "tiff 32 bit unsigned": write_bytes(
        "a.tif", lambda: make_tiff(page().astype(np.uint32) * 0x01010101, sample_format=1)
    ),
    "tiff float, 0..1": save("a.tif", lambda: Image.fromarray(page().astype(np.float32) / 255)),
    "tiff float, 0..255": save("a.tif", lambda: Image.fromarray(page().astype(np.float32))),
    "tiff float white is zero": write_bytes(
        "a.tif", lambda: make_tiff(1 - page().astype(np.float32) / 255, sample_format=3, photometric=0)
    ),
    "tiff CMYK": save("a.tif", lambda: gray().convert("CMYK")),
    "tiff of two frames": save_frames("a.tif"),
    "gif": save("a.gif", gray),
    "gif of two frames": save_frames("a.gif"),
    "gif transparent": save("a.gif", transparent_palette, transparency=255),
    "bmp gray": save("a.bmp", gray),
    "bmp RGB": save("a.bmp", lambda: gray().convert("RGB")),
    "a name of another format": save("a.jpg", gray, format="PNG"),
}
BILEVEL = {
    "png 1 bit": save("a.png", lambda: Image.fromarray(page(bilevel=True)).convert("1")),
    "tiff G4": save("a.tif", lambda: Image.fromarray(page(bilevel=True)).convert("1"), compression="group4"),
    "tiff 1 bit": save("a.tif", lambda: Image.fromarray(page(bilevel=True)).convert("1")),
    "bmp 1 bit": save("a.bmp", lambda: Image.fromarray(page(bilevel=True)).convert("1")),
    "gif 1 bit": save("a.gif", lambda: Image.fromarray(page(bilevel=True)).convert("1")),
    "tiff 32 bit, 0 and 1": save("a.tif", lambda: Image.fromarray((page(bilevel=True) // 255).astype(np.int32))),
}
LOSSY = {
    "jpeg gray": save("a.jpg", gray, quality=100),
    "jpeg RGB": save("a.jpg", lambda: gray().convert("RGB"), quality=100, subsampling=0),
    "jpeg CMYK": save("a.jpg", lambda: gray().convert("CMYK"), quality=100),
    "jpeg of two frames": save_frames("a.jpg", format="MPO", quality=100),
}


ORIENTATIONS = [
    (2, lambda levels: levels[:, ::-1]),
    (3, lambda levels: levels[::-1, ::-1]),
    (4, lambda levels: levels[::-1]),
    (5, lambda levels: levels.T),
    (6, lambda levels: np.rot90(levels, 1)),
    (7, lambda levels: levels[::-1, ::-1].T),
    (8, lambda levels: np.rot90(levels, -1)),
]


def save_rotated(suffix, orientation, rotate):
    """Return a function that writes the rotated page with its EXIF orientation."""

    def write(folder):
        image = Image.fromarray(np.ascontiguousarray(rotate(page())))
        exif = image.getexif()
        exif[ORIENTATION] = orientation
        image.save(folder / f"a.{suffix}", exif=exif, **({"quality": 100} if suffix == "jpg" else {}))
        return folder / f"a.{suffix}"

    return write


def interlaced():
    """Return the page as an interlaced PNG (seven passes of Adam7), which Pillow cannot write."""
    levels, rows = page(), b""
    for top, left, down, right in (
        (0, 0, 8, 8),
        (0, 4, 8, 8),
        (4, 0, 8, 4),
        (0, 2, 4, 4),
        (2, 0, 4, 2),
        (0, 1, 2, 2),
        (1, 0, 2, 1),
    ):
        rows += b"".join(b"\0" + row.tobytes() for row in levels[top::down, left::right])
    head = struct.pack(">IIBBBBB", levels.shape[1], levels.shape[0], 8, 0, 0, 0, 1)
    parts = [(b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    chunks = [
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in parts
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def profile():
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


SAME |= {
    "png interlaced": write_bytes("a.png", interlaced),
    "png with a color profile": save("a.png", lambda: gray().convert("RGB"), icc_profile=profile()),
    "tiff with a color profile": save("a.tif", lambda: gray().convert("RGB"), icc_profile=profile()),
    "tiff packed bits": save("a.tif", gray, compression="packbits"),
}
LOSSY |= {
    "jpeg progressive": save("a.jpg", gray, quality=100, progressive=True),
    "jpeg with half the color": save("a.jpg", lambda: gray().convert("RGB"), quality=100, subsampling=2),
    "jpeg with a color profile": save("a.jpg", lambda: gray().convert("RGB"), quality=100, icc_profile=profile()),
    "tiff YCbCr": save("a.tif", lambda: gray().convert("YCbCr")),
}


def in_16_bits(bits):
    """Return the page with levels of fewer bits in 16."""
    return Image.fromarray(np.rint(page() / 255 * (2**bits - 1)).astype(np.uint16))


def big_endian(levels, *, photometric=1):
    return make_tiff_file(make_tiff_page(levels, photometric=photometric), order=">")


SAME |= {
    "png 8 bits in 16": save("a.png", lambda: in_16_bits(8)),
    "png 11 bits in 16": save("a.png", lambda: in_16_bits(11)),
    "png 12 bits in 16": save("a.png", lambda: in_16_bits(12)),
    "tiff 12 bits in 16": save("a.tif", lambda: in_16_bits(12)),
    "tiff float, 0..1000": save("a.tif", lambda: Image.fromarray(page().astype(np.float32) / 255 * 1000)),
    "tiff 16 bit big-endian": write_bytes("a.tif", lambda: big_endian(page().astype(np.uint16) * 257)),
    "tiff 16 bit big-endian white is zero": write_bytes(
        "a.tif", lambda: big_endian((255 - page().astype(np.uint16)) * 257, photometric=0)
    ),
    "tiff 32 bit big-endian": write_bytes("a.tif", lambda: big_endian(page().astype(np.uint32) * 0x01010101)),
    "tiff 32 bit white is zero": write_bytes(
        "a.tif", lambda: make_tiff((255 - page().astype(np.uint32)) * 0x01010101, sample_format=1, photometric=0)
    ),
    "bmp 32 bit, alpha 0": write_bytes("a.bmp", lambda: make_bmp(np.zeros((18, 26), int), header_bytes=108)),
    "webp lossless": save("a.webp", lambda: gray().convert("RGB"), lossless=True),
    "jpeg 2000 lossless": save("a.jp2", gray, irreversible=False),
}
