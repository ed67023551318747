"""The drawings that `Predictor` accepts: paths, Pillow images, arrays and tensors, one or many.

Images in memory are encoded without loss and then read by the image decoder, so that they give the same page as a file.
"""

import io
import os
from collections.abc import Iterable, Mapping, Set
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageOps
from torch import Tensor

from fastreid.utils.errors import InputError
from fastreid.utils.text import summarize_error

Page = str | os.PathLike[str] | Image.Image | np.ndarray[Any, Any] | Tensor

ALLOWED = (
    "a drawing is a path, a Pillow image, a uint8 or bool array (H, W) or (H, W, 3), or a uint8 or bool tensor (H, W) "
    "or (3, H, W)"
)
_ONE = (str, os.PathLike, Image.Image, np.ndarray, Tensor)
_PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16", "I;16B")
_TIFF_MODES = ("I", "F", "CMYK")


def list_pages(pages: Page | Iterable[Page]) -> list[Page]:
    """Return the drawings of an argument: one drawing, a list, tuple, array or other iterable of them, or a batch.

    Args:
        pages: see `Predictor.__call__`.

    Raises:
        TypeError: a value has a type that is never a drawing.
        InputError: there is no drawing, or a path is empty.
    """
    items: list[Any]
    if isinstance(pages, np.ndarray) and pages.dtype.kind in "UO" and pages.ndim == 1:
        items = list(pages)  # an array of paths
    elif isinstance(pages, Tensor) and pages.ndim == 4:
        items = list(pages)  # a batch
    elif isinstance(pages, _ONE):
        items = [pages]
    elif isinstance(pages, Iterable) and not isinstance(pages, (bytes, bytearray, Mapping, Set)):
        items = list(pages)
    else:
        raise TypeError(f"expected one drawing or a list of drawings, not {type(pages).__name__}; {ALLOWED}")
    for position, item in enumerate(items):
        if not isinstance(item, _ONE):
            hint = "pass one flat list" if isinstance(item, (list, tuple)) else ALLOWED
            raise TypeError(f"drawing {position} is of type {type(item).__name__}; {hint}")
        if isinstance(item, str) and not item:
            raise InputError(f"drawing {position} is an empty path; {ALLOWED}")
    if not items:
        raise InputError("no drawings given; pass at least one path or image")
    return items


def encode_image(page: Image.Image | np.ndarray[Any, Any] | Tensor) -> BinaryIO:
    """Return an image in memory as a PNG or TIFF file in memory, with the same pixels.

    Raises:
        InputError: the array or tensor has a wrong shape or dtype, or is empty; a Pillow image was opened from a file
            that is closed or damaged.
    """
    image = _load_image(page) if isinstance(page, Image.Image) else Image.fromarray(_to_levels(page))
    file = io.BytesIO()
    options = {"dpi": image.info["dpi"]} if "dpi" in image.info else {}
    if image.mode in _TIFF_MODES:
        image.save(file, "TIFF", **options)
    else:
        image.save(file, "PNG", compress_level=1, **options)
    file.seek(0)
    return file


def _load_image(page: Image.Image) -> Image.Image:
    """Return an upright image in a mode that PNG or TIFF files have; the pixels of an opened file are read now."""
    try:
        image = ImageOps.exif_transpose(page)
        if image.mode.startswith("I;16"):  # the other byte orders would be clipped to 8 bits by a conversion
            levels = Image.fromarray(np.asarray(image).astype(np.uint16))
            levels.info = dict(image.info)
            return levels
        if image.mode not in (*_PNG_MODES, *_TIFF_MODES):
            image = image.convert("LA") if image.mode == "La" else image
            image = image.convert("RGBA" if image.mode in ("LA", "PA", "RGBa") else "RGB")
    except Exception as error:  # Pillow raises many types for damaged bytes and closed files
        raise InputError(f"a Pillow image cannot be read ({summarize_error(error)}); open it again or check its file")
    return image


def _to_levels(page: np.ndarray[Any, Any] | Tensor) -> np.ndarray[Any, Any]:
    """Return the levels of an array or tensor, uint8 (H, W), (H, W, 3) or (H, W, 4)."""
    kind = "a tensor" if isinstance(page, Tensor) else "an array"
    levels = page.detach().cpu().numpy() if isinstance(page, Tensor) else page
    if isinstance(page, Tensor) and levels.ndim == 3:
        levels = levels.transpose(1, 2, 0)
    if levels.ndim == 3 and levels.shape[2] == 1:
        levels = levels[:, :, 0]
    is_image = levels.ndim == 2 or (levels.ndim == 3 and levels.shape[2] in (3, 4))
    if levels.dtype not in (np.uint8, np.bool_) or not is_image or not levels.size:
        name = str(page.dtype).removeprefix("torch.")
        fix = "; multiply levels of 0..1 by 255 and convert them" if levels.dtype.kind == "f" else ""
        raise InputError(f"a drawing is {kind} {name} {tuple(page.shape)}; {ALLOWED}, 0 ink to 255 paper{fix}")
    levels = levels * np.uint8(255) if levels.dtype == np.bool_ else levels
    return np.ascontiguousarray(levels)
