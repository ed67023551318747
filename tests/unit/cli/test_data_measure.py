"""`fastreid data measure`: collections compared."""

import pytest
from PIL import Image

from fastreid.cli.main import main
from fastreid.synthetic import Collection, write_patents
from fastreid.utils.errors import InputError


def test_tables_and_histograms_have_all_collections(tmp_path, capsys):
    write_patents(tmp_path, Collection(3, 1, 2, size_px=64))
    plots = tmp_path / "plots.png"
    assert main(["data", "measure", f"a={tmp_path}", f"b={tmp_path}", "--plots", str(plots)]) == 0
    output = capsys.readouterr().out
    for measure in ("ink", "stroke", "pieces", "aspect", "drawings"):
        rows = [line.split("|")[3:] for line in output.splitlines() if line.startswith(f"| {measure} ")]
        assert len(rows) == 2
        assert rows[0] == rows[1]
    assert "| HOG   |   queries |" in output
    with Image.open(plots) as image:
        assert image.width > image.height > 100


def test_collection_needs_a_name():
    with pytest.raises(InputError, match="NAME=DIR"):
        main(["data", "measure", "/somewhere"])
