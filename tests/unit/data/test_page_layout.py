from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFont

from fastreid.config import get_cfg
from fastreid.data.io.image import read_image
from fastreid.data.transforms.build import build_test_transforms, build_train_transforms
from fastreid.data.transforms.page_layout import InkCrop, LabelRemoval, RandomRotate90
from fastreid.synthetic import make_patent
from fastreid.utils.seeding import keyed_torch_rng

SHEETS = Path(__file__).parents[4] / "shared/data/uspto_design/train_data/patent_data"
STEPS = {"rot90": RandomRotate90, "crop": lambda prob: InkCrop(prob, margin=0.02), "label": LabelRemoval}


def ink(image):
    return np.asarray(image) < 128


def object_page(width=400, height=600):
    """Return a page with nested boxes in its upper half."""
    page = Image.new("L", (width, height), 255)
    pen = ImageDraw.Draw(page)
    for inset in range(0, 100, 20):
        pen.rectangle((60 + inset, 40 + inset, 340 - inset, 320 - inset), outline=0, width=4)
    return page


def frame():
    """Return a page with a large frame."""
    page = Image.new("L", (400, 600), 255)
    ImageDraw.Draw(page).rectangle((40, 40, 360, 560), outline=0, width=8)
    return page


def write(page, text, position, *, size=28):
    ImageDraw.Draw(page).text(position, text, font=ImageFont.load_default(size), fill=0)
    return page


def labeled_page():
    return write(object_page(), "FIG. 3", (150, 520))


@pytest.mark.parametrize("name", STEPS)
def test_step_probability_and_input_unchanged(name):
    page = labeled_page()
    before = page.copy()

    def changed(prob, seed):
        with keyed_torch_rng(seed):
            result = STEPS[name](prob)(page)
        return result.size != page.size or not np.array_equal(np.asarray(result), np.asarray(page))

    assert not any(changed(0.0, seed) for seed in range(10))
    assert 30 < sum(changed(0.5, seed) for seed in range(100)) < 70
    assert np.array_equal(np.asarray(page), np.asarray(before))


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("level", [0, 255])
@pytest.mark.parametrize("size", [(1, 1), (1, 30), (900, 700)])
def test_uniform_page_is_unchanged(name, level, size):
    result = STEPS[name](1.0)(Image.new("L", size, level))
    assert sorted(result.size) == sorted(size)
    assert np.unique(result).tolist() == [level]


def test_rot90_angles_are_equally_likely():
    page = Image.fromarray(np.arange(6, dtype=np.uint8).reshape(2, 3))
    rotations = [np.rot90(np.asarray(page), num).tolist() for num in (1, 2, 3)]
    indices = []
    for seed in range(150):
        with keyed_torch_rng(seed):
            indices.append(rotations.index(np.asarray(RandomRotate90(1.0)(page)).tolist()))
    assert np.bincount(indices, minlength=3).min() > 35


def test_ink_crop_keeps_the_ink_and_the_margin():
    page = object_page()
    assert InkCrop(1.0, margin=0.0)(page).size == (281, 281)
    cropped = InkCrop(1.0, margin=0.1)(page)
    assert cropped.size == (281 + 56, 281 + 56)
    assert np.array_equal(np.asarray(cropped), np.asarray(page)[12 : 321 + 28, 32 : 341 + 28])


def test_ink_crop_ignores_gray_paper_and_never_pads():
    page = Image.new("L", (50, 40), 200)
    assert InkCrop(1.0, margin=0.02)(page).size == (50, 40)
    page.putpixel((3, 39), 0)
    assert InkCrop(1.0, margin=5.0)(page).size == (9, 6)


@pytest.mark.parametrize("text", ["FIG. 3", "FIG.12", "Fig. 7", "FIG 1"])
@pytest.mark.parametrize("num_rotations", [0, 1, 2, 3])
@pytest.mark.parametrize("upscaling", [1, 3])
def test_label_is_removed_and_drawing_is_unchanged(text, num_rotations, upscaling):
    def scan(page):
        size = (page.width * upscaling, page.height * upscaling)
        return np.rot90(np.asarray(page.resize(size, Image.Resampling.NEAREST)), num_rotations)

    plain = scan(object_page())
    page = scan(write(object_page(), text, (150, 520)))
    assert not np.array_equal(page, plain)
    assert np.array_equal(np.asarray(LabelRemoval(1.0)(Image.fromarray(page))), plain)


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(object_page(), id="no label"),
        pytest.param(write(frame(), "FIG. 3", (150, 300)), id="letters on the object"),
        pytest.param(write(object_page(), "FIG. 3", (150, 305)), id="letters close to the object"),
        pytest.param(write(object_page(), "FIG. 3", (60, 450), size=100), id="large letters"),
        pytest.param(write(Image.new("L", (400, 600), 255), "FIG. 3", (150, 520)), id="only a label"),
    ],
)
def test_possible_parts_of_the_drawing_are_kept(page):
    assert np.array_equal(np.asarray(LabelRemoval(1.0)(page)), np.asarray(page))


def test_synthetic_sheets_lose_only_their_label():
    num_cleared = 0
    for patent in (14, 20, 34):
        page = np.asarray(make_patent(0, patent).render(1, size_px=640).convert("L"))
        rows, columns = np.nonzero(np.asarray(LabelRemoval(1.0)(Image.fromarray(page))) != page)
        num_cleared += bool(rows.size)
        assert rows.size == 0 or min(np.ptp(rows), np.ptp(columns)) < 32
    assert num_cleared >= 2


def test_layout_steps_are_built_from_the_config():
    cfg = get_cfg()
    names = ("LABEL", "INK_CROP")
    options = [item for name in names for item in (f"INPUT.{name}.ENABLED", True, f"INPUT.{name}.PROB", 1.0)]
    cfg.merge_from_list(
        [*options, "INPUT.SIZE_TRAIN", [100, 100], "INPUT.LINE_AUG.OPS", ["rot90"], "INPUT.LINE_AUG.PROB", 1.0]
    )
    cfg.freeze()
    pipeline = build_train_transforms(cfg)
    assert (pipeline(np.full((50, 80), 255, np.uint8)) == 255).all()
    image = pipeline(np.asarray(labeled_page()))
    assert (image < 128).any(0).float().argmax() < 400  # the box reaches the edge: cropped, without the label
    assert (image[0, -8:] < 200).any()


@pytest.mark.skipif(not SHEETS.is_dir(), reason="needs the USPTO sheets in ../shared/data")
def test_real_sheets_lose_only_their_label():
    paths = sorted(SHEETS.glob("*/*.png"))[::12]
    losses = []
    for path in paths:
        page = read_image(path)
        cleared = np.asarray(LabelRemoval(1.0)(Image.fromarray(page)))
        assert (cleared >= page).all()
        losses.append((255 - page.astype(float)).sum() / (255 - cleared.astype(float)).sum() - 1)
    assert max(losses) < 0.064
    assert 0.3 < np.mean(np.array(losses) > 0) < 0.9


def test_test_transforms_use_label_and_crop_only_if_set():
    def image(*settings):
        cfg = get_cfg()
        enabled = [f"INPUT.{name}.ENABLED" for name in ("LABEL", "INK_CROP")]  # only for training
        cfg.merge_from_list(
            ["INPUT.SIZE_TEST", [300, 200], *(item for key in enabled for item in (key, True)), *settings]
        )
        return build_test_transforms(cfg)(np.asarray(labeled_page()))[0]

    plain, bare = image(), image("INPUT.LABEL.IN_TESTS", True)
    cut = image("INPUT.LABEL.IN_TESTS", True, "INPUT.INK_CROP.IN_TESTS", True, "INPUT.INK_CROP.MARGIN", 0.0)
    assert plain[250:].min() < 128 < 250 < bare[250:].min()
    assert torch.equal(plain[:225], bare[:225])
    assert all(side.min() < 128 for side in (cut[0], cut[-1], cut[:, 0], cut[:, -1]))


def test_certain_steps_sample_nothing():
    before = torch.get_rng_state()
    for step in STEPS.values():
        if step is not RandomRotate90:
            step(1.0)(labeled_page())
    assert torch.equal(torch.get_rng_state(), before)
