"""The image decoder: the same page from every supported format."""

import contextlib
import errno
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from fastreid.data.io.frames import PILLOW_FORMATS, find_orientation, load_frame, open_frame
from fastreid.data.io.pdf import count_pdf_pages, measure_pdf_page, render_pdf_page
from fastreid.data.io.pixels import find_page_size, render_pixels
from fastreid.data.io.source import ImageSource, detect_format
from fastreid.data.io.tiff import count_tiff_pages
from fastreid.structures import Drawing
from fastreid.utils.errors import EnvironmentSetupError, FastreidError, InputError, StorageError
from fastreid.utils.files import open_regular_file
from fastreid.utils.page_address import split_page_address
from fastreid.utils.resources import find_resource_error
from fastreid.utils.text import escape_unprintable

FORMATS = (*PILLOW_FORMATS, "PDF")
MAX_PIXELS = 64_000_000
REPLACE_OR_REMOVE = "; replace the file or remove it"  # ends the message about a damaged file

_PATH_ERRORS = frozenset(  # of a name or its permissions; any other error is one of the disk or the system
    {errno.ENOENT, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.EINVAL, errno.ELOOP}
    | {errno.ENAMETOOLONG}
)

Array = np.ndarray[Any, np.dtype[Any]]


def read_image(
    path: str | os.PathLike[str],
    *,
    page: int = 0,
    color: bool = False,
    max_pixels: int = MAX_PIXELS,
    longest_px: int = 0,
) -> Array:
    """Decode an image file into a page: uint8 (H, W), 0 ink to 255 paper, or (H, W, 3) RGB with `color`.

    The content determines the format, not the file name. Orientation is applied; transparent pixels are white; pixels
    that are not square by the resolution tags become square; of an animation the first frame is decoded. Levels of more
    than 8 bits are scaled so that paper is white (`find_level_range`). Every checksum of a PNG is verified, because a
    flipped bit in the pixels would go unnoticed otherwise.

    Args:
        path: image file, or the address of a page in it, such as "a.tif#page=2".
        page: of a TIFF or PDF, counted from 0, if the path is a file.
        color: return RGB.
        max_pixels: a page with more pixels is invalid.
        longest_px: reduce a page whose longest side is longer to this many pixels, with its aspect ratio; 0: never.
            The filter is Pillow's antialiased bicubic, applied after averaging boxes of pixels (a JPEG: after decoding
            at 1/8, 1/4 or 1/2) down to no less than twice the size. This is up to twice as fast and differs by half a
            gray level on average.

    Raises:
        InputError: the file is missing, not an image of a known format, larger than `max_pixels`, truncated or corrupt.
        StorageError: the disk cannot be read.
        EnvironmentSetupError: a PDF, and pypdfium2 is not installed; or too many files are open.
    """
    with open_image(path) as file:
        return decode_page(file, path, page=page, color=color, max_pixels=max_pixels, longest_px=longest_px)


@contextlib.contextmanager
def open_image(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open the file of a path or page address for reading; errors of the system in the block name the file.

    Raises:
        InputError: the path is wrong, or its permissions are.
        EnvironmentSetupError: too many files are open, or there is not enough memory.
        StorageError: any other error of the system.
    """
    name = escape_unprintable(os.fspath(path))
    try:
        with open(split_page_address(path)[0], "rb", opener=open_regular_file) as file:
            yield file
    except OSError as error:
        raise explain_read_error(name, error)
    except ValueError as error:
        raise InputError(f"{name}: cannot be read ({error}); check the path")


def decode_page(
    file: BinaryIO,
    path: str | os.PathLike[str],
    *,
    page: int = 0,
    color: bool = False,
    max_pixels: int = MAX_PIXELS,
    longest_px: int = 0,
) -> Array:
    """Decode an open file as `read_image` does; messages name `path`."""
    with _open_source(file, path) as source:
        number = _find_page(path, page)
        if detect_format(source) == "PDF":
            pixels = render_pdf_page(source, number, color=color, max_pixels=max_pixels)
            return _reduce(pixels, color=color, longest_px=longest_px)
        with open_frame(source, number, max_pixels=max_pixels) as frame:
            pixels, orientation = load_frame(source, frame, color=color, longest_px=longest_px, max_pixels=max_pixels)
        return np.ascontiguousarray(_apply_orientation(pixels, orientation))


@dataclass(frozen=True)
class Header:
    """The properties of an image file, read without its pixels.

    Args:
        format: one of FORMATS.
        mode: Pillow's pixel mode ("1", "L", "RGB", "I;16", ...).
        width, height: px, as stored; of a PDF as rendered.
        num_frames: pages of a TIFF or PDF, at most MAX_PAGES + 1; of an animation, 2 if there is more than one frame.
        is_rotated: its orientation rotates or flips the page.
    """

    format: str
    mode: str
    width: int
    height: int
    num_frames: int
    is_rotated: bool


def read_header(path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS) -> Header:
    """Read the header of the image that `read_image` would decode; raise what it does."""
    with open_image(path) as file, _open_source(file, path) as source:
        page = _find_page(path, 0)
        kind = detect_format(source)
        if kind == "PDF":
            size = measure_pdf_page(source, page, max_pixels=max_pixels)
            return Header("PDF", "L", *size, num_frames=count_pdf_pages(source), is_rotated=False)
        num_pages = count_tiff_pages(source) if kind == "TIFF" else 0
        with open_frame(source, page, max_pixels=max_pixels) as frame:
            image = frame.image
            # Pillow would decode a whole PNG to find an EXIF tag that does not precede the pixels.
            has_tags = image.format != "PNG" or "exif" in image.info
            return Header(
                image.format or "",
                image.mode,
                *image.size,
                num_frames=num_pages or (2 if getattr(image, "is_animated", False) else 1),
                is_rotated=has_tags and find_orientation(image, frame.tiff) != 1,
            )


def count_pages(path: str | os.PathLike[str]) -> int:
    """Return the number of pages of a TIFF (at most MAX_PAGES + 1) or PDF, and 1 for any other file.

    Raises:
        InputError: the file cannot be opened, or is damaged.
        StorageError: the disk cannot be read.
        EnvironmentSetupError: a PDF, and pypdfium2 is not installed.
    """
    with open_image(path) as file, _open_source(file, path) as source:
        counters = {"PDF": count_pdf_pages, "TIFF": count_tiff_pages}
        count = counters.get(detect_format(source))
        return count(source) if count is not None else 1


def read_drawing(drawing: Drawing, *, color: bool = False, max_pixels: int = MAX_PIXELS, longest_px: int = 0) -> Array:
    """Decode the page of a drawing as `read_image` does; error messages start with the drawing's list and line.

    Args:
        drawing: an image file and its position in a list.
        color: see `read_image`.
        max_pixels: see `read_image`.
        longest_px: see `read_image`.

    Raises:
        InputError: the file cannot be decoded.
        StorageError: the disk cannot be read.
        EnvironmentSetupError: a PDF, and pypdfium2 is not installed.
    """
    try:
        return read_image(drawing.path, color=color, max_pixels=max_pixels, longest_px=longest_px)
    except FastreidError as error:
        raise type(error)(add_source(drawing, str(error)))


def add_source(drawing: Drawing, fault: str) -> str:
    """Return a fault that starts with the drawing's path, with its list and line in front.

    The source of a drawing without a list is the end of its path, which is not repeated.
    """
    is_known = not drawing.source or escape_unprintable(drawing.path).endswith(drawing.source)
    return fault if is_known else f"{drawing.source}: {fault}"


def _find_page(path: str | os.PathLike[str], page: int) -> int:
    """Return the page that an address and an argument name."""
    number = split_page_address(path)[1]
    if page < 0 or (page and number):
        raise InputError(f"page {page} of an address; give the file and a page from 0, or an address alone")
    return number or page


@contextlib.contextmanager
def _open_source(file: BinaryIO, path: str | os.PathLike[str]) -> Iterator[ImageSource]:
    """Return an open file for the decoders; any error inside becomes one that names the file."""
    # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error and more on invalid bytes, and warn about
    # damaged tags. Any of these means that the file is not a valid image, unless reading it failed.
    name = escape_unprintable(os.fspath(path))
    source: ImageSource | None = None
    try:
        source = ImageSource(file)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield source
        error: Exception | None = None
    except Exception as raised:
        error = raised
    read_error = _find_read_error(error, source)
    if read_error is not None:
        raise explain_read_error(name, read_error) from error
    if error is not None:
        raise _explain_error(name, error, num_bytes=None if source is None else source.num_bytes) from error


def _find_read_error(error: Exception | None, source: ImageSource | None) -> OSError | None:
    """Return the error of the disk behind a failure, if there is one; errors of decoders have no number."""
    if source is not None and source.read_error is not None:
        return source.read_error
    return error if isinstance(error, OSError) and error.errno is not None else None


def explain_read_error(name: str, error: OSError) -> FastreidError:
    """Return the error of a run for a file that cannot be read: a wrong path, the disk, or a limit of the machine."""
    resource_error = find_resource_error(error)
    if resource_error is not None:
        return EnvironmentSetupError(f"{name}: cannot be read: {resource_error}")
    reason = error.strerror or str(error)
    if error.errno in _PATH_ERRORS:
        return InputError(f"{name}: cannot be read ({reason}); check the path and its permissions")
    return StorageError(f"{name}: cannot be read: {reason}; check the disk or the network drive, then start again")


def _explain_error(name: str, error: Exception, *, num_bytes: int | None) -> FastreidError:
    """Return the error to raise for one that a decoder raised; the size of the file may be unknown."""
    if isinstance(error, FastreidError):
        return type(error)(f"{name}: {error}")
    if num_bytes == 0:
        return InputError(f"{name}: an empty file (0 bytes){REPLACE_OR_REMOVE}")
    if isinstance(error, UnidentifiedImageError):
        return InputError(f"{name}: not an image; allowed are {', '.join(FORMATS)}{REPLACE_OR_REMOVE}")
    if isinstance(error, MemoryError):
        return InputError(f"{name}: not enough memory to decode it; replace the file, or free memory")
    reason = escape_unprintable(str(error)) or type(error).__name__
    if isinstance(error, Image.DecompressionBombError):
        return InputError(f"{name}: {reason.rstrip('.')}; reduce the image")
    return InputError(f"{name}: a corrupt image ({reason}){REPLACE_OR_REMOVE}")


def _reduce(pixels: Array, *, color: bool, longest_px: int) -> Array:
    """Return a page reduced to a longest side."""
    image = Image.fromarray(pixels)
    size = find_page_size(*image.size, pixel_aspect=1.0, longest_px=longest_px, max_pixels=pixels.size)
    return render_pixels(image, size, color=color, to_8_bit=lambda strip: strip)


def _apply_orientation(pixels: Array, orientation: int) -> Array:
    """Rotate and flip pixels by the eight cases of EXIF 2.32, table 6; other values mean upright."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels
