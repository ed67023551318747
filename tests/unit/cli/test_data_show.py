"""`fastreid data show`: the sheet of what each augmentation does."""

import numpy as np
import pytest
from PIL import Image

from fastreid.cli.main import main
from fastreid.experiments.augmentation_sheet import AUGMENTATIONS, MARGIN_PX, plot_augmentations
from fastreid.utils.errors import InputError, StorageError

CONFIG = """
INPUT:
  SIZE_TRAIN: [40, 30]
  CROP: {SIZE: [40, 30]}
  PADDING: {ENABLED: true, SIZE: 9}
  INK_CROP: {PROB: 0.0, MARGIN: 0.0}
  LINE_AUG: {PROB: 0.0, STRENGTH: 2}
"""


@pytest.fixture
def inputs(tmp_path):
    """A folder with a config and a drawing."""
    page = np.full((80, 60), 255, np.uint8)
    page[10:70, 10:50] = 0
    Image.fromarray(page).save(tmp_path / "a.png")
    (tmp_path / "a.yml").write_text(CONFIG)
    return tmp_path


def show(*options):
    return main(["data", "show", *map(str, options)])


def read_cells(path, *, row, size=(40, 30)):
    """Return the images of one row, the original first, as gray arrays of a size (H, W)."""
    sheet, (height, width) = np.asarray(Image.open(path).convert("L")), size
    top, lefts = row * (height + 4) + 2, range(MARGIN_PX + 2, sheet.shape[1], width + 4)
    return [sheet[top : top + height, left : left + width] for left in lefts]


def test_row_has_the_original_and_samples_of_configured_strength(inputs):
    files = ["--output", inputs / "out.png", "--config-file", inputs / "a.yml", "--image", inputs / "a.png"]
    assert show(*files, "--samples", 3) == 0
    plain, *cropped = read_cells(inputs / "out.png", row=AUGMENTATIONS.index("INK_CROP"))
    assert len(cropped) == 3
    ratios = [(cell < 128).mean() for cell in (plain, *cropped)]
    assert ratios[0] == pytest.approx(0.5, abs=0.05)
    assert ratios[1:] == [1.0] * 3
    widths = [(cell < 250).mean() for cell in read_cells(inputs / "out.png", row=AUGMENTATIONS.index("stroke_width"))]
    assert max(widths[1:]) > widths[0]
    assert all((read_cells(inputs / "out.png", row=row)[0] == plain).all() for row in range(len(AUGMENTATIONS)))
    together = read_cells(inputs / "out.png", row=len(AUGMENTATIONS))
    assert any((cell != plain).any() for cell in together)


def test_sheet_is_reproducible_with_one_row_per_drawing(inputs):
    options = ["--config-file", inputs / "a.yml", "--samples", 1, "--image", inputs / "a.png", inputs / "a.png"]
    for name in ("one.png", "two.png"):
        show("--output", inputs / name, *options)
    assert (inputs / "one.png").read_bytes() == (inputs / "two.png").read_bytes()
    with Image.open(inputs / "one.png") as image:
        assert image.height == 44 * 2 * (len(AUGMENTATIONS) + 1)


def test_unused_crop_has_the_size_of_the_images(inputs):
    (inputs / "a.yml").write_text(CONFIG.replace("  CROP: {SIZE: [40, 30]}\n", ""))
    options = ["--config-file", inputs / "a.yml", "--image", inputs / "a.png", "--samples", 1]
    assert show("--output", inputs / "out.png", *options) == 0
    with Image.open(inputs / "out.png") as image:
        assert image.height == 44 * (len(AUGMENTATIONS) + 1)


@pytest.mark.parametrize("name", ["out", "out.jpg", "png"])
def test_output_must_be_png(name, inputs):
    with pytest.raises(InputError, match=r"the image is a PNG, so its name must end in \.png"):
        show("--output", inputs / name)
    assert not (inputs / name).exists()


def test_synthetic_drawing_is_shown_without_an_image(inputs):
    assert show("--output", inputs / "out.png", "--samples", 1) == 0
    plain, augmented = read_cells(inputs / "out.png", row=AUGMENTATIONS.index("warp"), size=(168, 128))
    assert 0.01 < (plain < 230).mean() < 0.5  # thin dark lines on white paper
    assert (augmented != plain).any()


def test_unwritable_output_fails_before_rendering(monkeypatch):
    monkeypatch.setattr("fastreid.experiments.augmentation_sheet.show_augmentations", None)
    with pytest.raises(StorageError, match="cannot be written"):
        show("--output", "/proc/none/a.png")


def test_image_must_be_a_drawing(inputs):
    with pytest.raises(InputError, match=r"a\.yml"):
        show("--output", inputs / "out.png", "--image", inputs / "a.yml")
    assert not (inputs / "out.png").exists()


def test_cells_have_the_size_of_their_row_and_names_are_centered():
    small, large = (Image.new("RGB", size, "white") for size in ((60, 40), (224, 224)))
    sheet = np.asarray(plot_augmentations([("HHH", [small] * 3), ("large", [small, large])]))
    assert sheet.shape == (44 + 228, MARGIN_PX + 2 * 228)
    for column in range(3):
        left = MARGIN_PX + column * 64 + 2
        assert (sheet[2:42, left : left + 60] == 255).all()
    rows = np.flatnonzero((sheet[:44, :MARGIN_PX] < 60).any(axis=1))
    assert (rows[0] + rows[-1]) / 2 == pytest.approx(22, abs=2)
    rows = np.flatnonzero((sheet[44:, :MARGIN_PX] < 60).any(axis=1))
    assert (rows[0] + rows[-1]) / 2 == pytest.approx(114, abs=3)


def test_sheet_keeps_black_lines_and_white_paper():
    page = np.full((400, 400, 3), 255, np.uint8)
    page[:, 200] = 0  # a line so thin that a palette by frequency would make it gray
    page[::2, ::3] = 250
    sheet = plot_augmentations([("plain", [Image.fromarray(page)])])
    levels = np.asarray(sheet)[10:380, MARGIN_PX + 10 : MARGIN_PX + 390]
    assert (levels[:, 192] == 0).all()
    assert set(np.unique(levels)) == {0, 255}
