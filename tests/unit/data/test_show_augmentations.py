"""The picture of what each augmentation does."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastreid.utils.errors import InputError

TOOL = Path(__file__).parents[3] / "tools/show_augmentations.py"
CONFIG = """
INPUT:
  SIZE_TRAIN: [40, 30]
  CROP: {SIZE: [40, 30]}
  PADDING: {ENABLED: true, SIZE: 9}
  WARP: {PROB: 0.0, ROTATE: 0, SHEAR: 0, SCALE: [0.5, 0.5]}
"""


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("show_augmentations", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def given(tmp_path):
    page = np.full((80, 60), 255, np.uint8)
    page[10:70, 10:50] = 0
    Image.fromarray(page).save(tmp_path / "a.png")
    (tmp_path / "a.yml").write_text(CONFIG)
    return tmp_path


def cells(path, tool, *, row):
    """The pictures of one row, the plain one first, as grey arrays (40, 30)."""
    sheet = np.asarray(Image.open(path).convert("L"))
    top, lefts = row * 44 + 2, range(tool.MARGIN_PX + 2, sheet.shape[1], 34)
    return [sheet[top : top + 40, left : left + 30] for left in lefts]


def test_a_row_is_the_drawing_as_it_is_and_each_draw_at_the_configs_strength(given, tool):
    words = ["--output", given / "out.png", "--config-file", given / "a.yml", "--image", given / "a.png"]
    assert tool.main([*map(str, words), "--draws", "3"]) == 0
    plain, *warped = cells(given / "out.png", tool, row=tool.SWITCHES.index("WARP"))
    assert len(warped) == 3
    share = [(cell < 128).mean() for cell in (plain, *warped)]
    assert share[0] == pytest.approx(0.5, abs=0.05)
    assert share[1:] == pytest.approx([0.125] * 3, abs=0.03)
    assert all((cells(given / "out.png", tool, row=row)[0] == plain).all() for row in range(len(tool.SWITCHES)))
    together = cells(given / "out.png", tool, row=len(tool.SWITCHES))
    assert any((cell != plain).any() for cell in together)


def test_the_picture_is_the_same_each_time_and_has_a_row_for_each_drawing(given, tool):
    words = ["--config-file", given / "a.yml", "--draws", "1", "--image", given / "a.png", given / "a.png"]
    for name in ("one.png", "two.png"):
        tool.main(["--output", *map(str, [given / name, *words])])
    assert (given / "one.png").read_bytes() == (given / "two.png").read_bytes()
    with Image.open(given / "one.png") as image:
        assert image.height == 44 * 2 * (len(tool.SWITCHES) + 1)


@pytest.mark.parametrize("name", ["out", "out.jpg", "png"])
def test_a_name_that_is_no_pngs_is_refused(name, given, tool):
    with pytest.raises(InputError, match=r"the picture is a PNG, so its name ends in \.png"):
        tool.main(["--output", str(given / name)])
    assert not (given / name).exists()


def test_a_file_that_is_no_drawing_is_refused(given, tool):
    with pytest.raises(InputError, match=r"a\.yml"):
        tool.main(["--output", str(given / "out.png"), "--image", str(given / "a.yml")])
    assert not (given / "out.png").exists()
