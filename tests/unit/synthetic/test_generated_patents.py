"""Patents: siblings, families apart, states, broken lines, shading, sections."""

from collections import Counter

import numpy as np
import pytest
from hidden_lines import visible_lines

from fastreid.synthetic import figures, make_patent, patent
from fastreid.synthetic.families.registry import FAMILIES, HELD_OUT_FAMILIES, build_object, sample_family
from fastreid.synthetic.geometry.mesh import as_component, box, ring, slab
from fastreid.synthetic.geometry.outlines import circle
from fastreid.synthetic.geometry.solid import assemble
from fastreid.synthetic.rendering.dashes import dash_segments
from fastreid.synthetic.rendering.hidden_lines import DASHED, FINE, extract_visible_lines, render_depth_view
from fastreid.synthetic.rendering.shading import Shading, compute_shading_lines, compute_tone
from fastreid.synthetic.rendering.views import View
from fastreid.synthetic.sampling import PartRng
from fastreid.synthetic.states import STATES, build_solid

FRONT, CORNER = View(0, 0), View(-35, 25, 4.0)
CASE = [box(2, 1, 1), *as_component("lid", [slab(2, 1, 0.2).translate(z=1.01)])]


def shape_of(made):
    return [part.vertices.round(6).tobytes() for part in made.parts]


def shading(kind, whole=1.0):
    return Shading(kind, plane_normal=np.array([0, 0, 1.0]), spacing=0.03, coverage=3.0, waves=np.ones((3, 3)),
                   break_rates=np.array([9.0, 2, 0]), drawn_share=whole, clearance=0.05, max_tone=0.9)  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES.names())
def test_a_sibling_keeps_most_of_its_model(family):
    model, sibling = (build_object(family, 1, 2, sibling=other) for other in (None, 3))
    corners, others = ({mesh.vertices.round(6).tobytes() for mesh in parts} for parts in (model, sibling))
    assert corners != others


def test_a_part_that_is_drawn_anew_leaves_the_draws_after_it_alone():
    plain, other = PartRng("a"), PartRng("a", resampled_part=0)
    assert plain.next_part().random() != other.next_part().random()
    assert plain.next_part().random() == other.next_part().random()
    assert plain.random() == other.random()


def test_some_patents_are_siblings_of_the_one_before_and_share_its_hand():
    pairs = [(make_patent(0, number), make_patent(0, number + 1)) for number in range(0, 24, 2)]
    alike = [one.style == other.style for one, other in pairs]
    assert 1 <= sum(alike) <= 8
    assert all(shape_of(one) != shape_of(other) for one, other in pairs)


def test_test_patents_are_of_families_of_their_own_unless_all_may_come():
    train = {sample_family(0, number, disjoint=True) for number in range(300)}
    test = {sample_family(0, 500_000 + number, disjoint=True) for number in range(300)}
    assert test == set(HELD_OUT_FAMILIES)
    assert train == set(FAMILIES.names()) - test
    assert {sample_family(0, 500_000 + number, disjoint=False) for number in range(500)} == train | test


@pytest.mark.parametrize("state", STATES)
def test_every_state_of_a_case_can_be_drawn(state):
    solid = build_solid(state, CASE, unclaimed=(), rng=PartRng("around"))
    assert len(visible_lines(solid, CORNER).segments) > 5


def test_an_open_lid_stands_up_and_an_exploded_one_floats():
    heights = {s: np.ptp(build_solid(s, CASE, unclaimed=(), rng=PartRng(0)).points[:, [0, 2]], axis=0) for s in STATES}
    closed, opened = (heights[s][1] / heights[s][0] for s in ("closed", "open"))
    assert opened > closed + 0.2
    exploded = heights["exploded"][1] / heights["exploded"][0]
    assert exploded > closed + 0.05


def test_a_section_of_a_tube_shows_two_hatched_walls():
    tube = [ring(0.5, 0.2, 2.0)]
    seen = visible_lines(build_solid("section", tube, unclaimed=(), rng=PartRng(0)), FRONT)
    hatching = seen.segments[seen.line_types == FINE].mean(axis=1)
    radius = np.abs(hatching[:, 0]) * np.linalg.norm([1.4, 0.7, 2.0]) / 2
    assert len(hatching) > 20
    assert radius.min() > 0.45
    assert (hatching[:, 0] > 0).any()
    assert (hatching[:, 0] < 0).any()


def test_what_is_not_claimed_is_broken_and_the_rest_is_not():
    solid = assemble(CASE, unclaimed=["lid"])
    seen = visible_lines(solid, FRONT)
    broken = seen.segments[seen.line_types == DASHED]
    assert len(broken)
    assert broken[..., 1].max() < seen.segments[seen.line_types != DASHED][..., 1].max()


def test_dashes_run_on_around_a_ring_of_short_segments():
    rim = circle(1.0, num_sides=200)
    dashes = dash_segments(np.stack([rim, np.roll(rim, -1, axis=0)], axis=1), dash=0.2, gap=0.1)
    length = np.linalg.norm(dashes[:, 1] - dashes[:, 0], axis=1).sum()
    assert length == pytest.approx(2 * np.pi * 2 / 3, rel=0.05)


def test_dashes_do_not_depend_on_which_way_a_segment_runs():
    line = np.array([[[0.0, 0], [1, 0]], [[2, 0], [1, 0]], [[2, 0], [3, 0]]])
    assert np.linalg.norm(np.diff(dash_segments(line, dash=0.7, gap=0.5), axis=1), axis=2).sum() == pytest.approx(2.0)


@pytest.mark.parametrize("kind", ["contour", "stipple"])
def test_shading_lies_on_the_figure_and_thins_out_in_the_light(kind):
    solid = assemble([box(1, 1, 1)])
    sight = render_depth_view(solid, CORNER, depth_px=400)
    edges = extract_visible_lines(solid, sight).segments
    lines = compute_shading_lines(solid, sight, shading(kind), outlines=edges)
    assert len(lines) > 20
    assert (lines.min(axis=(0, 1)) >= edges.min(axis=(0, 1)) - 0.01).all()
    assert (lines.max(axis=(0, 1)) <= edges.max(axis=(0, 1)) + 0.01).all()
    assert compute_tone(sight, shading(kind)) is None


def test_a_tone_is_dark_on_the_figure_and_nothing_beside_it():
    solid = assemble([box(1, 1, 1)])
    sight = render_depth_view(solid, CORNER, depth_px=200)
    tone = compute_tone(sight, shading("tone"))
    assert tone[0, 0] == 0
    assert 0.05 < tone[tone > 0].mean() <= 0.9
    assert not len(compute_shading_lines(solid, sight, shading("tone"), outlines=np.zeros((0, 2, 2))))


def test_shading_keeps_clear_of_outlines():
    solid = assemble([box(1, 1, 1)])
    sight = render_depth_view(solid, CORNER, depth_px=400)
    edges = extract_visible_lines(solid, sight).segments
    spots = compute_shading_lines(solid, sight, shading("contour"), outlines=edges).reshape(-1, 1, 2)
    along = edges[:, :1] + np.linspace(0, 1, 200)[:, None] * (edges[:, 1:] - edges[:, :1])
    assert np.linalg.norm(spots - along.reshape(1, -1, 2), axis=2).min() > 0.04


def test_contour_lines_stop_and_start():
    solid = assemble([box(1, 1, 1)])
    sight = render_depth_view(solid, CORNER, depth_px=400)
    length = [
        np.linalg.norm(
            np.diff(compute_shading_lines(solid, sight, given, outlines=np.zeros((0, 2, 2))), axis=1), axis=2
        ).sum()
        for given in (shading("contour"), shading("contour", drawn_share=0.5))
    ]
    assert length[1] == pytest.approx(0.5 * length[0], rel=0.2)


def test_an_enlarged_detail_lies_in_its_circle():
    whole = visible_lines(assemble([box(1, 1, 1)]), CORNER)
    detail = figures.enlarge_detail(whole, (0.5, 0.5, 0.2))
    assert np.linalg.norm(detail.segments, axis=2).max() == pytest.approx(1.0)
    assert (detail.edges >= 0).any()


def test_a_patents_first_drawing_copies_a_figure_of_the_others():
    made = make_patent(3, 4)
    assert set(made.drawings[0]) <= {figure for drawing in made.drawings[1:4] for figure in drawing}
    assert made.drawings[1][0] == 0


def test_drawings_per_patent_follow_deeppatent():
    counts = Counter(patent.num_drawings(9, number) for number in range(4000))
    shares = np.array([counts[num] for num in range(2, 17)]) / 4000
    assert np.abs(shares - np.array(figures.DRAWINGS_PER_PATENT) / 1000).max() < 0.025
