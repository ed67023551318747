import numpy as np
import pytest
from visible_lines import compute_visible_lines

from fastreid.synthetic.geometry.mesh import box, extrude, revolve
from fastreid.synthetic.geometry.outlines import circle
from fastreid.synthetic.geometry.solid import assemble
from fastreid.synthetic.rendering.depth_buffer import BACKGROUND, render_depth
from fastreid.synthetic.rendering.views import View, plan_views

CORNERS = [View(-35, 25, 4.0), View(40, -30), View(130, 20, 3.0), View(-100, -15, 6.0)]
FRONT, TOP = View(0, 0), View(0, 90)


def total_length(lines):
    return float(np.linalg.norm(lines.segments[:, 1] - lines.segments[:, 0], axis=1).sum())


@pytest.mark.parametrize("view", CORNERS)
def test_perspective_of_cube_shows_nine_edges(view):
    assert len(set(compute_visible_lines(assemble([box(1, 1, 1)]), view).edges.tolist())) == 9


def test_triangulation_diagonals_are_not_sharp():
    assert assemble([box(1, 1, 1)]).is_sharp.sum() == 12


def test_front_of_cube_is_a_square():
    square = compute_visible_lines(assemble([box(1, 1, 1)]), FRONT)
    assert np.ptp(square.segments[..., 0]) == pytest.approx(2 / np.sqrt(3), rel=0.01)
    assert np.ptp(square.segments[..., 1]) == pytest.approx(2 / np.sqrt(3), rel=0.01)


def test_occluded_box_has_no_visible_lines():
    large = box(2, 0.2, 2)
    alone, hiding = (
        assemble([large, box(4, 4, 0.01)]),
        assemble([large, box(1, 1, 1).translate(y=1, z=0.5), box(4, 4, 0.01)]),
    )
    assert total_length(compute_visible_lines(hiding, FRONT)) == pytest.approx(
        total_length(compute_visible_lines(alone, FRONT)), rel=0.01
    )
    assert total_length(compute_visible_lines(hiding, TOP)) > total_length(compute_visible_lines(alone, TOP)) + 0.5


def test_part_of_edge_behind_post_is_hidden():
    bar, post = box(2, 0.1, 0.1), box(0.5, 0.1, 2).translate(y=-1, z=-1)
    upper = [s for s in compute_visible_lines(assemble([bar, post]), FRONT).segments if np.ptp(s[:, 1]) < 1e-6]
    covered = [s for s in upper if abs(s[:, 0]).min() < 0.05 and np.ptp(s[:, 0]) > 0.6]
    assert upper
    assert not covered


def test_cylinder_has_two_silhouettes_and_no_facets():
    lines = compute_visible_lines(assemble([revolve([(0.5, 0), (0.5, 2)])]), FRONT)
    upright = [s for s in lines.segments if np.ptp(s[:, 0]) < 1e-6]
    # 0.41 is 0.5 in units of the half diagonal, sqrt(1.5)
    assert sorted({round(float(s[0, 0]), 2) for s in upright}) == [-0.41, 0.41]


def test_far_rim_of_hole_is_visible_through_hole_only():
    plate = assemble([extrude(circle(1.0) * [1, 1], 0.2, holes=[circle(0.4, num_sides=24)])])
    with_hole = compute_visible_lines(plate, View(0, 50))
    without_hole = compute_visible_lines(assemble([extrude(circle(1.0), 0.2)]), View(0, 50))
    assert 2 * np.pi * 0.4 * 0.6 < total_length(with_hole) - total_length(without_hole) < 2 * 2 * np.pi * 0.4


def test_intersection_line_lies_on_both_parts():
    post, bar = revolve([(0.5, -1), (0.5, 1)]), revolve([(0.3, -1), (0.3, 1)]).rotate("y", 90)
    crossed = assemble([post, bar])
    num_own = len(assemble([post]).edges) + len(assemble([bar]).edges)
    intersection = crossed.points[crossed.edges[num_own:]] * np.linalg.norm([1, 0.5, 1])  # in the units of the parts
    assert len(intersection) > 50
    assert crossed.is_sharp[num_own:].all()
    assert np.allclose(np.hypot(intersection[..., 0], intersection[..., 1]), 0.5, atol=0.01)
    assert np.allclose(np.hypot(intersection[..., 1], intersection[..., 2]), 0.3, atol=0.01)


@pytest.mark.parametrize("view", [FRONT, *CORNERS])
def test_visible_lines_do_not_depend_on_depth_map_size(view):
    solid = assemble([revolve([(0.5, 0), (0.6, 1), (0.2, 1.4)]), box(0.5, 2, 0.3).translate(z=0.3)])
    coarse, fine = (total_length(compute_visible_lines(solid, view, depth_px=px)) for px in (300, 900))
    assert coarse == pytest.approx(fine, rel=0.03)


def test_depth_map_keeps_nearest_triangle():
    corners = np.array([[0, 0, 1.0], [20, 0, 1.0], [0, 20, 1.0], [0, 0, 0.0], [20, 0, 5.0], [0, 20, 0.0]])
    nearest = render_depth(corners, np.array([[0, 1, 2], [5, 4, 3]]), width=24, height=24)
    assert nearest[2, 2] == 1.0
    assert nearest[2, 12] == pytest.approx(12.5 / 4)
    assert nearest[20, 20] == BACKGROUND


def test_edge_on_triangle_stays_in_its_depth_range():
    thin = np.array([[5.0, 0, 0], [5.0, 20, 0], [5.0001, 10, 50.0]])
    assert render_depth(thin, np.array([[0, 1, 2]]), width=10, height=20).max() <= 50.0


def test_views_are_perspective_first_and_contain_six_sides():
    views = plan_views(np.random.default_rng(3))
    assert len(views) == 12
    assert views[0].distance > 1
    assert sum(view.distance == 0 for view in views) == 6
    assert len(set(views)) == 12


def test_view_axes_are_orthonormal():
    axes = View(33, -21).axes()
    assert np.allclose(axes @ axes.T, np.eye(3))


def test_only_perspective_enlarges_near_points():
    points = np.array([[0, -0.5, 0], [0.1, -0.5, 0], [0, 0.5, 0], [0.1, 0.5, 0]])
    near, far = (np.ptp(View(0, 0, 3.0).project(points)[rows, 0]) for rows in ([0, 1], [2, 3]))
    assert near > far
    assert np.ptp(View(0, 0).project(points)[:2, 0]) == pytest.approx(np.ptp(View(0, 0).project(points)[2:, 0]))
