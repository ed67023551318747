"""Measures of sheets: known values on sheets drawn by hand."""

import numpy as np
import pytest

from fastreid.experiments.drawing_statistics import drawings_per_patent, measure_page
from fastreid.structures import Drawing


def page_with_lines(*, wide):
    page = np.full((100, 50), 255, dtype=np.uint8)
    for row in (20, 60):
        page[row : row + wide, 5:45] = 0
    return page


@pytest.mark.parametrize("wide", [1, 2, 4])
def test_two_lines_are_two_pieces_of_their_width(wide):
    measured = measure_page(page_with_lines(wide=wide))
    assert measured["pieces"] == 2
    assert measured["stroke"] == pytest.approx(wide, rel=0.15)
    assert measured["ink"] == pytest.approx(2 * wide * 40 / 5000)
    assert measured["aspect"] == 0.5


def test_an_empty_page_has_no_ink_and_no_stroke():
    assert measure_page(np.full((10, 10), 255, dtype=np.uint8)) == {"ink": 0, "stroke": 0, "pieces": 0, "aspect": 1}


def test_drawings_are_counted_by_patent():
    drawings = [Drawing("", str(number), word) for number, word in enumerate("abbab")]
    assert drawings_per_patent(drawings) == [2, 3]
