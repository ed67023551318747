"""Hidden lines: only what an eye would see is drawn, and all of it."""

import numpy as np
import pytest
from hidden_lines import visible_lines

from fastreid.synthetic.geometry.mesh import box, extrude, revolve
from fastreid.synthetic.geometry.outlines import circle
from fastreid.synthetic.geometry.solid import assemble
from fastreid.synthetic.rendering.depth_buffer import BACKGROUND, render_depth
from fastreid.synthetic.rendering.views import View, plan_views

CORNERS = [View(-35, 25, 4.0), View(40, -30), View(130, 20, 3.0), View(-100, -15, 6.0)]
FRONT, TOP = View(0, 0), View(0, 90)


def length_of(lines):
    return float(np.linalg.norm(lines.segments[:, 1] - lines.segments[:, 0], axis=1).sum())


@pytest.mark.parametrize("view", CORNERS)
def test_a_cube_from_a_corner_shows_nine_of_its_twelve_edges(view):
    assert len(set(visible_lines(assemble([box(1, 1, 1)]), view).edges.tolist())) == 9


def test_the_diagonals_that_cut_a_cubes_walls_in_triangles_are_no_lines():
    assert assemble([box(1, 1, 1)]).is_sharp.sum() == 12


def test_the_front_of_a_cube_is_a_square_of_the_right_length():
    square = visible_lines(assemble([box(1, 1, 1)]), FRONT)
    assert np.ptp(square.segments[..., 0]) == pytest.approx(2 / np.sqrt(3), rel=0.01)
    assert np.ptp(square.segments[..., 1]) == pytest.approx(2 / np.sqrt(3), rel=0.01)


def test_a_box_behind_a_larger_one_is_not_drawn_at_all():
    large = box(2, 0.2, 2)
    alone, hiding = (
        assemble([large, box(4, 4, 0.01)]),
        assemble([large, box(1, 1, 1).translate(y=1, z=0.5), box(4, 4, 0.01)]),
    )
    assert length_of(visible_lines(hiding, FRONT)) == pytest.approx(length_of(visible_lines(alone, FRONT)), rel=0.01)
    assert length_of(visible_lines(hiding, TOP)) > length_of(visible_lines(alone, TOP)) + 0.5


def test_half_of_an_edge_that_runs_behind_a_post_is_cut_out():
    bar, post = box(2, 0.1, 0.1), box(0.5, 0.1, 2).translate(y=-1, z=-1)
    upper = [s for s in visible_lines(assemble([bar, post]), FRONT).segments if np.ptp(s[:, 1]) < 1e-6]
    covered = [s for s in upper if abs(s[:, 0]).min() < 0.05 and np.ptp(s[:, 0]) > 0.6]
    assert upper
    assert not covered


def test_a_cylinder_shows_two_outlines_and_no_facets():
    lines = visible_lines(assemble([revolve([(0.5, 0), (0.5, 2)])]), FRONT)
    upright = [s for s in lines.segments if np.ptp(s[:, 0]) < 1e-6]
    assert sorted({round(float(s[0, 0]), 2) for s in upright}) == [-0.41, 0.41]  # .5 of a half diagonal of sqrt(1.5)


def test_a_hole_shows_its_far_rim_only_through_the_hole():
    plate = assemble([extrude(circle(1.0) * [1, 1], 0.2, holes=[circle(0.4, num_sides=24)])])
    seen = visible_lines(plate, View(0, 50))
    whole = visible_lines(assemble([extrude(circle(1.0), 0.2)]), View(0, 50))
    assert 2 * np.pi * 0.4 * 0.6 < length_of(seen) - length_of(whole) < 2 * 2 * np.pi * 0.4


def test_parts_that_run_into_each_other_meet_in_a_line_on_both():
    post, bar = revolve([(0.5, -1), (0.5, 1)]), revolve([(0.3, -1), (0.3, 1)]).rotate("y", 90)
    crossed = assemble([post, bar])
    num_own = len(assemble([post]).edges) + len(assemble([bar]).edges)
    seam = crossed.points[crossed.edges[num_own:]] * np.linalg.norm([1, 0.5, 1])  # back to the parts' own units
    assert len(seam) > 50
    assert crossed.is_sharp[num_own:].all()
    assert np.allclose(np.hypot(seam[..., 0], seam[..., 1]), 0.5, atol=0.01)
    assert np.allclose(np.hypot(seam[..., 1], seam[..., 2]), 0.3, atol=0.01)


@pytest.mark.parametrize("view", [FRONT, *CORNERS])
def test_a_finer_depth_map_finds_the_same_lines(view):
    thing = assemble([revolve([(0.5, 0), (0.6, 1), (0.2, 1.4)]), box(0.5, 2, 0.3).translate(z=0.3)])
    coarse, fine = (length_of(visible_lines(thing, view, depth_px=px)) for px in (300, 900))
    assert coarse == pytest.approx(fine, rel=0.03)


def test_the_depth_map_holds_the_nearer_of_two_triangles_and_nothing_elsewhere():
    corners = np.array([[0, 0, 1.0], [20, 0, 1.0], [0, 20, 1.0], [0, 0, 0.0], [20, 0, 5.0], [0, 20, 0.0]])
    nearest = render_depth(corners, np.array([[0, 1, 2], [5, 4, 3]]), width=24, height=24)
    assert nearest[2, 2] == 1.0
    assert nearest[2, 12] == pytest.approx(12.5 / 4)
    assert nearest[20, 20] == BACKGROUND


def test_a_face_seen_edge_on_does_not_hide_what_lies_beside_it():
    thin = np.array([[5.0, 0, 0], [5.0, 20, 0], [5.0001, 10, 50.0]])
    assert render_depth(thin, np.array([[0, 1, 2]]), width=10, height=20).max() <= 50.0


def test_views_start_at_a_corner_and_hold_the_six_sides():
    views = plan_views(np.random.default_rng(3))
    assert len(views) == 12
    assert views[0].distance > 1
    assert sum(view.distance == 0 for view in views) == 6
    assert len(set(views)) == 12


def test_axes_of_a_view_are_square_to_each_other():
    axes = View(33, -21).axes()
    assert np.allclose(axes @ axes.T, np.eye(3))


def test_nearer_things_look_larger_in_perspective_and_not_in_parallel():
    points = np.array([[0, -0.5, 0], [0.1, -0.5, 0], [0, 0.5, 0], [0.1, 0.5, 0]])
    near, far = (np.ptp(View(0, 0, 3.0).project(points)[rows, 0]) for rows in ([0, 1], [2, 3]))
    assert near > far
    assert np.ptp(View(0, 0).project(points)[:2, 0]) == pytest.approx(np.ptp(View(0, 0).project(points)[2:, 0]))
