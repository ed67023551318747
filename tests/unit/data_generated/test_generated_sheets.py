"""Sheets: one bit a pixel, the asked size, ink within the page, and the same for a seed."""

import io

import numpy as np
import pytest
from PIL import Image

from fastreid.data.generated import contact_sheet, draw_patent, make_patent, num_drawings, png_bytes
from fastreid.data.generated.lines import Lines
from fastreid.data.generated.sheet import Place, Style, draw_sheet, page_size
from fastreid.utils.errors import InputError

SQUARE = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)], dtype=float)
OUTLINE = Lines(np.stack([SQUARE, np.roll(SQUARE, -1, axis=0)], axis=1), np.arange(4))


def sheet_of_a_square(size_px, *, stroke=0.004, low=True):
    style = Style(stroke=stroke, label="FIG. {}", label_height=0.03, label_low=low, margin=0.1)
    return draw_sheet(OUTLINE, 1, style=style, place=Place(fill=0.5, across=0.5, down=0.2), size_px=size_px)


@pytest.mark.parametrize("size_px", [64, 333, 1400])
def test_a_sheet_is_one_bit_upright_and_of_the_asked_size(size_px):
    sheet = sheet_of_a_square(size_px)
    assert sheet.mode == "1"
    assert sheet.size == page_size(size_px)
    assert sheet.height == size_px
    assert sheet.width == round(size_px * 17 / 22)


@pytest.mark.parametrize(("size_px", "thick"), [(300, 0.01), (1000, 0.005), (1500, 0.004)])
def test_strokes_have_the_asked_width(size_px, thick):
    ink = ~np.asarray(sheet_of_a_square(size_px, stroke=thick))
    figure = ink[: int(size_px * 0.6)]
    middle = figure[np.flatnonzero(figure.any(axis=1)).mean().astype(int)]
    assert middle.sum() / 2 == pytest.approx(thick * size_px, abs=1.01)


def test_lines_of_one_pixel_have_no_gaps_at_any_slant():
    for degrees in range(0, 180, 7):
        turn = np.array([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))])
        line = Lines(
            np.array([[-turn, turn], [SQUARE[0], SQUARE[0] + 1e-3], [SQUARE[2], SQUARE[2] + 1e-3]]), np.arange(3)
        )
        style = Style(stroke=0.001, label="", label_height=0.02, label_low=True, margin=0.1)
        sheet = draw_sheet(line, 1, style=style, place=Place(0.9, 0.5, 0.5), size_px=200)
        ink = ~np.asarray(sheet)
        along = 0 if abs(turn[0]) < abs(turn[1]) else 1
        marked = np.flatnonzero(ink.any(axis=1 - along))
        inner = marked[(marked > marked.min() + 20) & (marked < marked.max() - 20)]
        assert (np.diff(inner) == 1).all()


def test_the_label_is_the_only_ink_below_the_figure():
    ink = ~np.asarray(sheet_of_a_square(600))
    assert ink[500:].any()
    assert not ink[440:500].any()
    assert 0.001 < ink.mean() < 0.05


def test_the_same_seed_gives_the_same_drawings_and_another_seed_others():
    first, again, other = (draw_patent(seed, 7, size_px=96) for seed in (1, 1, 2))
    assert [png_bytes(sheet) for sheet in first] == [png_bytes(sheet) for sheet in again]
    assert png_bytes(first[0]) != png_bytes(other[0])


def test_a_drawing_does_not_depend_on_how_many_are_drawn():
    few, many = draw_patent(0, 3, size_px=96), draw_patent(0, 3, size_px=96, fewest=12)
    assert [png_bytes(sheet) for sheet in few] == [png_bytes(sheet) for sheet in many[: len(few)]]
    assert png_bytes(make_patent(0, 3).draw(2, size_px=96)) == png_bytes(few[2])


def test_views_of_a_patent_differ_and_so_do_patents():
    patents = [draw_patent(0, number, size_px=96, fewest=6)[:6] for number in range(3)]
    assert len({png_bytes(sheet) for sheets in patents for sheet in sheets}) == 18


def test_patents_have_three_to_twelve_drawings_around_seven():
    counts = [num_drawings(5, number) for number in range(1000)]
    assert min(counts) == 3
    assert 11 <= max(counts) <= 12
    assert np.median(counts) == 7
    assert min(num_drawings(5, number, fewest=4) for number in range(1000)) == 4


def test_a_png_of_a_sheet_is_one_bit_deep():
    data = png_bytes(sheet_of_a_square(200))
    assert data[24] == 1  # the header's bit depth
    assert Image.open(io.BytesIO(data)).mode == "1"


def test_a_contact_sheet_shows_every_drawing():
    rows = [[Image.new("1", (20, 30), 1), Image.new("1", (20, 30), 0)], [Image.new("1", (20, 30), 0)]]
    ink = ~np.asarray(contact_sheet(rows))
    assert ink.shape == (62, 40)
    assert not ink[:30, :20].any()
    assert ink[:30, 20:].all()
    assert ink[31:61, :20].all()


@pytest.mark.parametrize("size_px", [63, 2001, 0, -1, 320.0, "320", True])
def test_sizes_out_of_range_are_refused(size_px):
    with pytest.raises(InputError, match="from 64 to 2000"):
        draw_patent(0, 0, size_px=size_px)


@pytest.mark.parametrize("fewest", [2, 13])
def test_numbers_of_drawings_out_of_range_are_refused(fewest):
    with pytest.raises(InputError, match="3 to 12"):
        draw_patent(0, 0, size_px=96, fewest=fewest)


def test_a_drawing_beyond_the_twelfth_is_refused():
    with pytest.raises(InputError, match="0 to 11, not 12"):
        make_patent(0, 0).draw(12, size_px=96)
