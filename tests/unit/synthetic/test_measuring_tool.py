"""tools/measure_drawings.py: collections side by side."""

import pytest
from PIL import Image

from fastreid.synthetic import Collection, write_patents
from fastreid.utils.errors import InputError
from tools import measure_drawings


def test_collections_are_told_side_by_side_and_drawn(tmp_path, capsys):
    write_patents(tmp_path, Collection(3, 1, 2, size_px=64))
    plots = tmp_path / "plots.png"
    assert measure_drawings.main([f"a={tmp_path}", f"b={tmp_path}", "--plots", str(plots)]) == 0
    told = capsys.readouterr().out
    for measure in ("ink", "stroke", "pieces", "aspect", "drawings"):
        rows = [line.split("|")[3:] for line in told.splitlines() if line.startswith(f"| {measure} ")]
        assert len(rows) == 2
        assert rows[0] == rows[1]
    assert "| HOG   |   queries |" in told
    with Image.open(plots) as image:
        assert image.width > image.height > 100


def test_a_folder_without_a_name_is_refused():
    with pytest.raises(InputError, match="NAME=DIR"):
        measure_drawings.main(["/somewhere"])
