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
FONT = Font("FIG. {}", height=0.03, weight=0.15, stretch=1.0, slant=0.0, has_serifs=False, gap=1.4)
PLAIN = Style(
    stroke_width=0.004, fine_ratio=0.7, crease_ratio=1.0, trim=0.0, lift_length=0.0, dash=0.02, gap=0.01, font=FONT,
    is_label_at_bottom=True, fill=0.5, has_common_scale=False, rotated_share=0.0, wide_rotated_share=0.0,
    is_dithered=False, skew_degrees=0.0, has_frame=False, noise=0.0, mean_specks=0.0,
)  # fmt: skip


def make_figure(points, *, number=1):
    segments = np.stack([points, np.roll(points, -1, axis=0)], axis=1)
    return SheetFigure(Lines(segments, np.arange(len(points)), np.full(len(points), OUTLINE)), number)


def render_figures(*figures, size_px=400, gray=False, **style):
    merged = Style(**{**PLAIN.__dict__, **style})
    return render_sheet(figures, merged, PartRng("sheet"), size_px=size_px, gray=gray)


def render_ink(**style):
    return ~np.asarray(render_figures(make_figure(SQUARE, number=0), **style))


@pytest.mark.parametrize("size_px", [64, 333, 1400])
def test_longest_side_of_sheet_is_size_px(size_px):
    sheet = render_figures(make_figure(SQUARE), size_px=size_px)
    assert sheet.mode == "1"
    assert max(sheet.size) == size_px


def test_sheet_is_cropped_to_its_ink():
    ink = ~np.asarray(render_figures(make_figure(SQUARE * [0.2, 1.0], number=0)))
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    assert ink.shape[0] == 400
    assert rows[0] < 12 < 388 < rows[-1]
    assert columns[0] < 12
    assert ink.shape[1] - columns[-1] < 12
    assert ink.shape[1] == pytest.approx(80, abs=12)


@pytest.mark.parametrize("size_px", [300, 1000, 1500])
def test_stroke_width(size_px):
    ink = ~np.asarray(render_figures(make_figure(SQUARE, number=0), size_px=size_px))
    expected = PLAIN.stroke_width * size_px / (PLAIN.fill * 0.8)  # width of the figure as a share of the page
    assert ink[size_px // 2].sum() / 2 == pytest.approx(expected, abs=1.2)


def test_one_pixel_lines_have_no_gaps_at_any_angle():
    for degrees in range(0, 180, 7):
        turn = np.array([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))])
        ink = ~np.asarray(
            render_figures(make_figure(np.stack([-turn, turn]), number=0), stroke_width=0.0005, size_px=200)
        )
        along = 0 if abs(turn[0]) < abs(turn[1]) else 1
        assert (np.diff(np.flatnonzero(ink.any(axis=1 - along))) == 1).all()


def test_only_thin_lines_of_large_pages_are_dithered():
    for stroke, width, gaps in ((0.0002, 640, True), (0.0002, 128, False), (0.02, 640, False)):
        ink = ~np.asarray(
            render_figures(make_figure(SQUARE, number=0), stroke_width=stroke, is_dithered=True, size_px=width)
        )
        assert (~ink[:, : width // 8].any(axis=1)[width // 8 : -width // 8]).any() == gaps


def test_lift_length_leaves_gaps_in_outlines():
    assert ndimage.label(render_ink(lift_length=0.05))[1] > ndimage.label(render_ink())[1] == 1


def test_creases_are_thin_and_trimmed_but_curves_are_not():
    lines = Lines(make_figure(SQUARE).lines.segments, np.arange(4), np.full(4, CREASE))
    ink = ~np.asarray(render_figures(SheetFigure(lines, 0), trim=0.03, crease_ratio=0.5))
    assert ndimage.label(ink)[1] == 4
    assert ink.sum() < 0.6 * render_ink().sum()
    rim = make_figure(circle(1.0, num_sides=200), number=0).lines
    curve = ~np.asarray(
        render_figures(SheetFigure(Lines(rim.segments, rim.edges, rim.line_types * 0 + CREASE), 0), trim=0.03)
    )
    assert ndimage.label(curve)[1] == 1


def test_skew_is_limited_to_one_degree():
    assert not np.array_equal(render_ink(skew_degrees=0.5), render_ink())
    tilt = [
        np.flatnonzero(ink[:, 200])[0] - np.flatnonzero(ink[:, 300])[0]
        for ink in (render_ink(), render_ink(skew_degrees=1e3))
    ]
    assert tilt[0] == 0
    assert 1 <= abs(tilt[1]) <= 3


def test_frame_surrounds_figure_and_label():
    ink = ~np.asarray(render_figures(make_figure(SQUARE * 0.5), has_frame=True))
    assert ink[20:-20, :20].any(axis=1).all()
    assert ink[:20, 20:-20].any(axis=0).all()


def test_thin_gray_lines_are_paler_in_proportion():
    thin, thick = (
        255
        - np.asarray(
            render_figures(make_figure(SQUARE, number=0), stroke_width=stroke, size_px=96, gray=True), dtype=float
        )
        for stroke in (0.0005, 0.001)
    )
    assert thin.max() < 128
    assert thick.sum() == pytest.approx(2 * thin.sum(), rel=0.2)


def test_label_is_below_its_figure():
    with_label, without = (~np.asarray(render_figures(make_figure(SQUARE, number=n), size_px=600)) for n in (3, 0))
    assert with_label.shape[0] > with_label.shape[1] * 1.3
    assert without.shape[0] == pytest.approx(without.shape[1], abs=15)


def test_two_figures_are_stacked():
    one, two = render_figures(make_figure(SQUARE)), render_figures(make_figure(SQUARE), make_figure(SQUARE, number=2))
    assert two.height / two.width > 1.3 * one.height / one.width


def test_rotated_sheet_equals_rotated_upright_sheet():
    upright, rotated = (render_figures(make_figure(SQUARE * [0.5, 1]), rotated_share=share) for share in (0.0, 1.0))
    expected = np.rot90(np.asarray(upright))
    assert rotated.size == expected.shape[::-1]
    assert (np.asarray(rotated) != expected).mean() < 0.02


@pytest.mark.parametrize("form", LABEL_FORMATS)
@pytest.mark.parametrize("number", [1, 9, 28])
def test_every_label_has_finite_strokes(form, number):
    font = Font(form, height=0.02, weight=0.1, stretch=1.0, slant=0.2, has_serifs=True, gap=1.0)
    strokes = label_segments(number, font)
    assert np.isfinite(strokes).all()
    assert np.ptp(strokes[..., 1]) < 0.03


def test_seed_determines_drawings():
    first, again, other = (render_patent(seed, 7, size_px=96) for seed in (1, 1, 2))
    assert [png_bytes(sheet) for sheet in first] == [png_bytes(sheet) for sheet in again]
    assert png_bytes(first[0]) != png_bytes(other[0])


def test_drawing_does_not_depend_on_the_other_drawings():
    few, many = render_patent(0, 3, size_px=96), render_patent(0, 3, size_px=96, min_drawings=12)
    assert [png_bytes(sheet) for sheet in few] == [png_bytes(sheet) for sheet in many[: len(few)]]
    assert png_bytes(make_patent(0, 3).render(1, size_px=96)) == png_bytes(few[1])


def test_drawings_within_and_between_patents_differ():
    patents = [render_patent(0, number, size_px=96, min_drawings=6)[:6] for number in range(3)]
    assert len({png_bytes(sheet) for sheets in patents for sheet in sheets}) == 18


def test_number_of_drawings_is_2_to_16_with_median_7():
    counts = [num_drawings(5, number) for number in range(1000)]
    assert (min(counts), np.median(counts), max(counts)) == (2, 7, 16)
    assert min(num_drawings(5, number, min_drawings=4) for number in range(1000)) == 4


def test_png_has_one_bit_per_pixel():
    data = png_bytes(render_figures(make_figure(SQUARE), size_px=200))
    assert data[24] == 1  # the header's bit depth
    assert Image.open(io.BytesIO(data)).mode == "1"


def test_contact_sheet_has_one_cell_per_drawing():
    rows = [[Image.new("1", (20, 40), 1), Image.new("1", (40, 20), 0)], [Image.new("1", (30, 30), 0)]]
    ink = np.asarray(contact_sheet(rows, cell_px=24)) < 128
    assert ink.shape == (50, 48)
    assert not ink[:24, :24].any()
    assert ink[2:12, 26:46].all()
    assert ink[27:47, 2:22].all()


@pytest.mark.parametrize("size_px", [63, 2001, 0, -1, 320.0, "320", True])
def test_size_out_of_range_is_invalid(size_px):
    with pytest.raises(InputError, match="must be an integer from 64 to 2000"):
        render_patent(0, 0, size_px=size_px)


@pytest.mark.parametrize("fewest", [1, 17])
def test_min_drawings_out_of_range_is_invalid(fewest):
    with pytest.raises(InputError, match="min_drawings must be from 2 to 16"):
        render_patent(0, 0, size_px=96, min_drawings=fewest)


def test_drawing_index_out_of_range_is_invalid():
    with pytest.raises(InputError, match="0 to 15, not 16"):
        make_patent(0, 3).render(16, size_px=96)


def test_config_range_of_size_px_matches_the_renderer():
    rule = RULES["DATASETS.GENERATED.SIZE_PX"]
    assert (rule.minimum, rule.maximum) == (MIN_SIZE_PX, MAX_SIZE_PX)
