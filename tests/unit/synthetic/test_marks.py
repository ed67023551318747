import numpy as np
import pytest
from visible_lines import compute_visible_lines

from fastreid.synthetic import make_patent
from fastreid.synthetic.geometry.mesh import as_component, box, revolve
from fastreid.synthetic.geometry.outlines import circle
from fastreid.synthetic.geometry.solid import assemble
from fastreid.synthetic.rendering.views import View
from fastreid.synthetic.sampling import PartRng
from fastreid.synthetic.states import build_solid
from fastreid.synthetic.surface import motifs
from fastreid.synthetic.surface.marks import add_marks

MOTIFS = [
    "_screw", "_button", "_vents", "_tick_marks", "_lettering", "_emblem", "_glint", "sample_seam",
    "_woven_mesh", "_knit", "_wood_grain", "_ribs", "_scales", "_dots", "_short_strokes",
]  # fmt: skip


def collect_marks(parts):
    return np.concatenate([part.marks for part in parts])


def sample_marks(part):
    """Return the marks of twelve random number generators on one part."""
    return np.concatenate([collect_marks(add_marks([part], PartRng("marks", number))) for number in range(12)])


@pytest.mark.parametrize("name", MOTIFS)
def test_motif_is_centered_strokes(name):
    for number in range(6):
        strokes = getattr(motifs, name)(PartRng(name, number))
        assert strokes.shape[1:] == (2, 2)
        assert len(strokes) > 1
        assert np.abs(strokes).max() < 2.1


def test_marks_are_slightly_above_the_faces_of_a_box():
    marks = sample_marks(box(2, 2, 2))
    above = (np.abs(marks - [0, 0, 1]) - 1).max(axis=2)
    assert len(marks) > 200
    assert above.min() > 0
    assert above.max() < 0.01


def test_marks_follow_a_round_surface():
    marks = sample_marks(revolve([(1.0, -2), (1.0, 2)], circle(1.0, num_sides=96)))
    radius = np.linalg.norm(marks[..., :2], axis=2)
    side = np.abs(marks[..., 2]).max(axis=1) < 1.99
    assert radius[side].min() > 0.98
    assert radius[side].max() < 1.03


def test_marks_are_transformed_with_their_part():
    part = add_marks([box(2, 2, 2)], PartRng("marks", 3))[0]
    moved = part.translate(x=1).rotate("z", 30).scale(2.0, -1.0, 1.0)
    expected = box(2, 2, 2).translate(x=1).rotate("z", 30).scale(2.0, -1.0, 1.0).vertices
    assert len(moved.marks)
    assert (moved.marks.max(axis=(0, 1)) < expected.max(axis=0) + 0.02).all()
    assert (moved.marks.min(axis=(0, 1)) > expected.min(axis=0) - 0.02).all()


def test_mark_is_visible_from_its_side_unless_unclaimed():
    line = np.array([[[-0.5, -0.501, 0.5], [0.5, -0.501, 0.5]]])
    lid = as_component("lid", [box(1, 1, 1)])[0]
    lid = type(lid)(**{**lid.__dict__, "marks": line})
    num = [
        len(compute_visible_lines(assemble([lid], unclaimed=names), View(turn, 0)).segments)
        for turn, names in ((0, ()), (180, ()), (0, ("lid",)))
    ]
    assert num[0] == num[1] + 1 == num[2] + 1


def test_marks_are_exploded_and_cut_with_their_component():
    parts = [box(2, 2, 1), *as_component("lid", [box(2, 2, 0.5).translate(z=1.0)])]
    parts[1] = type(parts[1])(**{**parts[1].__dict__, "marks": np.array([[[0, -1.01, 1.2], [0.5, -1.01, 1.2]]])})
    closed, apart = (build_solid(state, parts, unclaimed=(), rng=PartRng("around")) for state in ("closed", "exploded"))
    assert apart.surface_lines[0, 0, 2] > closed.surface_lines[0, 0, 2]
    cut = build_solid("section", parts, unclaimed=(), rng=PartRng("around"))
    assert (cut.surface_lines[:, :, 1] >= cut.points[:, 1].min() - 1e-9).all()


def test_sibling_keeps_marks_of_shared_parts():
    shared = 0
    for number in range(0, 60, 2):
        one, other = make_patent(0, number), make_patent(0, number + 1)
        if one.style == other.style:
            marks = {part.marks.tobytes() for part in one.parts if len(part.marks)}
            shared += bool(marks & {part.marks.tobytes() for part in other.parts})
    assert shared >= 3
