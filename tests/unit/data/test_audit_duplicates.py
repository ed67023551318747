"""Findings of `fastreid data check` about equal drawings with known and unknown ids."""

import numpy as np
import pytest
from PIL import Image

from fastreid.data.audit.findings import DrawingList, find_duplicates
from fastreid.data.audit.inspection import inspect_files
from fastreid.structures import Drawing

IMAGE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 80), dtype=np.uint8))


@pytest.fixture
def find(tmp_path):
    """Return a function that saves copies of an image, of equal bytes or only of equal pixels, and finds them."""

    def find(ids, *, recoded=()):
        drawings = []
        for row, patent in enumerate(ids):
            path = tmp_path / f"{row}.png"
            IMAGE.save(path, compress_level=0 if row in recoded else 9)
            drawings.append(Drawing(str(path), path.name, patent, source=f"list.txt:{row + 1}"))
        files = inspect_files([drawing.path for drawing in drawings], decode=True, max_pixels=10**6)
        lists = [DrawingList("test", tuple(drawings), is_training=False, id_space="test")]
        return [
            (finding.kind, finding.message.split(":")[0], len(finding.paths))
            for finding in find_duplicates(lists, files)
        ]

    return find


def test_equal_drawings_of_a_known_and_an_unknown_patent_are_duplicates(find):
    assert find(["7", ""]) == [("same bytes, different patents", "list.txt", 2)]
    assert find(["", ""]) == [("same bytes", "list.txt", 2)]
    assert find(["7", "8"]) == [("label conflict", "same bytes with 2 ids", 2)]
    assert find(["7", "8", ""]) == [
        ("label conflict", "same bytes with 2 ids", 2),
        ("same bytes, different patents", "list.txt", 3),
    ]


def test_label_conflict_of_equal_files_within_equal_pages_is_reported_once(find):
    assert find(["7", "8", "9"], recoded=[2]) == [("label conflict", "same pixels with 3 ids", 3)]
    assert find(["7", "7", "9"], recoded=[2]) == [
        ("same bytes", "list.txt", 2),
        ("label conflict", "same pixels with 2 ids", 3),
    ]
