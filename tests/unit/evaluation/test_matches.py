import pytest

from fastreid.evaluation.scoring.matches import check_matches
from fastreid.structures import Drawing
from fastreid.utils.errors import InputError


def drawings(*entries):
    """Return drawings from (name, id, camera) entries."""
    return [Drawing(name, name, patent, camera) for name, patent, camera in entries]


@pytest.mark.parametrize(
    ("queries", "gallery", "cause"),
    [
        (
            [("q1", "a", -1), ("q2", "b", -1)],
            [("g1", "c", -1)],
            r"no id is in both lists \(queries: a, b; gallery: c\)",
        ),
        ([("q1", "a", 0), ("q2", "", 0)], [("g1", "a", 0), ("g2", "b", 0)], "has the camera of the query"),
        ([("q1", "a", 0)], [("q1", "a", 1), ("g2", "b", 0)], "are the query drawings themselves"),
        ([("q1", "a", 0)], [("q1", "a", 1), ("g1", "a", 0)], "is the query itself or has its camera"),
        ([(f"q{i}", str(i), -1) for i in range(9)], [("g", "x", -1)], r"queries: 0, 1, 2, \.\.\.; gallery: x"),
    ],
)
def test_missing_matches_are_explained(queries, gallery, cause):
    with pytest.raises(InputError, match=rf"^Mine: none of the {len(queries)} queries has a match in .*{cause}"):
        check_matches("Mine", drawings(*queries), drawings(*gallery))


@pytest.mark.parametrize(
    ("queries", "gallery"),
    [
        ([("q1", "a", -1), ("q2", "b", -1)], [("g1", "b", -1)]),
        ([("q1", "a", 0)], [("g1", "a", 0), ("g2", "a", 1)]),
        ([("q1", "a", 0)], [("g1", "a", 0), ("g2", "b", -1)]),  # cameras count only if all of them are known
        ([("q1", "", -1)], [("g1", "a", -1)]),  # unknown ids: there are no scores
        ([("q1", "a", -1)], [("g1", "", -1)]),
    ],
)
def test_one_match_or_unknown_ids_are_enough(queries, gallery):
    check_matches("Mine", drawings(*queries), drawings(*gallery))
