"""Gray levels of more than 8 bits as 8 bits: paper is white, for any range of the levels."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from fastreid.data.io.source import ImageSource
from fastreid.data.io.tiff import TiffPage
from fastreid.utils.errors import InputError

DEPTHS = (1, *range(8, 17))  # bits; a level of paper is in the upper half of the smallest that holds it
STRIP_PIXELS = 1 << 19  # converted at a time

_LOSSY = ("jpeg", "tiff_jpeg", "webp")  # Pillow's names of compressions of a TIFF
_NOMINAL_FLOATS = (1.0, 255.0, 65535.0)
_PNG_HEADER_BYTES = 33
_MAX_CHUNKS = 1000

Array = np.ndarray


@dataclass(frozen=True)
class LevelRange:
    """How the levels of a page become gray levels.

    Args:
        black, white: levels of ink and paper; other levels are clipped.
        is_inverted: the largest level is ink.
        is_unsigned: Pillow's signed 32-bit levels are unsigned.
        transparent: a level that is transparent, or None.
    """

    black: float
    white: float
    is_inverted: bool = False
    is_unsigned: bool = False
    transparent: int | None = None

    def convert(self, image: Image.Image) -> Image.Image:
        """Return an image of more than 8 bits, or a part of it, with 8."""
        levels = _read_levels(image, is_unsigned=self.is_unsigned)
        scaled = levels.astype(np.float64)
        scaled -= self.black
        scaled *= 255.0 / (self.white - self.black)
        gray = np.rint(scaled, out=scaled).clip(0, 255, out=scaled).astype(np.uint8)
        if self.is_inverted:
            gray = 255 - gray
        return Image.fromarray(gray if self.transparent is None else np.where(levels == self.transparent, 255, gray))


def split_strips(image: Image.Image, *, multiple: int = 1) -> Iterator[tuple[int, Image.Image]]:
    """Yield (first row, strip) of an image from top to bottom.

    Args:
        image: any image.
        multiple: the height of each strip but the last is a multiple of this.
    """
    rows = max(1, STRIP_PIXELS // image.width // multiple) * multiple
    if image.height <= rows:
        yield 0, image
        return
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(image.height, top + rows)))


def find_level_range(image: Image.Image, tiff: TiffPage | None, *, stated_bits: int) -> LevelRange:
    """Return the range of a loaded image with one channel of more than 8 bits.

    Integers of 16 bits: white is the stated largest level (TIFF: BitsPerSample below 16, or MaxSampleValue; PNG: sBIT)
    if no level is above it, else the largest level of the smallest depth in DEPTHS that holds all levels. So do
    integers of 32 bits up to 65,535; above, the largest level is white. Floats: 1, 255 or 65,535 is white if the
    largest level is between half of it and it, else the largest level is; if there are negative levels, the smallest is
    black and the largest white.

    Args:
        image: a loaded image of mode I, F or I;16.
        tiff: its tags, if it is a TIFF.
        stated_bits: significant bits according to the file; 0: unknown.

    Raises:
        InputError: NaN, Inf, negative integers, or a page with a single negative level.
    """
    transparent = image.info.get("transparency")
    found = LevelRange(
        0.0,
        1.0,
        is_inverted=tiff is not None and tiff.is_inverted,
        is_unsigned=tiff is not None and tiff.is_unsigned and tiff.bits == 32,
        transparent=transparent if isinstance(transparent, int) else None,
    )
    smallest, largest = _measure(image, is_unsigned=found.is_unsigned)
    if image.mode == "F":
        black, white = _float_range(smallest, largest)
        return replace(found, black=black, white=white)
    if smallest < 0:
        raise InputError(f"gray levels from {smallest:.0f}; save the page with 8 bits")
    if tiff is not None and (tiff.bits < 16 or tiff.max_level):
        stated = tiff.max_level or 2**tiff.bits - 1
    else:
        stated = 2**stated_bits - 1
    if stated > 0 and largest <= stated:
        return replace(found, white=float(stated))
    depths = [2.0**bits - 1 for bits in DEPTHS if largest < 2**bits]
    return replace(found, white=depths[0] if depths else largest)


def find_mask_levels(image: Image.Image, tiff: TiffPage | None) -> Callable[[int], int] | None:
    """Return how to scale the levels of a gray page of 8 bits that is a mask: its levels are 0 and 1, and it has both.

    By TIFF 6.0 both levels of such a page are black, or white with WhiteIsZero. No drawing is meant that way.

    Args:
        image: a loaded image.
        tiff: its tags, if it is a TIFF.

    Returns:
        A function of a level, or None if the levels need no scaling.
    """
    # A lossy format gives a uniform page such levels; other formats have palettes. Reading the first row is fast, and
    # enough for most other pages.
    if image.mode != "L" or image.format not in ("PNG", "TIFF") or image.info.get("compression") in _LOSSY:
        return None
    base = 254 if tiff is not None and tiff.bits == 8 and tiff.is_white_zero else 0  # after the decoder's inversion
    top = np.asarray(image.crop((0, 0, image.width, 1)))
    is_mask = base <= top.min() and top.max() <= base + 1 and image.getextrema() == (base, base + 1)
    return (lambda level: 255 * min(1, max(0, level - base))) if is_mask else None


def find_signed_levels(image: Image.Image) -> Callable[[int], int]:
    """Return how to scale the levels of a gray page of signed 8 bits, which Pillow reads as unsigned: 127 is white.

    Raises:
        InputError: a level is negative.
    """
    used = [level for level, num in enumerate(image.histogram()) if num]
    if used[-1] > 127:
        smallest = next(level for level in used if level > 127) - 256
        raise InputError(f"gray levels from {smallest}; save the page with unsigned levels")
    white = 1 if used == [0, 1] else 127
    return lambda level: min(255, round(level * 255 / white))


def find_truncated_range(image: Image.Image, *, bits: int) -> Callable[[int], int] | None:
    """Return how to scale the levels of a color page of 16 bits, of which Pillow keeps the upper 8.

    Args:
        image: a loaded image with several channels.
        bits: of a sample in the file.

    Returns:
        A function of a level, or None if the levels need no scaling.

    Raises:
        InputError: all levels are below 256, so that nothing is left of them.
    """
    if bits != 16 or image.mode == "CMYK":  # whose paper is 0
        return None
    bands = np.reshape(image.getextrema(), (-1, 2))
    if image.mode in ("LA", "RGBA") and tuple(bands[-1]) == (255, 255):
        bands = bands[:-1]
    elif image.mode in ("LA", "RGBA") and (bands[-1].max() == 0 or bands.max() >= 128):
        return (
            None  # paper may be transparent instead of white; below 128 nothing is opaque, so alpha has fewer bits too
        )
    largest = int(bands.max())
    if largest == 0:
        raise InputError("color levels of 16 bits that are all below 256; save the page with 8 bits")
    white = next(2**depth - 1 for depth in range(1, 9) if largest < 2**depth)  # of 9 to 16 bits
    return None if white == 255 else lambda level: min(255, round(level * 255 / white))


def read_png_bits(source: ImageSource) -> tuple[int, int]:
    """Return the bits of a sample of a PNG, and its significant bits (chunk sBIT) or 0."""
    head = source.read_at(0, _PNG_HEADER_BYTES)
    position, significant = _PNG_HEADER_BYTES, 0
    for _ in range(_MAX_CHUNKS):
        chunk = source.read_at(position, 9)
        if len(chunk) < 9 or chunk[4:8] == b"IDAT":
            break
        if chunk[4:8] == b"sBIT":
            significant = chunk[8]
        position += 12 + int.from_bytes(chunk[:4], "big")
    return (head[24] if len(head) == _PNG_HEADER_BYTES else 8), significant


def _float_range(smallest: float, largest: float) -> tuple[float, float]:
    """Return the levels of black and white of a float page."""
    if smallest < 0:
        if largest == smallest:
            raise InputError(f"gray levels that are all {smallest:g}; save the page with 8 bits")
        return smallest, largest
    nominal = [white for white in _NOMINAL_FLOATS if white / 2 <= largest <= white]
    return 0.0, (nominal or [largest or 1.0])[0]


def _measure(image: Image.Image, *, is_unsigned: bool) -> tuple[float, float]:
    """Return the smallest and the largest level."""
    smallest, largest = np.inf, -np.inf
    for _, strip in split_strips(image):
        levels = _read_levels(strip, is_unsigned=is_unsigned)
        darkest, brightest = float(levels.min()), float(levels.max())
        if not np.isfinite([darkest, brightest]).all():  # both are NaN if any level is
            raise InputError("gray levels that are NaN or Inf; save the page with 8 bits")
        smallest, largest = min(smallest, darkest), max(largest, brightest)
    return smallest, largest


def _read_levels(image: Image.Image, *, is_unsigned: bool) -> Array:
    levels = np.asarray(image)
    return levels.view(np.uint32) if is_unsigned and levels.dtype == np.int32 else levels
