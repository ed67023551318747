"""The one decoder: the same page whatever file it came in."""

import contextlib
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from PIL import Image, TiffTags

from fastreid.data.io.messages import one_line
from fastreid.structures import Drawing
from fastreid.utils.errors import InputError
from fastreid.utils.files import only_regular

FORMATS = ("PNG", "JPEG", "TIFF", "GIF", "BMP")
MAX_PIXELS = 64_000_000

_KEPT = 2  # a page is averaged down to this many times the size that is wanted, and only then resized
_ORIENTATION = 0x0112  # EXIF tag: how the camera or scanner was held, 1 to 8
_BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339  # TIFF tags
_ALPHA_MODES = ("LA", "La", "PA", "RGBA", "RGBa")
_DEEP_MODES = ("I", "F")


def read_image(
    path: str | os.PathLike, *, color: bool = False, max_pixels: int = MAX_PIXELS, longest_px: int = 0
) -> np.ndarray:
    """The page an image file shows: uint8 (H, W), 0 ink to 255 paper, or (H, W, 3) RGB when asked for colour.

    The format is told by the content, not the name. EXIF orientation is applied; what is transparent is white; of
    several pictures in one file the first counts. 16-bit levels are scaled to 8; in 32-bit integer and float files the
    largest level on the page tells the range (1, 255, 65,535 or full), since paper is white. For PNG every checksum is
    checked, because a flipped bit in the pixels goes unseen otherwise.

    Args:
        path: of the file.
        color: give RGB.
        max_pixels: a larger page is refused.
        longest_px: a page whose longest side is longer is reduced to it, aspect kept; 0: never. It is Pillow's
            antialiased bicubic on a page that whole boxes of pixels were averaged on (a JPEG: that was decoded at an
            eighth, a quarter or half) down to twice the size and more, which is up to twice as fast and in the mean
            half a grey level away.

    Raises:
        InputError: the file is missing, no image of a known format, larger than `max_pixels`, cut short or corrupt.
    """
    with open_image(path) as file:
        return page_of(file, path, color=color, max_pixels=max_pixels, longest_px=longest_px)


@contextlib.contextmanager
def open_image(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """A file opened to be read; what fails inside for want of it is an InputError that names it."""
    name = one_line(os.fspath(path))
    try:
        with open(path, "rb", opener=only_regular) as file:
            yield file
    except OSError as error:
        raise InputError(f"{name}: cannot be read ({error.strerror or error}); check the path and its rights")
    except ValueError as error:
        raise InputError(f"{name}: cannot be read ({error}); check the path")


def page_of(
    file: BinaryIO,
    path: str | os.PathLike,
    *,
    color: bool = False,
    max_pixels: int = MAX_PIXELS,
    longest_px: int = 0,
) -> np.ndarray:
    """`read_image` for a file that is open; the path is for messages."""
    pixels, orientation = _decode(
        file, one_line(os.fspath(path)), color=color, max_pixels=max_pixels, longest_px=longest_px
    )
    return np.ascontiguousarray(_upright(pixels, orientation))


@dataclass(frozen=True)
class Header:
    """What an image file says of itself, without its pixels.

    Args:
        format: one of FORMATS.
        mode: of its pixels, in Pillow's words ("1", "L", "RGB", "I;16", ...).
        width, height: px, as stored.
        num_pictures: pages or frames; the first counts.
        is_turned: whether its EXIF orientation says that it is to be turned.
    """

    format: str
    mode: str
    width: int
    height: int
    num_pictures: int
    is_turned: bool


def read_header(path: str | os.PathLike, *, max_pixels: int = MAX_PIXELS) -> Header:
    """What `read_image` would decode, told from the file's first bytes.

    Raises:
        InputError: the file is missing, no image of a known format, or larger than `max_pixels`.
    """
    name = one_line(os.fspath(path))
    with open_image(path) as file, _told(name), Image.open(file, formats=FORMATS) as image:
        _check_size(image, max_pixels)
        # A PNG without the tag in front of its pixels would be decoded in search of it.
        tags = image.getexif() if image.format != "PNG" or "exif" in image.info else {}
        return Header(
            image.format or "",
            image.mode,
            *image.size,
            num_pictures=getattr(image, "n_frames", 1),
            is_turned=tags.get(_ORIENTATION, 1) != 1,
        )


def read_drawing(drawing: Drawing, *, max_pixels: int = MAX_PIXELS, longest_px: int = 0) -> np.ndarray:
    """The page of a drawing, uint8 (H, W); an image that cannot be read is told with the list's line."""
    try:
        return read_image(drawing.path, max_pixels=max_pixels, longest_px=longest_px)
    except InputError as error:
        raise InputError(f"{drawing.source}: {error}" if drawing.source else str(error))


def _decode(file: BinaryIO, name: str, *, color: bool, max_pixels: int, longest_px: int) -> tuple[np.ndarray, int]:
    with _told(name), Image.open(file, formats=FORMATS) as image:
        _check_size(image, max_pixels)
        if image.format == "PNG":
            image.verify()
            file.seek(0)
            image = Image.open(file, formats=FORMATS)
        if longest_px:  # JPEG alone listens
            width, height = _reduced_size(image, longest_px)
            image.draft(None, (_KEPT * width, _KEPT * height))
        image.load()  # turns a TIFF upright by itself and takes the tag away
        return _page(image, color=color, longest_px=longest_px), image.getexif().get(_ORIENTATION, 1)


@contextlib.contextmanager
def _told(name: str) -> Iterator[None]:
    """Turn whatever Pillow raises inside into an InputError that names the file."""
    # Its decoders raise OSError, SyntaxError, ValueError, struct.error and more on bad bytes, and warn of damaged tags;
    # whatever they raise here means that this file is not a sound image.
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except InputError as error:
        raise InputError(f"{name}: {error}")
    except Image.UnidentifiedImageError:
        raise InputError(
            f"{name}: not an image; allowed are {', '.join(FORMATS)}; replace the file or take it off the list"
        )
    except MemoryError:
        raise InputError(f"{name}: not enough memory to decode it; replace the file, or free memory")
    except Exception as error:
        reason = one_line(str(error)) or type(error).__name__
        raise InputError(f"{name}: a corrupt image ({reason}); replace the file or take it off the list")


def _check_size(image: Image.Image, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        raise InputError(
            f"{width} x {height} px is more than the {max_pixels} allowed; make it smaller or raise INPUT.MAX_PIXELS"
        )


def _page(image: Image.Image, *, color: bool, longest_px: int) -> np.ndarray:
    """The pixels of a loaded image on white paper, before its orientation is applied."""
    if image.mode.startswith("I;16") or image.mode in _DEEP_MODES:
        image = Image.fromarray(_deep_levels(image))
    if image.mode in _ALPHA_MODES or "transparency" in image.info:
        paper = Image.new("RGBA", image.size, "white")
        paper.alpha_composite(image.convert("RGBA"))
        image = paper
    if image.mode not in ("1", "L"):
        image = image.convert("RGB")
    return np.asarray(_reduced(image.convert("RGB" if color else "L"), longest_px))


def _reduced(image: Image.Image, longest_px: int) -> Image.Image:
    size = _reduced_size(image, longest_px)
    return image if size == image.size else image.resize(size, Image.Resampling.BICUBIC, reducing_gap=_KEPT)


def _reduced_size(image: Image.Image, longest_px: int) -> tuple[int, int]:
    """Width and height of the reduced page."""
    share = min(1.0, longest_px / max(image.size)) if longest_px else 1.0
    return max(1, round(image.width * share)), max(1, round(image.height * share))


def _deep_levels(image: Image.Image) -> np.ndarray:
    """Grey levels 0..255 of a page with one channel of more than 8 bits."""
    levels = np.asarray(image)
    tags = getattr(image, "tag_v2", {})
    if image.mode.startswith("I;16"):
        top = float(2 ** tags.get(_BITS, (16,))[0] - 1)
    else:
        if image.mode == "I" and tags.get(_SAMPLE_FORMAT, (2,))[0] == 1:
            levels = levels.view(np.uint32)
        top = _range_top(levels)
    scaled = np.rint(levels.astype(np.float64) * (255.0 / top)).clip(0, 255).astype(np.uint8)
    if tags.get(_PHOTOMETRIC) == TiffTags.TAGS_V2[_PHOTOMETRIC].enum["WhiteIsZero"]:
        scaled = 255 - scaled
    transparent = image.info.get("transparency")
    return np.where(levels == transparent, np.uint8(255), scaled) if isinstance(transparent, int) else scaled


def _range_top(levels: np.ndarray) -> float:
    """The level that means white in a 32-bit page, judged by its largest."""
    if not np.isfinite(levels).all() or levels.min() < 0:
        raise InputError("grey levels below 0, NaN or Inf; save the page with 8 bits")
    largest = levels.max()
    for top in (1.0, 255.0, 65535.0):
        if largest <= top:
            return top
    return float(np.iinfo(levels.dtype).max) if levels.dtype.kind in "iu" else float(largest)


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Undo how the page was held, by the eight cases of EXIF 2.32, table 6; other numbers mean upright."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels
