"""Pixels of a decoded image as a page: on white paper, gray, reduced, with square pixels."""

from collections.abc import Callable

import numpy as np
from PIL import Image

from fastreid.data.io.levels import Array, split_strips

REDUCING_GAP = 2  # a page is box-averaged down to this many times the requested size and only then resized

_ALPHA_MODES = ("LA", "La", "PA", "RGBA", "RGBa")
_SAME_ASPECT, _MAX_ASPECT = 1.02, 20.0  # of a pixel: smaller differences are rounding, larger ones wrong tags


def find_page_size(
    width: int, height: int, *, pixel_aspect: float, longest_px: int, max_pixels: int
) -> tuple[int, int]:
    """Return width and height of the page made from an image.

    Args:
        width, height: px of the image.
        pixel_aspect: height / width of a pixel; the shorter side of the pixels is kept, so that no detail is lost.
        longest_px: longest side of the page at most; 0: any.
        max_pixels: of the page with square pixels; a larger one is reduced.
    """
    wide, high = width * max(1.0, 1 / pixel_aspect), height * max(1.0, pixel_aspect)
    scale = min(1.0, longest_px / max(wide, high)) if longest_px else 1.0
    largest = (max_pixels / (wide * high)) ** 0.5
    if pixel_aspect != 1.0 and scale > largest:
        return max(1, int(wide * largest)), max(1, int(high * largest))
    return max(1, round(wide * scale)), max(1, round(high * scale))


def read_pixel_aspect(image: Image.Image) -> float:
    """Return height / width of a pixel by the resolution tags; 1.0 if they are absent, equal or nonsense."""
    info = image.info
    resolution = info.get("dpi") or info.get("resolution") or info.get("aspect")
    if resolution is None and info.get("jfif_unit") == 0:
        resolution = info.get("jfif_density")
    try:
        per_width, per_height = (float(value) for value in resolution or (1, 1))
        aspect = per_width / per_height
    except (TypeError, ValueError, ZeroDivisionError):
        return 1.0
    larger = max(aspect, 1 / aspect) if aspect > 0 else 1.0
    return aspect if _SAME_ASPECT < larger <= _MAX_ASPECT else 1.0


def render_pixels(
    image: Image.Image, size: tuple[int, int], *, color: bool, to_8_bit: Callable[[Image.Image], Image.Image]
) -> Array:
    """Return the pixels of a loaded image as a page, uint8 (H, W) or (H, W, 3) with `color`.

    The image is converted in strips, so that little memory is needed in addition to the image and the page.

    Args:
        image: the loaded image.
        size: width and height of the page.
        color: return RGB.
        to_8_bit: converts a strip to 8 bits, or returns it as it is.
    """
    # As in Image.resize(reducing_gap=...), whose result is the same.
    factors = (
        max(1, int(image.width / size[0] / REDUCING_GAP)),
        max(1, int(image.height / size[1] / REDUCING_GAP)),
    )
    width, height = -(-image.width // factors[0]), -(-image.height // factors[1])
    page = np.empty((height, width, 3) if color else (height, width), np.uint8)
    mode = "RGB" if color else "L"
    for top, strip in split_strips(image, multiple=factors[1]):
        part = _convert(to_8_bit(strip), mode)
        rows = np.asarray(part.reduce(factors) if factors != (1, 1) else part)
        page[top // factors[1] :][: len(rows)] = rows
    if (width, height) == size:
        return page
    box = (0, 0, image.width / factors[0], image.height / factors[1])
    return np.asarray(Image.fromarray(page).resize(size, Image.Resampling.BICUBIC, box=box))


def _convert(strip: Image.Image, mode: str) -> Image.Image:
    """Return a strip on white paper as gray or RGB."""
    if strip.mode in _ALPHA_MODES or "transparency" in strip.info:
        paper = Image.new("RGBA", strip.size, "white")
        paper.alpha_composite(strip.convert("RGBA"))
        strip = paper
    if strip.mode not in ("1", "L", "RGB"):
        strip = strip.convert("RGB")
    return strip if strip.mode == mode else strip.convert(mode)
