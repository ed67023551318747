"""The rectangle of a picture that is searched for."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastreid.data.io.image import Array, read_image
from fastreid.engine.predictor_inputs import Page
from fastreid.utils.errors import InputError

ALLOWED = "x,y,w,h in pixels such as 100,50,300,400, or in percent of the picture such as 10%,5%,30%,40%"
_NUMBER = re.compile(r"[0-9]{1,7}(\.[0-9]{1,9})?")


@dataclass(frozen=True)
class Crop:
    """A rectangle.

    Args:
        box: left, top, width and height.
        is_relative: the numbers are percent of the width and height of the picture, otherwise pixels.
    """

    box: tuple[float, float, float, float]
    is_relative: bool = False


def parse_crop(text: str) -> Crop:
    """Return the rectangle of a text such as "100,50,300,400" or "10%,5%,30%,40%".

    Raises:
        InputError: the text is something else, or the rectangle is empty.
    """
    words = [word.strip() for word in text.split(",")]
    is_relative = all(word.endswith("%") for word in words)
    words = [word.removesuffix("%") for word in words] if is_relative else words
    if len(words) != 4 or not all(map(_NUMBER.fullmatch, words)) or not float(words[2]) * float(words[3]):
        raise InputError(f"the crop {text!r} is invalid; it is {ALLOWED}")
    left, top, width, height = map(float, words)
    return Crop((left, top, width, height), is_relative)


def crop_page(picture: Page, crop: Crop, options: Mapping[str, Any]) -> Array:
    """Return a part of a picture, uint8 (h, w) or (h, w, 3), from the file in full size.

    Args:
        picture: path of the file or address of a page.
        crop: the part.
        options: for `read_image`.

    Raises:
        InputError: the picture is no path or cannot be read, or the crop is outside of it.
    """
    if not isinstance(picture, (str, os.PathLike)):
        raise InputError("a crop needs the path of a picture; crop pictures in memory before the search")
    return cut_array(read_image(picture, **options), crop, os.fspath(picture))


def cut_array(page: Array, crop: Crop, name: str) -> Array:
    """Return a part of a decoded picture, uint8 (H, W) or (H, W, 3).

    Args:
        page: the picture in full size.
        crop: the part.
        name: of the picture, for messages.

    Raises:
        InputError: the crop is outside of the picture.
    """
    height_px, width_px = page.shape[:2]
    left, top, width, height = crop.box
    if crop.is_relative:
        left, width = left * width_px / 100, width * width_px / 100
        top, height = top * height_px / 100, height * height_px / 100
    first_row, first_column = round(top), round(left)
    end_row, end_column = max(round(top + height), first_row + 1), max(round(left + width), first_column + 1)
    part: Array = page[first_row:end_row, first_column:end_column]
    if not part.size:
        raise InputError(f"{name}: the crop is outside of the picture, which has {width_px} x {height_px} px")
    return part
