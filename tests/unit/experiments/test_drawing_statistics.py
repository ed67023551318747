"""Statistics of pages with known content."""

import numpy as np
import pytest

from fastreid.experiments.drawing_measures.statistics import count_drawings_per_patent, measure_page
from fastreid.structures import Drawing


def page_with_lines(*, width_px):
    page = np.full((100, 50), 255, dtype=np.uint8)
    for row in (20, 60):
        page[row : row + width_px, 5:45] = 0
    return page


@pytest.mark.parametrize("width_px", [1, 2, 4])
def test_two_lines_are_two_pieces_of_their_width(width_px):
    measured = measure_page(page_with_lines(width_px=width_px))
    assert measured["components"] == 2
    assert measured["stroke width"] == pytest.approx(width_px, rel=0.15)
    assert measured["ink"] == pytest.approx(2 * width_px * 40 / 5000)
    assert measured["width / height"] == 0.5


def test_empty_page_has_no_ink_and_no_stroke():
    assert measure_page(np.full((10, 10), 255, dtype=np.uint8)) == {
        "ink": 0,
        "stroke width": 0,
        "components": 0,
        "width / height": 1,
    }


def test_count_drawings_per_patent():
    drawings = [Drawing("", str(row), patent) for row, patent in enumerate("abbab")]
    assert count_drawings_per_patent(drawings) == [2, 3]
