"""Parts: closed, of the right size, and the same whichever way they are made."""

import numpy as np
import pytest

from fastreid.data.generated import outlines
from fastreid.data.generated.bars import sweep, thread
from fastreid.data.generated.draws import Draws
from fastreid.data.generated.families import FAMILIES
from fastreid.data.generated.shapes import around, box, extrude, ring, slab, torus, turn
from fastreid.data.generated.solid import assemble


def volume(mesh):
    corners = mesh.vertices[mesh.faces]
    return abs(float(np.einsum("fi,fi->f", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])).sum()) / 6)


def area(triangles):
    first, second = triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
    return float(np.abs(first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]).sum() / 2)


def test_a_cylinder_has_its_volume():
    assert volume(turn([(2, 0), (2, 3)])) == pytest.approx(np.pi * 4 * 3, rel=0.01)


def test_a_ring_and_a_torus_have_theirs():
    assert volume(ring(1, 0.5, 2)) == pytest.approx(np.pi * (1.5**2 - 1) * 2, rel=0.01)
    assert volume(torus(2, 0.5)) == pytest.approx(2 * np.pi**2 * 2 * 0.25**2, rel=0.05)


def test_a_slab_is_a_box_and_a_bevel_takes_its_rims_away():
    assert volume(slab(1, 1, 1)) == pytest.approx(1.0, rel=0.001)
    assert volume(slab(1, 1, 1, bevel=0.1)) == pytest.approx(0.8 + 2 * 0.1 * (1 + 0.8 + 0.64) / 3, rel=0.001)


def test_a_fillet_takes_a_quarter_circle_off_each_rim_and_leaves_no_crease_there():
    soft = slab(1, 1, 1, fillet=0.1)
    taken = 0.1**2 * (1 - np.pi / 4)
    assert volume(soft) == pytest.approx(1 - 8 * taken, rel=0.005)
    heights = np.abs(assemble([soft]).points[:, 2])
    solid = assemble([soft])
    level = np.abs(heights[solid.edges[:, 0]] - heights[solid.edges[:, 1]]) < 1e-6
    assert not (solid.sharp & level).any()
    assert assemble([slab(1, 1, 1, bevel=0.1)]).sharp.sum() >= 16


def test_a_thread_climbs_by_its_pitch_a_turn_and_stays_within_its_depth():
    ridge = thread(1.0, 0.1, 0.2, 1.0)
    out = np.hypot(ridge.vertices[:, 0], ridge.vertices[:, 1])
    assert out.max() == pytest.approx(1.1)
    assert out.min() < 1.0
    assert ridge.vertices[:, 2].min() == pytest.approx(0.0)
    assert ridge.vertices[:, 2].max() == pytest.approx(1.0)
    above = ridge.vertices[(out > 1.09) & (np.abs(ridge.vertices[:, 1]) < 0.05) & (ridge.vertices[:, 0] > 0)]
    levels = np.unique(np.round(above[:, 2], 2))
    assert np.diff(levels).max() < 0.2
    assert len(assemble([turn([(1, 0), (1, 1)]), ridge]).edges) > 100


def test_the_face_of_a_plate_with_holes_has_the_area_that_is_left():
    holes = [outlines.circle(0.2) + [x, 0.1] for x in (-0.5, 0.0, 0.5)]
    plate = extrude(outlines.rounded_rectangle(2, 1, radius=0.0), 0.3, holes=holes)
    flat = plate.vertices[plate.fill][:, :, :2]
    assert area(flat) / 2 == pytest.approx(2 - 3 * area_of(holes[0]), rel=1e-3)


def area_of(outline):
    x, y = outline.T
    return abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))) / 2


def test_a_star_shaped_face_is_covered_once():
    star = outlines.star(5, depth=0.5)
    plate = extrude(star, 1.0)
    assert area(plate.vertices[plate.fill][:, :, :2]) / 2 == pytest.approx(area_of(star), rel=1e-6)


def test_a_bar_with_square_bends_keeps_its_thickness():
    bar = sweep([(0, 0, 0), (3, 0, 0), (3, 0, 3), (0, 0, 3)], outlines.rounded_rectangle(0.2, 0.2, radius=0.0))
    assert volume(bar) == pytest.approx(0.04 * 9, rel=0.01)


@pytest.mark.parametrize("axis", ["x", "y", "z"])
def test_four_quarter_turns_bring_a_part_back(axis):
    part = box(1, 2, 3)
    back = part
    for _ in range(4):
        back = back.turned(axis, 90)
    assert np.allclose(back.vertices, part.vertices)


def test_a_part_is_not_changed_by_moving_scaling_or_turning_it():
    part = box(1, 2, 3)
    before = part.vertices.copy()
    part.moved(1), part.scaled(2), part.turned("z", 30), around(part, 3)
    assert np.array_equal(part.vertices, before)


@pytest.mark.parametrize(
    "outline",
    [
        outlines.circle(),
        outlines.squircle(power=4),
        outlines.lobed(6, depth=0.1),
        outlines.toothed(9, depth=0.1),
        outlines.star(5, depth=0.4),
        outlines.polygon(6),
        outlines.rounded_rectangle(2, 1, radius=0.2),
    ],
)
def test_outlines_run_counter_clockwise_and_stay_within_reach(outline):
    x, y = outline.T
    assert float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) > 0
    assert np.hypot(x, y).max() < 1.5


def test_a_square_with_fillets_is_a_rounded_square_and_keeps_its_sides():
    square = np.array([(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)])
    soft = outlines.filleted(square, 0.3, closed=True)
    assert area_of(soft) == pytest.approx(4 - (4 - np.pi) * 0.3**2, rel=0.002)
    assert np.abs(soft).max() == pytest.approx(1.0)
    assert np.array_equal(outlines.filleted(square, 0.0, closed=True), square)


def test_fillets_leave_ends_curves_and_repeated_points_and_fit_short_sides():
    line = [(0, 0), (1, 0), (1, 0), (1, 1), (0, 1)]
    soft = outlines.filleted(line, 5.0)
    assert soft[0].tolist() == [0, 0]
    assert soft[-1].tolist() == [0, 1]
    assert np.abs(soft - 0.5).max() <= 0.5 + 1e-9
    round_one = outlines.circle(1.0)
    assert np.array_equal(outlines.filleted(round_one, 0.2, closed=True), round_one)


def test_a_curve_passes_through_its_knots():
    knots = np.array([(0.0, 0.0), (1.0, 2.0), (3.0, 1.0)])
    assert np.allclose(outlines.curve(knots, per_span=4)[::4], knots)


@pytest.mark.parametrize("family", FAMILIES.names())
def test_objects_of_every_family_fit_their_sphere_and_differ(family):
    solids = [assemble(FAMILIES.get(family)(Draws(family, number))) for number in range(4)]
    for solid in solids:
        assert np.isfinite(solid.points).all()
        assert np.linalg.norm(solid.points, axis=1).max() < 1 + 1e-5
        assert 100 < len(solid.faces) < 60_000
    assert len({len(solid.points) for solid in solids}) > 1


def test_a_tube_without_ends_has_borders_and_a_closed_one_only_creases():
    closed = assemble([turn([(1, 0), (1, 1)])])
    assert closed.sharp.sum() == 2 * outlines.SIDES
    assert (closed.sides[:, 0] != closed.sides[:, 1]).all()
