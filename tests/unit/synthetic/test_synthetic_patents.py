from collections import Counter

import numpy as np
import pytest
from visible_lines import compute_visible_lines

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


def vertex_bytes(patent):
    return [part.vertices.round(6).tobytes() for part in patent.parts]


def make_shading(kind, drawn_share=1.0):
    return Shading(kind, plane_normal=np.array([0, 0, 1.0]), spacing=0.03, coverage=3.0, waves=np.ones((3, 3)),
                   break_rates=np.array([9.0, 2, 0]), drawn_share=drawn_share, clearance=0.05,
                   max_tone=0.9)  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES.names())
def test_sibling_differs_from_its_base(family):
    base, sibling = (build_object(family, 1, 2, sibling_number=other) for other in (None, 3))
    corners, others = ({mesh.vertices.round(6).tobytes() for mesh in parts} for parts in (base, sibling))
    assert corners != others


def test_resampled_part_does_not_change_later_numbers():
    plain, other = PartRng("a"), PartRng("a", resampled_index=0)
    assert plain.next_part().random() != other.next_part().random()
    assert plain.next_part().random() == other.next_part().random()
    assert plain.random() == other.random()


def test_siblings_share_the_style_but_not_the_shape():
    pairs = [(make_patent(0, number), make_patent(0, number + 1)) for number in range(0, 24, 2)]
    alike = [one.style == other.style for one, other in pairs]
    assert 1 <= sum(alike) <= 8
    assert all(vertex_bytes(one) != vertex_bytes(other) for one, other in pairs)


def test_disjoint_families_of_training_and_test_patents():
    train = {sample_family(0, number, disjoint=True) for number in range(300)}
    test = {sample_family(0, 500_000 + number, disjoint=True) for number in range(300)}
    assert test == set(HELD_OUT_FAMILIES)
    assert train == set(FAMILIES.names()) - test
    assert {sample_family(0, 500_000 + number, disjoint=False) for number in range(500)} == train | test


@pytest.mark.parametrize("state", STATES)
def test_every_state_has_visible_lines(state):
    solid = build_solid(state, CASE, unclaimed=(), rng=PartRng("around"))
    assert len(compute_visible_lines(solid, CORNER).segments) > 5


def test_open_and_exploded_lids_increase_the_height():
    heights = {s: np.ptp(build_solid(s, CASE, unclaimed=(), rng=PartRng(0)).points[:, [0, 2]], axis=0) for s in STATES}
    closed, opened = (heights[s][1] / heights[s][0] for s in ("closed", "open"))
    assert opened > closed + 0.2
    exploded = heights["exploded"][1] / heights["exploded"][0]
    assert exploded > closed + 0.05


def test_section_of_tube_has_two_hatched_walls():
    tube = [ring(0.5, 0.2, 2.0)]
    lines = compute_visible_lines(build_solid("section", tube, unclaimed=(), rng=PartRng(0)), FRONT)
    hatching = lines.segments[lines.line_types == FINE].mean(axis=1)
    radius = np.abs(hatching[:, 0]) * np.linalg.norm([1.4, 0.7, 2.0]) / 2
    assert len(hatching) > 20
    assert radius.min() > 0.45
    assert (hatching[:, 0] > 0).any()
    assert (hatching[:, 0] < 0).any()


def test_only_unclaimed_components_are_dashed():
    solid = assemble(CASE, unclaimed=["lid"])
    lines = compute_visible_lines(solid, FRONT)
    broken = lines.segments[lines.line_types == DASHED]
    assert len(broken)
    assert broken[..., 1].max() < lines.segments[lines.line_types != DASHED][..., 1].max()


def test_dashes_continue_across_short_segments():
    rim = circle(1.0, num_sides=200)
    dashes = dash_segments(np.stack([rim, np.roll(rim, -1, axis=0)], axis=1), dash=0.2, gap=0.1)
    length = np.linalg.norm(dashes[:, 1] - dashes[:, 0], axis=1).sum()
    assert length == pytest.approx(2 * np.pi * 2 / 3, rel=0.05)


def test_dashes_do_not_depend_on_segment_direction():
    line = np.array([[[0.0, 0], [1, 0]], [[2, 0], [1, 0]], [[2, 0], [3, 0]]])
    assert np.linalg.norm(np.diff(dash_segments(line, dash=0.7, gap=0.5), axis=1), axis=2).sum() == pytest.approx(2.0)


@pytest.mark.parametrize("kind", ["contour", "stipple"])
def test_shading_lines_are_inside_the_figure(kind):
    solid = assemble([box(1, 1, 1)])
    depth_view = render_depth_view(solid, CORNER, depth_px=400)
    edges = extract_visible_lines(solid, depth_view).segments
    lines = compute_shading_lines(solid, depth_view, make_shading(kind), outlines=edges)
    assert len(lines) > 20
    assert (lines.min(axis=(0, 1)) >= edges.min(axis=(0, 1)) - 0.01).all()
    assert (lines.max(axis=(0, 1)) <= edges.max(axis=(0, 1)) + 0.01).all()
    assert compute_tone(depth_view, make_shading(kind)) is None


def test_tone_is_zero_outside_the_figure():
    solid = assemble([box(1, 1, 1)])
    depth_view = render_depth_view(solid, CORNER, depth_px=200)
    tone = compute_tone(depth_view, make_shading("tone"))
    assert tone[0, 0] == 0
    assert 0.05 < tone[tone > 0].mean() <= 0.9
    assert not len(compute_shading_lines(solid, depth_view, make_shading("tone"), outlines=np.zeros((0, 2, 2))))


def test_shading_keeps_clear_of_outlines():
    solid = assemble([box(1, 1, 1)])
    depth_view = render_depth_view(solid, CORNER, depth_px=400)
    edges = extract_visible_lines(solid, depth_view).segments
    spots = compute_shading_lines(solid, depth_view, make_shading("contour"), outlines=edges).reshape(-1, 1, 2)
    along = edges[:, :1] + np.linspace(0, 1, 200)[:, None] * (edges[:, 1:] - edges[:, :1])
    assert np.linalg.norm(spots - along.reshape(1, -1, 2), axis=2).min() > 0.04


def test_drawn_share_of_contour_lines():
    solid = assemble([box(1, 1, 1)])
    depth_view = render_depth_view(solid, CORNER, depth_px=400)
    lengths = []
    for share in (1.0, 0.5):
        shading = make_shading("contour", drawn_share=share)
        lines = compute_shading_lines(solid, depth_view, shading, outlines=np.zeros((0, 2, 2)))
        lengths.append(np.linalg.norm(np.diff(lines, axis=1), axis=2).sum())
    assert lengths[1] == pytest.approx(0.5 * lengths[0], rel=0.2)


def test_enlarged_detail_is_inside_its_circle():
    whole = compute_visible_lines(assemble([box(1, 1, 1)]), CORNER)
    detail = figures.enlarge_detail(whole, (0.5, 0.5, 0.2))
    assert np.linalg.norm(detail.segments, axis=2).max() == pytest.approx(1.0)
    assert (detail.edges >= 0).any()


def test_first_drawing_repeats_figures_of_the_others():
    example = make_patent(3, 4)
    assert set(example.drawings[0]) <= {figure for drawing in example.drawings[1:4] for figure in drawing}
    assert example.drawings[1][0] == 0


def test_drawings_per_patent_follow_deeppatent():
    counts = Counter(patent.num_drawings(9, number) for number in range(4000))
    shares = np.array([counts[num] for num in range(2, 17)]) / 4000
    assert np.abs(shares - np.array(figures.DRAWINGS_PER_PATENT) / 1000).max() < 0.025
