"""The image decoder: the same page from every supported format."""

import contextlib
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, TiffTags, UnidentifiedImageError

from fastreid.structures import Drawing
from fastreid.utils.errors import InputError
from fastreid.utils.files import open_regular_file
from fastreid.utils.text import escape_unprintable

FORMATS = ("PNG", "JPEG", "TIFF", "GIF", "BMP")
MAX_PIXELS = 64_000_000

_REDUCING_GAP = 2  # a page is box-averaged down to this many times the requested size and only then resized
_ORIENTATION = 0x0112  # EXIF tag: orientation of the camera or scanner, 1 to 8
_BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339  # TIFF tags
_ALPHA_MODES = ("LA", "La", "PA", "RGBA", "RGBa")
_DEEP_MODES = ("I", "F")

Array = np.ndarray[Any, np.dtype[Any]]


def read_image(
    path: str | os.PathLike[str], *, color: bool = False, max_pixels: int = MAX_PIXELS, longest_px: int = 0
) -> Array:
    """Decode an image file into a page: uint8 (H, W), 0 ink to 255 paper, or (H, W, 3) RGB with `color`.

    The content determines the format, not the file name. EXIF orientation is applied; transparent pixels are white; of
    several frames in one file the first is decoded. 16-bit levels are scaled to 8 bits. In 32-bit integer and float
    files the largest level of the page determines the range (1, 255, 65,535 or full), since paper is white. Every
    checksum of a PNG is verified, because a flipped bit in the pixels would go unnoticed otherwise.

    Args:
        path: image file.
        color: return RGB.
        max_pixels: a page with more pixels is invalid.
        longest_px: reduce a page whose longest side is longer to this many pixels, with its aspect ratio; 0: never.
            The filter is Pillow's antialiased bicubic, applied after averaging boxes of pixels (a JPEG: after decoding
            at 1/8, 1/4 or 1/2) down to no less than twice the size. This is up to twice as fast and differs by half a
            gray level on average.

    Raises:
        InputError: the file is missing, not an image of a known format, larger than `max_pixels`, truncated or corrupt.
    """
    with open_image(path) as file:
        return decode_page(file, path, color=color, max_pixels=max_pixels, longest_px=longest_px)


@contextlib.contextmanager
def open_image(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a file for reading; errors of the file system inside the block become an InputError that names the file."""
    name = escape_unprintable(os.fspath(path))
    try:
        with open(path, "rb", opener=open_regular_file) as file:
            yield file
    except OSError as error:
        raise InputError(f"{name}: cannot be read ({error.strerror or error}); check the path and its permissions")
    except ValueError as error:
        raise InputError(f"{name}: cannot be read ({error}); check the path")


def decode_page(
    file: BinaryIO,
    path: str | os.PathLike[str],
    *,
    color: bool = False,
    max_pixels: int = MAX_PIXELS,
    longest_px: int = 0,
) -> Array:
    """Decode an open file as `read_image` does; messages name `path`."""
    pixels, orientation = _decode(
        file, escape_unprintable(os.fspath(path)), color=color, max_pixels=max_pixels, longest_px=longest_px
    )
    return np.ascontiguousarray(_apply_orientation(pixels, orientation))


@dataclass(frozen=True)
class Header:
    """The properties of an image file, read without its pixels.

    Args:
        format: one of FORMATS.
        mode: Pillow's pixel mode ("1", "L", "RGB", "I;16", ...).
        width, height: px, as stored.
        num_frames: pages or frames in the file; the first is decoded.
        is_rotated: its EXIF orientation rotates or flips the page.
    """

    format: str
    mode: str
    width: int
    height: int
    num_frames: int
    is_rotated: bool


def read_header(path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS) -> Header:
    """Read the header of the image that `read_image` would decode.

    Raises:
        InputError: the file is missing, not an image of a known format, or larger than `max_pixels`.
    """
    name = escape_unprintable(os.fspath(path))
    with open_image(path) as file, _translate_errors(name), Image.open(file, formats=FORMATS) as image:
        _check_size(image, max_pixels)
        # Pillow would decode a whole PNG to find an EXIF tag that does not precede the pixels.
        tags = image.getexif() if image.format != "PNG" or "exif" in image.info else {}
        return Header(
            image.format or "",
            image.mode,
            *image.size,
            num_frames=getattr(image, "n_frames", 1),
            is_rotated=tags.get(_ORIENTATION, 1) != 1,
        )


def read_drawing(drawing: Drawing, *, max_pixels: int = MAX_PIXELS, longest_px: int = 0) -> Array:
    """Decode the page of a drawing, uint8 (H, W); error messages start with the drawing's list and line.

    Args:
        drawing: an image file and its position in a list.
        max_pixels: see `read_image`.
        longest_px: see `read_image`.

    Raises:
        InputError: the file cannot be decoded.
    """
    try:
        return read_image(drawing.path, max_pixels=max_pixels, longest_px=longest_px)
    except InputError as error:
        raise InputError(f"{drawing.source}: {error}" if drawing.source else str(error))


def _decode(file: BinaryIO, name: str, *, color: bool, max_pixels: int, longest_px: int) -> tuple[Array, int]:
    """Return the pixels as stored and the EXIF orientation."""
    with _translate_errors(name), Image.open(file, formats=FORMATS) as image:
        _check_size(image, max_pixels)
        if image.format == "PNG":
            image.verify()
            file.seek(0)
            image = Image.open(file, formats=FORMATS)
        if longest_px:  # only the JPEG decoder implements draft()
            width, height = _reduced_size(image, longest_px)
            image.draft(None, (_REDUCING_GAP * width, _REDUCING_GAP * height))
        image.load()  # applies the orientation of a TIFF and removes the tag
        return _to_array(image, color=color, longest_px=longest_px), image.getexif().get(_ORIENTATION, 1)


@contextlib.contextmanager
def _translate_errors(name: str) -> Iterator[None]:
    """Turn any error that Pillow raises inside into an InputError that names the file."""
    # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error and more on invalid bytes, and warn about
    # damaged tags. Any of these means that the file is not a valid image.
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except InputError as error:
        raise InputError(f"{name}: {error}")
    except UnidentifiedImageError:
        raise InputError(
            f"{name}: not an image; allowed are {', '.join(FORMATS)}; replace the file or remove it from the list"
        )
    except MemoryError:
        raise InputError(f"{name}: not enough memory to decode it; replace the file, or free memory")
    except Exception as error:
        reason = escape_unprintable(str(error)) or type(error).__name__
        raise InputError(f"{name}: a corrupt image ({reason}); replace the file or remove it from the list")


def _check_size(image: Image.Image, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        raise InputError(
            f"{width} x {height} px is more than the {max_pixels} allowed; reduce the image or raise INPUT.MAX_PIXELS"
        )


def _to_array(image: Image.Image, *, color: bool, longest_px: int) -> Array:
    """Return the pixels of a loaded image on white paper, reduced, before its orientation is applied."""
    if image.mode.startswith("I;16") or image.mode in _DEEP_MODES:
        image = Image.fromarray(_to_8_bit(image))
    if image.mode in _ALPHA_MODES or "transparency" in image.info:
        paper = Image.new("RGBA", image.size, "white")
        paper.alpha_composite(image.convert("RGBA"))
        image = paper
    if image.mode not in ("1", "L"):
        image = image.convert("RGB")
    return np.asarray(_reduce(image.convert("RGB" if color else "L"), longest_px))


def _reduce(image: Image.Image, longest_px: int) -> Image.Image:
    size = _reduced_size(image, longest_px)
    return image if size == image.size else image.resize(size, Image.Resampling.BICUBIC, reducing_gap=_REDUCING_GAP)


def _reduced_size(image: Image.Image, longest_px: int) -> tuple[int, int]:
    """Return width and height of the reduced page."""
    scale = min(1.0, longest_px / max(image.size)) if longest_px else 1.0
    return max(1, round(image.width * scale)), max(1, round(image.height * scale))


def _to_8_bit(image: Image.Image) -> Array:
    """Return the gray levels 0..255 of an image with one channel of more than 8 bits."""
    levels: Array = np.asarray(image)
    tags = getattr(image, "tag_v2", {})
    if image.mode.startswith("I;16"):
        white = float(2 ** tags.get(_BITS, (16,))[0] - 1)
    else:
        if image.mode == "I" and tags.get(_SAMPLE_FORMAT, (2,))[0] == 1:
            levels = levels.view(np.uint32)
        white = _white_level(levels)
    scaled = np.rint(levels.astype(np.float64) * (255.0 / white)).clip(0, 255).astype(np.uint8)
    if tags.get(_PHOTOMETRIC) == TiffTags.TAGS_V2[_PHOTOMETRIC].enum["WhiteIsZero"]:
        scaled = 255 - scaled
    transparent = image.info.get("transparency")
    return np.where(levels == transparent, np.uint8(255), scaled) if isinstance(transparent, int) else scaled


def _white_level(levels: Array) -> float:
    """Return the level of white in a 32-bit page, derived from its largest level."""
    if not np.isfinite(levels).all() or levels.min() < 0:
        raise InputError("gray levels below 0, NaN or Inf; save the page with 8 bits")
    largest = levels.max()
    for white in (1.0, 255.0, 65535.0):
        if largest <= white:
            return white
    return float(np.iinfo(levels.dtype).max) if levels.dtype.kind in "iu" else float(largest)


def _apply_orientation(pixels: Array, orientation: int) -> Array:
    """Rotate and flip pixels by the eight cases of EXIF 2.32, table 6; other values mean upright."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels
