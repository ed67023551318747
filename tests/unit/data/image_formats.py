"""One page in every mode and container: name -> what writes it into a folder and gives its path."""

import struct
import zlib

import numpy as np
from PIL import Image, ImageCms

ORIENTATION = 0x0112


def page(*, bilevel=False):
    """A page no symmetry maps to itself: a frame, a slope of greys (or a diagonal), white elsewhere."""
    levels = np.full((18, 26), 255, np.uint8)
    levels[2:16, 3] = levels[2, 3:20] = 0
    if bilevel:
        levels[np.arange(5, 12), np.arange(6, 13)] = 0
    else:
        levels[5:12, 6:20] = np.arange(14) * 15
    return levels


def raw_tiff(levels, *, sample_format, photometric=1):
    """An uncompressed little-endian TIFF of one channel, as Pillow does not write it."""
    height, width = levels.shape
    tags = [
        *((256, 4, width), (257, 4, height), (258, 3, levels.itemsize * 8), (259, 3, 1), (262, 3, photometric)),
        *((273, 4, 8), (277, 3, 1), (278, 4, height), (279, 4, levels.nbytes), (339, 3, sample_format)),
    ]
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    head = b"II*\0" + struct.pack("<I", 8 + levels.nbytes)
    return head + levels.tobytes() + struct.pack("<H", len(tags)) + entries + b"\0\0\0\0"


def with_hole(mode):
    """The page with its white paper made transparent, and black beneath."""
    levels = page()
    alpha = np.where(levels == 255, 0, 255).astype(np.uint8)
    grey = np.where(levels == 255, 0, levels).astype(np.uint8)
    bands = [grey, alpha] if mode == "LA" else [grey, grey, grey, alpha]
    return Image.fromarray(np.stack(bands, axis=2), mode=None)


def grey_palette():
    image = Image.fromarray(page()).convert("P")
    image.putpalette([level for grey in range(256) for level in (grey, grey, grey)])
    return image


def transparent_palette():
    """Index 255 is black in the palette and transparent: the paper."""
    image = Image.fromarray(page())
    image = image.convert("P")
    image.putpalette([level for grey in range(255) for level in (grey, grey, grey)] + [0, 0, 0])
    return image


def save(name, image, **options):
    def write(folder):
        image().save(folder / name, **options)
        return folder / name

    return write


def raw(name, content):
    def write(folder):
        (folder / name).write_bytes(content())
        return folder / name

    return write


def several(name, **options):
    return save(name, grey, save_all=True, append_images=[Image.new("L", (26, 18), 90)], **options)


def grey():
    return Image.fromarray(page())


def inverted_with_key(mode):
    """The page where one level stands for paper: 7, which is transparent."""
    levels = page()
    levels[levels == 255] = 7
    return Image.fromarray(levels).convert(mode)


SAME = {
    "png grey": save("a.png", grey),
    "png RGB": save("a.png", lambda: grey().convert("RGB")),
    "png palette": save("a.png", grey_palette),
    "png 16 bit": save("a.png", lambda: Image.fromarray(page().astype(np.uint16) * 257)),
    "png grey and alpha": save("a.png", lambda: with_hole("LA")),
    "png RGB and alpha": save("a.png", lambda: with_hole("RGBA")),
    "png transparent palette": save("a.png", transparent_palette, transparency=255),
    "png transparent palette by bytes": save("a.png", transparent_palette, transparency=b"\xff" * 255 + b"\0"),
    "png transparent grey level": save("a.png", lambda: inverted_with_key("L"), transparency=7),
    "png transparent RGB level": save("a.png", lambda: inverted_with_key("RGB"), transparency=(7, 7, 7)),
    "tiff LZW": save("a.tif", grey, compression="tiff_lzw"),
    "tiff deflate RGB": save("a.tif", lambda: grey().convert("RGB"), compression="tiff_adobe_deflate"),
    "tiff alpha": save("a.tif", lambda: with_hole("RGBA")),
    "tiff 16 bit": save("a.tif", lambda: Image.fromarray(page().astype(np.uint16) * 257)),
    "tiff 16 bit white is zero": raw(
        "a.tif", lambda: raw_tiff((255 - page().astype(np.uint16)) * 257, sample_format=1, photometric=0)
    ),
    "tiff 32 bit, 0..255": save("a.tif", lambda: Image.fromarray(page().astype(np.int32))),
    "tiff 32 bit, 0..65535": save("a.tif", lambda: Image.fromarray(page().astype(np.int32) * 257)),
    "tiff 32 bit unsigned": raw("a.tif", lambda: raw_tiff(page().astype(np.uint32) * 0x01010101, sample_format=1)),
    "tiff float, 0..1": save("a.tif", lambda: Image.fromarray(page().astype(np.float32) / 255)),
    "tiff float, 0..255": save("a.tif", lambda: Image.fromarray(page().astype(np.float32))),
    "tiff float white is zero": raw(
        "a.tif", lambda: raw_tiff(1 - page().astype(np.float32) / 255, sample_format=3, photometric=0)
    ),
    "tiff CMYK": save("a.tif", lambda: grey().convert("CMYK")),
    "tiff of two pages": several("a.tif"),
    "gif": save("a.gif", grey),
    "gif of two pictures": several("a.gif"),
    "gif transparent": save("a.gif", transparent_palette, transparency=255),
    "bmp grey": save("a.bmp", grey),
    "bmp RGB": save("a.bmp", lambda: grey().convert("RGB")),
    "a name that lies": save("a.jpg", grey, format="PNG"),
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
    "jpeg grey": save("a.jpg", grey, quality=100),
    "jpeg RGB": save("a.jpg", lambda: grey().convert("RGB"), quality=100, subsampling=0),
    "jpeg CMYK": save("a.jpg", lambda: grey().convert("CMYK"), quality=100),
    "jpeg of two pictures": several("a.jpg", format="MPO", quality=100),
}


HELD = [
    (2, lambda levels: levels[:, ::-1]),
    (3, lambda levels: levels[::-1, ::-1]),
    (4, lambda levels: levels[::-1]),
    (5, lambda levels: levels.T),
    (6, lambda levels: np.rot90(levels, 1)),
    (7, lambda levels: levels[::-1, ::-1].T),
    (8, lambda levels: np.rot90(levels, -1)),
]


def turned(suffix, orientation, held):
    """The page as it is held askew, with the tag that tells so."""

    def write(folder):
        image = Image.fromarray(np.ascontiguousarray(held(page())))
        exif = image.getexif()
        exif[ORIENTATION] = orientation
        image.save(folder / f"a.{suffix}", exif=exif, **({"quality": 100} if suffix == "jpg" else {}))
        return folder / f"a.{suffix}"

    return write


def interlaced():
    """The page as a PNG whose rows come in the seven passes of Adam7, which Pillow does not write."""
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
    "png interlaced": raw("a.png", interlaced),
    "png with a colour profile": save("a.png", lambda: grey().convert("RGB"), icc_profile=profile()),
    "tiff with a colour profile": save("a.tif", lambda: grey().convert("RGB"), icc_profile=profile()),
    "tiff packed bits": save("a.tif", grey, compression="packbits"),
}
LOSSY |= {
    "jpeg progressive": save("a.jpg", grey, quality=100, progressive=True),
    "jpeg with half the colour": save("a.jpg", lambda: grey().convert("RGB"), quality=100, subsampling=2),
    "jpeg with a colour profile": save("a.jpg", lambda: grey().convert("RGB"), quality=100, icc_profile=profile()),
    "tiff YCbCr": save("a.tif", lambda: grey().convert("YCbCr")),
}
