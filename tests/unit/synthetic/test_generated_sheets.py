"""Sheets: one bit a pixel, the asked size, cut to the ink, and the same for a seed."""

import io

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from fastreid.config.ranges import RULES
from fastreid.synthetic import contact_sheet, make_patent, num_drawings, png_bytes, render_patent
from fastreid.synthetic.geometry.outlines import circle
from fastreid.synthetic.rendering.glyphs import LABEL_FORMATS, Font, label_segments
from fastreid.synthetic.rendering.hidden_lines import CREASE, OUTLINE, Lines
from fastreid.synthetic.rendering.sheet import MAX_SIZE_PX, MIN_SIZE_PX, SheetFigure, Style, render_sheet
from fastreid.synthetic.sampling import PartRng
from fastreid.utils.errors import InputError

SQUARE = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)], dtype=float)
FACE = Font("FIG. {}", height=0.03, weight=0.15, stretch=1.0, slant=0.0, has_serifs=False, gap=1.4)
PLAIN = Style(
    stroke_width=0.004, fine_ratio=0.7, crease_ratio=1.0, trim=0.0, lift_length=0.0, dash=0.02, gap=0.01, font=FACE, is_label_at_bottom=True, fill=0.5,
    has_common_scale=False, rotated_share=0.0, wide_rotated_share=0.0, is_dithered=False, skew_degrees=0.0, has_frame=False, noise=0.0, mean_specks=0.0,
)  # fmt: skip


def figure_of(points, *, number=1):
    segments = np.stack([points, np.roll(points, -1, axis=0)], axis=1)
    return SheetFigure(Lines(segments, np.arange(len(points)), np.full(len(points), OUTLINE)), number)


def sheet_of(*figures, size_px=400, grey=False, **style):
    given = Style(**{**PLAIN.__dict__, **style})
    return render_sheet(figures, given, PartRng("sheet"), size_px=size_px, gray=grey)


def sheet_ink(**style):
    return ~np.asarray(sheet_of(figure_of(SQUARE, number=0), **style))


@pytest.mark.parametrize("size_px", [64, 333, 1400])
def test_the_longer_side_of_a_one_bit_sheet_has_the_asked_size(size_px):
    sheet = sheet_of(figure_of(SQUARE), size_px=size_px)
    assert sheet.mode == "1"
    assert max(sheet.size) == size_px


def test_a_sheet_is_cut_to_its_ink():
    ink = ~np.asarray(sheet_of(figure_of(SQUARE * [0.2, 1.0], number=0)))
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    assert ink.shape[0] == 400
    assert rows[0] < 12 < 388 < rows[-1]
    assert columns[0] < 12
    assert ink.shape[1] - columns[-1] < 12
    assert ink.shape[1] == pytest.approx(80, abs=12)


@pytest.mark.parametrize("size_px", [300, 1000, 1500])
def test_strokes_have_the_width_of_their_style(size_px):
    ink = ~np.asarray(sheet_of(figure_of(SQUARE, number=0), size_px=size_px))
    wide = PLAIN.stroke_width * size_px / (PLAIN.fill * 0.8)  # the figure is that share of the page wide
    assert ink[size_px // 2].sum() / 2 == pytest.approx(wide, abs=1.2)


def test_lines_of_one_pixel_have_no_gaps_at_any_slant():
    for degrees in range(0, 180, 7):
        turn = np.array([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))])
        ink = ~np.asarray(sheet_of(figure_of(np.stack([-turn, turn]), number=0), stroke_width=0.0005, size_px=200))
        along = 0 if abs(turn[0]) < abs(turn[1]) else 1
        assert (np.diff(np.flatnonzero(ink.any(axis=1 - along))) == 1).all()


def test_a_dotted_thin_line_has_gaps_and_a_thick_one_or_one_of_a_small_page_none():
    for stroke, width, gaps in ((0.0002, 640, True), (0.0002, 128, False), (0.02, 640, False)):
        ink = ~np.asarray(sheet_of(figure_of(SQUARE, number=0), stroke_width=stroke, is_dithered=True, size_px=width))
        assert (~ink[:, : width // 8].any(axis=1)[width // 8 : -width // 8]).any() == gaps


def test_a_lifted_pen_leaves_gaps_in_outlines():
    assert ndimage.label(sheet_ink(lift_length=0.05))[1] > ndimage.label(sheet_ink())[1] == 1


def test_creases_are_thinner_and_end_before_the_corners_and_chords_of_curves_stay_whole():
    lines = Lines(figure_of(SQUARE).lines.segments, np.arange(4), np.full(4, CREASE))
    ink = ~np.asarray(sheet_of(SheetFigure(lines, 0), trim=0.03, crease_ratio=0.5))
    assert ndimage.label(ink)[1] == 4
    assert ink.sum() < 0.6 * sheet_ink().sum()
    rim = figure_of(circle(1.0, num_sides=200), number=0).lines
    curve = ~np.asarray(
        sheet_of(SheetFigure(Lines(rim.segments, rim.edges, rim.line_types * 0 + CREASE), 0), trim=0.03)
    )
    assert ndimage.label(curve)[1] == 1


def test_a_sheet_may_lie_askew_by_a_degree_and_no_more():
    assert not np.array_equal(sheet_ink(skew_degrees=0.5), sheet_ink())
    tilt = [
        np.flatnonzero(ink[:, 200])[0] - np.flatnonzero(ink[:, 300])[0]
        for ink in (sheet_ink(), sheet_ink(skew_degrees=1e3))
    ]
    assert tilt[0] == 0
    assert 1 <= abs(tilt[1]) <= 3


def test_a_frame_goes_around_figure_and_label():
    ink = ~np.asarray(sheet_of(figure_of(SQUARE * 0.5), has_frame=True))
    assert ink[20:-20, :20].any(axis=1).all()
    assert ink[:20, 20:-20].any(axis=0).all()


def test_thin_lines_are_paler_in_grey_and_as_dark_on_the_whole():
    thin, thick = (
        255 - np.asarray(sheet_of(figure_of(SQUARE, number=0), stroke_width=stroke, size_px=96, grey=True), dtype=float)
        for stroke in (0.0005, 0.001)
    )
    assert thin.max() < 128
    assert thick.sum() == pytest.approx(2 * thin.sum(), rel=0.2)


def test_a_label_stands_below_its_figure_and_one_without_a_number_has_none():
    with_label, without = (~np.asarray(sheet_of(figure_of(SQUARE, number=n), size_px=600)) for n in (3, 0))
    assert with_label.shape[0] > with_label.shape[1] * 1.3
    assert without.shape[0] == pytest.approx(without.shape[1], abs=15)


def test_two_figures_stand_one_below_the_other():
    one, two = sheet_of(figure_of(SQUARE)), sheet_of(figure_of(SQUARE), figure_of(SQUARE, number=2))
    assert two.height / two.width > 1.3 * one.height / one.width


def test_a_sheet_on_its_side_is_the_upright_one_turned():
    upright, lying = (sheet_of(figure_of(SQUARE * [0.5, 1]), rotated_share=share) for share in (0.0, 1.0))
    turned = np.rot90(np.asarray(upright))
    assert lying.size == turned.shape[::-1]
    assert (np.asarray(lying) != turned).mean() < 0.02


@pytest.mark.parametrize("form", LABEL_FORMATS)
@pytest.mark.parametrize("number", [1, 9, 28])
def test_every_label_can_be_written(form, number):
    face = Font(form, height=0.02, weight=0.1, stretch=1.0, slant=0.2, has_serifs=True, gap=1.0)
    strokes = label_segments(number, face)
    assert np.isfinite(strokes).all()
    assert np.ptp(strokes[..., 1]) < 0.03


def test_the_same_seed_gives_the_same_drawings_and_another_seed_others():
    first, again, other = (render_patent(seed, 7, size_px=96) for seed in (1, 1, 2))
    assert [png_bytes(sheet) for sheet in first] == [png_bytes(sheet) for sheet in again]
    assert png_bytes(first[0]) != png_bytes(other[0])


def test_a_drawing_does_not_depend_on_how_many_are_drawn_nor_on_their_order():
    few, many = render_patent(0, 3, size_px=96), render_patent(0, 3, size_px=96, min_drawings=12)
    assert [png_bytes(sheet) for sheet in few] == [png_bytes(sheet) for sheet in many[: len(few)]]
    assert png_bytes(make_patent(0, 3).render(1, size_px=96)) == png_bytes(few[1])


def test_views_of_a_patent_differ_and_so_do_patents():
    patents = [render_patent(0, number, size_px=96, min_drawings=6)[:6] for number in range(3)]
    assert len({png_bytes(sheet) for sheets in patents for sheet in sheets}) == 18


def test_patents_have_two_to_sixteen_drawings_around_seven():
    counts = [num_drawings(5, number) for number in range(1000)]
    assert (min(counts), np.median(counts), max(counts)) == (2, 7, 16)
    assert min(num_drawings(5, number, min_drawings=4) for number in range(1000)) == 4


def test_a_png_of_a_sheet_is_one_bit_deep():
    data = png_bytes(sheet_of(figure_of(SQUARE), size_px=200))
    assert data[24] == 1  # the header's bit depth
    assert Image.open(io.BytesIO(data)).mode == "1"


def test_a_contact_sheet_shows_every_drawing_in_a_cell_of_its_own():
    rows = [[Image.new("1", (20, 40), 1), Image.new("1", (40, 20), 0)], [Image.new("1", (30, 30), 0)]]
    ink = np.asarray(contact_sheet(rows, cell_px=24)) < 128
    assert ink.shape == (50, 48)
    assert not ink[:24, :24].any()
    assert ink[2:12, 26:46].all()
    assert ink[27:47, 2:22].all()


@pytest.mark.parametrize("size_px", [63, 2001, 0, -1, 320.0, "320", True])
def test_sizes_out_of_range_are_refused(size_px):
    with pytest.raises(InputError, match="from 64 to 2000"):
        render_patent(0, 0, size_px=size_px)


@pytest.mark.parametrize("fewest", [1, 17])
def test_numbers_of_drawings_out_of_range_are_refused(fewest):
    with pytest.raises(InputError, match="2 to 16"):
        render_patent(0, 0, size_px=96, min_drawings=fewest)


def test_a_drawing_beyond_the_last_is_refused():
    with pytest.raises(InputError, match="0 to 15, not 16"):
        make_patent(0, 3).render(16, size_px=96)


def test_the_config_takes_the_sizes_that_can_be_drawn():
    rule = RULES["DATASETS.GENERATED.SIZE_PX"]
    assert (rule.least, rule.most) == (MIN_SIZE_PX, MAX_SIZE_PX)
