"""The rectangle of a picture: its text, its rounding, and its part of the picture."""

import numpy as np
import pytest

from fastreid.index.crop import cut_array, parse_crop
from fastreid.utils.errors import InputError

PAGE = np.arange(100 * 200, dtype=np.uint16).reshape(100, 200)


@pytest.mark.parametrize(
    ("text", "rows", "columns"),
    [
        ("10,20,30,40", slice(20, 60), slice(10, 40)),
        ("10%,20%,30%,40%", slice(20, 60), slice(20, 80)),
        ("0%,0%,0.001%,50%", slice(0, 50), slice(0, 1)),  # at least a pixel
        ("50%,50%,90%,90%", slice(50, 100), slice(100, 200)),  # ends with the picture
    ],
)
def test_part_of_the_picture(text, rows, columns):
    assert np.array_equal(cut_array(PAGE, parse_crop(text), "page"), PAGE[rows, columns])


@pytest.mark.parametrize("text", ["1,2,3", "1,2,0,4", "-1,0,5,5", "1%,2,3,4", "a,b,c,d", f"0,0,{'9' * 400},5"])
def test_other_texts_are_an_error(text):
    with pytest.raises(InputError, match=r"is invalid; it is x,y,w,h in pixels"):
        parse_crop(text)


def test_crop_outside_of_the_picture_is_an_error():
    with pytest.raises(InputError, match="page: the crop is outside of the picture, which has 200 x 100 px"):
        cut_array(PAGE, parse_crop("300,0,5,5"), "page")
