from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from fastreid.synthetic.families import fittings, packaging, vessels
from fastreid.synthetic.families.registry import FAMILIES
from fastreid.synthetic.geometry import outlines
from fastreid.synthetic.geometry.mesh import box, circular_pattern, extrude, revolve, ring, slab, torus
from fastreid.synthetic.geometry.solid import assemble
from fastreid.synthetic.geometry.sweep import sweep, thread
from fastreid.synthetic.sampling import PartRng
from fastreid.synthetic.states import can_open, group_by_component


def volume(mesh):
    corners = mesh.vertices[mesh.faces]
    return abs(float(np.einsum("fi,fi->f", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])).sum()) / 6)


def projected_area(triangles):
    first, second = triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
    return float(np.abs(first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]).sum() / 2)


def test_volume_of_cylinder():
    assert volume(revolve([(2, 0), (2, 3)])) == pytest.approx(np.pi * 4 * 3, rel=0.01)


def test_volume_of_ring_and_torus():
    assert volume(ring(1, 0.5, 2)) == pytest.approx(np.pi * (1.5**2 - 1) * 2, rel=0.01)
    assert volume(torus(2, 0.5)) == pytest.approx(2 * np.pi**2 * 2 * 0.25**2, rel=0.05)


def test_volume_of_slab_with_and_without_bevel():
    assert volume(slab(1, 1, 1)) == pytest.approx(1.0, rel=0.001)
    assert volume(slab(1, 1, 1, bevel=0.1)) == pytest.approx(0.8 + 2 * 0.1 * (1 + 0.8 + 0.64) / 3, rel=0.001)


def test_fillet_removes_volume_and_creases():
    filleted, turns = slab(1, 1, 1, fillet=0.1), np.radians(np.arange(0, 91, 18))
    sides, heights = 1 - 0.2 * (1 - np.sin(turns)), 0.1 * (1 - np.cos(turns))
    low, high = sides[:-1], sides[1:]
    rim = float((np.diff(heights) / 3 * (low**2 + high**2 + low * high)).sum())
    assert volume(filleted) == pytest.approx(0.8 + 2 * rim, rel=1e-4)
    solid = assemble([filleted])
    ends = solid.points[solid.edges]
    level = np.abs(ends[:, 0, 2] - ends[:, 1, 2]) < 1e-6
    assert not (solid.is_sharp & level).any()
    assert assemble([slab(1, 1, 1, bevel=0.1)]).is_sharp.sum() >= 16


def test_fillet_is_limited_by_the_slab():
    flat = slab(1, 1, 0.1, fillet=5)
    assert flat.vertices[:, 2].min() == 0
    assert flat.vertices[:, 2].max() == pytest.approx(0.1)
    assert 0.08 < volume(flat) < 0.1


def test_thread_is_right_handed_with_given_pitch_and_depth():
    radius, depth, pitch, height = 1.0, 0.1, 0.2, 2.1
    ridge = thread(radius, depth, pitch, height)
    out = np.hypot(ridge.vertices[:, 0], ridge.vertices[:, 1])
    assert out.max() == pytest.approx(1.1)
    assert out.min() < radius
    assert ridge.vertices[:, 2].min() == pytest.approx(0.0)
    assert ridge.vertices[:, 2].max() == pytest.approx(height)
    center_line = ridge.vertices[:-2].reshape(-1, 4, 3).mean(axis=1)  # the last two vertices close its ends
    angles = np.unwrap(np.arctan2(center_line[:, 1], center_line[:, 0]))
    assert np.allclose(np.diff(center_line[:, 2]) / np.diff(angles), pitch / (2 * np.pi))
    corners = ridge.vertices[ridge.faces]
    signed = float(np.einsum("fi,fi->f", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])).sum() / 6)
    section, turns = (0.5 + 0.18) / 2 * pitch * 1.3 * depth, (height - pitch / 2) / pitch
    assert signed == pytest.approx(section * 2 * np.pi * radius * turns, rel=0.05)


@pytest.mark.parametrize(
    ("module", "family", "axis"), [(vessels, "bottle", 2), (packaging, "package", 2), (fittings, "fitting", 1)]
)
def test_thread_is_on_its_neck_and_under_its_cap(module, family, axis, monkeypatch):
    monkeypatch.setattr(module, "thread", lambda *sizes: replace(thread(*sizes), component="ridge"))

    def span(part):
        return part.vertices[:, axis].min(), part.vertices[:, axis].max()

    num_threads = 0
    for number in range(120):
        parts = FAMILIES.get(family)(PartRng("threads", number))
        for neck, ridge in pairwise(parts):
            if ridge.component != "ridge":
                continue
            num_threads += 1
            low, high = span(ridge)
            assert span(neck)[0] < low
            assert high < span(neck)[1] + 1e-9
            for cap in [part for part in parts if part.component == "cap"][:1]:
                assert span(cap)[0] < low + 1e-9
                assert high < span(cap)[1]
                assert width(ridge) < width(cap)
    assert num_threads > 5


def width(part):
    """Return the width of a part along x."""
    return float(np.ptp(part.vertices[:, 0]))


def test_nut_is_on_the_outer_half_of_its_rod():
    studs = [
        parts
        for parts in (fittings.build_fitting(PartRng("nuts", n)) for n in range(120))
        if group_by_component(parts).get("nut")
    ]
    assert len(studs) > 3
    for parts in studs:
        components = group_by_component(parts)
        centers = {
            name: np.concatenate([one.vertices for one in components[name]])[:, 1] for name in ("plate", "body", "nut")
        }
        centers = {name: float(y.min() + y.max()) / 2 for name, y in centers.items()}
        assert centers["nut"] < centers["body"] < centers["plate"]
        assert not can_open(components["nut"])


def test_area_of_plate_with_holes():
    holes = [outlines.circle(0.2) + [x, 0.1] for x in (-0.5, 0.0, 0.5)]
    plate = extrude(outlines.rounded_rectangle(2, 1, radius=0.0), 0.3, holes=holes)
    flat = plate.vertices[plate.fill][:, :, :2]
    assert projected_area(flat) / 2 == pytest.approx(2 - 3 * outline_area(holes[0]), rel=1e-3)


def outline_area(outline):
    x, y = outline.T
    return abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))) / 2


def test_triangles_cover_a_star_once():
    star = outlines.star(5, depth=0.5)
    plate = extrude(star, 1.0)
    assert projected_area(plate.vertices[plate.fill][:, :, :2]) / 2 == pytest.approx(outline_area(star), rel=1e-6)


def test_bar_keeps_its_thickness_at_right_angles():
    bar = sweep([(0, 0, 0), (3, 0, 0), (3, 0, 3), (0, 0, 3)], outlines.rounded_rectangle(0.2, 0.2, radius=0.0))
    assert volume(bar) == pytest.approx(0.04 * 9, rel=0.01)


@pytest.mark.parametrize("axis", ["x", "y", "z"])
def test_four_quarter_rotations_are_the_identity(axis):
    part = box(1, 2, 3)
    back = part
    for _ in range(4):
        back = back.rotate(axis, 90)
    assert np.allclose(back.vertices, part.vertices)


def test_transforms_do_not_modify_the_mesh():
    part = box(1, 2, 3)
    before = part.vertices.copy()
    part.translate(1), part.scale(2), part.rotate("z", 30), circular_pattern(part, 3)
    assert np.array_equal(part.vertices, before)


@pytest.mark.parametrize(
    "outline",
    [
        outlines.circle(),
        outlines.squircle(power=4),
        outlines.lobed_circle(6, depth=0.1),
        outlines.toothed_circle(9, depth=0.1),
        outlines.star(5, depth=0.4),
        outlines.polygon(6),
        outlines.rounded_rectangle(2, 1, radius=0.2),
    ],
)
def test_outlines_are_counter_clockwise_and_bounded(outline):
    x, y = outline.T
    assert float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) > 0
    assert np.hypot(x, y).max() < 1.5


def test_filleted_square_is_a_rounded_square():
    square = np.array([(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)])
    filleted = outlines.fillet_corners(square, 0.3, closed=True)
    assert outline_area(filleted) == pytest.approx(4 - (4 - np.pi) * 0.3**2, rel=0.002)
    assert np.abs(filleted).max() == pytest.approx(1.0)
    assert np.array_equal(outlines.fillet_corners(square, 0.0, closed=True), square)


def test_fillets_keep_ends_curves_and_repeated_points():
    line = [(0, 0), (1, 0), (1, 0), (1, 1), (0, 1)]
    filleted = outlines.fillet_corners(line, 5.0)
    assert filleted[0].tolist() == [0, 0]
    assert filleted[-1].tolist() == [0, 1]
    assert np.abs(filleted - 0.5).max() <= 0.5 + 1e-9
    round_outline = outlines.circle(1.0)
    assert np.array_equal(outlines.fillet_corners(round_outline, 0.2, closed=True), round_outline)


def test_spline_passes_through_its_knots():
    knots = np.array([(0.0, 0.0), (1.0, 2.0), (3.0, 1.0)])
    assert np.allclose(outlines.spline(knots, per_span=4)[::4], knots)


@pytest.mark.parametrize("family", FAMILIES.names())
def test_objects_of_each_family_fit_the_unit_sphere(family):
    solids = [assemble(FAMILIES.get(family)(PartRng(family, number))) for number in range(4)]
    for solid in solids:
        assert np.isfinite(solid.points).all()
        assert np.linalg.norm(solid.points, axis=1).max() < 1 + 1e-5
        assert 100 < len(solid.faces) < 60_000
    assert len({len(solid.points) for solid in solids}) > 1


def test_closed_cylinder_has_creases_and_no_borders():
    closed = assemble([revolve([(1, 0), (1, 1)])])
    assert closed.is_sharp.sum() == 2 * outlines.NUM_SIDES
    assert (closed.edge_faces[:, 0] != closed.edge_faces[:, 1]).all()
