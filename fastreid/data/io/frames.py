"""Open one image of a file with Pillow, and load it into a page."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, cast

from PIL import Image, UnidentifiedImageError

from fastreid.data.io.levels import (
    Array,
    find_level_range,
    find_mask_levels,
    find_signed_levels,
    find_truncated_range,
    read_png_bits,
)
from fastreid.data.io.libtiff import raise_libtiff_errors
from fastreid.data.io.limits import (
    MAX_RENDERED_PIXELS,
    check_image,
    check_jpeg2000_end,
    check_jpeg_scans,
    check_size,
    check_webp,
)
from fastreid.data.io.pixels import REDUCING_GAP, find_page_size, read_pixel_aspect, render_pixels
from fastreid.data.io.source import ImageSource, detect_format
from fastreid.data.io.tiff import TiffPage, open_tiff_page
from fastreid.utils.errors import InputError

PILLOW_FORMATS = ("PNG", "JPEG", "TIFF", "GIF", "BMP", "WEBP", "JPEG2000")

_ORIENTATION = 0x0112  # EXIF tag: orientation of the camera or scanner, 1 to 8
_DEEP_MODES = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")


@dataclass(frozen=True)
class Frame:
    """An opened image, whose pixels are not loaded yet.

    Args:
        image: by Pillow.
        tiff: its tags, if it is a TIFF.
    """

    image: Image.Image
    tiff: TiffPage | None


@contextlib.contextmanager
def open_frame(source: ImageSource, page: int, *, max_pixels: int) -> Iterator[Frame]:
    """Open a page of a TIFF, or the first image of a file of another format.

    Args:
        source: the file.
        page: counted from 0.
        max_pixels: a larger image is invalid.

    Raises:
        InputError: there is no such page, or it is too large.
    """
    kind = detect_format(source)
    tiff = None
    if kind == "TIFF":
        tiff = open_tiff_page(source, page, max_pixels=max_pixels)
        check_size(tiff.width, tiff.height, max_pixels=max_pixels)
        source = tiff.source
    elif page:
        raise InputError(f"has no page {page + 1}; only TIFF and PDF files have pages")
    if kind == "JPEG":
        check_jpeg_scans(source)
    elif kind == "WEBP":
        check_webp(source, max_pixels=max_pixels)
    elif kind == "JPEG2000":
        check_jpeg2000_end(source)
    source.seek(0)
    try:
        image = Image.open(cast(IO[bytes], source), formats=PILLOW_FORMATS)
    except UnidentifiedImageError:
        if tiff is None:
            raise
        raise InputError(f"a TIFF with {tiff.description} cannot be read; save the page with 8 bits")
    with image:
        check_image(image, max_pixels=max_pixels)
        yield Frame(image, tiff)


def load_frame(
    source: ImageSource, frame: Frame, *, color: bool, longest_px: int, max_pixels: int
) -> tuple[Array, int]:
    """Return the pixels of a frame as stored, and its orientation as in EXIF; arguments as for `read_image`."""
    image = frame.image
    if image.format == "PNG":
        image.verify()  # checksums of the pixels
        source.seek(0)
        image = Image.open(cast(IO[bytes], source), formats=("PNG",))
    aspect = read_pixel_aspect(image)
    stored_size = image.size
    limit = min(max_pixels, MAX_RENDERED_PIXELS)
    size = find_page_size(*stored_size, pixel_aspect=aspect, longest_px=longest_px, max_pixels=limit)
    if longest_px:  # only the JPEG decoder implements draft()
        image.draft(None, (REDUCING_GAP * size[0], REDUCING_GAP * size[1]))
    with raise_libtiff_errors():
        image.load()
    if image.size != stored_size:  # a draft, or a first frame that is larger than its canvas
        check_image(image, max_pixels=max_pixels)
    to_8_bit = _find_conversion(source, image, frame.tiff)
    return render_pixels(image, size, color=color, to_8_bit=to_8_bit), find_orientation(image, frame.tiff)


def find_orientation(image: Image.Image, tiff: TiffPage | None) -> int:
    """Return the orientation of an image as in EXIF, 1 to 8; that of a TIFF is in its tags."""
    return tiff.orientation if tiff is not None else int(image.getexif().get(_ORIENTATION, 1))


def _find_conversion(
    source: ImageSource, image: Image.Image, tiff: TiffPage | None
) -> Callable[[Image.Image], Image.Image]:
    """Return the function that converts a part of a loaded image to 8 bits without a meaningless alpha channel."""
    bits, significant_bits = read_png_bits(source) if image.format == "PNG" else (tiff.bits if tiff else 8, 0)
    if image.mode in _DEEP_MODES:
        return find_level_range(image, tiff, stated_bits=significant_bits).convert
    if _alpha_is_meaningless(image, tiff):
        return lambda strip: strip.convert("RGB")
    if image.mode == "L" and tiff is not None and not tiff.is_unsigned:
        signed = find_signed_levels(image)
        return lambda strip: strip.point(signed)
    mask = find_mask_levels(image, tiff)
    if mask is not None:
        return lambda strip: strip.point(mask)
    scale = find_truncated_range(image, bits=bits) if image.mode in ("RGB", "RGBA", "LA", "CMYK") else None
    if scale is not None:
        return lambda strip: strip.point(scale)
    return lambda strip: strip


def _alpha_is_meaningless(image: Image.Image, tiff: TiffPage | None) -> bool:
    """Return whether an alpha channel is 0 everywhere in a format that does not state that it is one."""
    is_stated = image.format != "BMP" and not (tiff is not None and not tiff.has_alpha)
    return image.mode == "RGBA" and not is_stated and image.getchannel("A").getextrema() == (0, 0)
