"""INPUT.COLOR rgb: three channels from the file to the network, and the gray default unchanged."""

import numpy as np
import pytest
import torch
from PIL import Image

from fastreid.config import get_cfg
from fastreid.data.build import MAX_DECODED_SAMPLES, build_cache, log_color_mode
from fastreid.data.io.cache.store import PageCache
from fastreid.data.io.color import MAX_SAMPLED_DRAWINGS, is_colored, sample_drawings
from fastreid.data.io.image import MAX_PIXELS, read_drawing
from fastreid.data.transforms.autoaugment import AugMix, AutoAugment, apply_operation
from fastreid.data.transforms.build import LINE_OPERATIONS, build_test_transforms, build_train_transforms
from fastreid.data.transforms.page_layout import InkCrop, LabelRemoval
from fastreid.data.transforms.pipeline import Pipeline, Resize
from fastreid.data.transforms.random_patch import RandomPatch
from fastreid.data.transforms.strokes import StrokeGaps, StrokeWidth
from fastreid.engine.data import build_reader, build_train_loader
from fastreid.structures import Drawing
from fastreid.synthetic import Collection
from fastreid.synthetic.stream import list_drawings
from fastreid.utils.errors import InputError
from fastreid.utils.seeding import keyed_torch_rng

RED, WHITE = (200, 0, 0), (255, 255, 255)
RNG = np.random.default_rng(0)
GRAY_PAGE = RNG.integers(0, 256, (40, 30), dtype=np.uint8)
COLOR_PAGE = RNG.integers(0, 256, (40, 30, 3), dtype=np.uint8)
STEPS = ("LABEL", "INK_CROP", "AUTOAUG", "CROP", "PADDING", "FLIP", "CJ", "AFFINE", "AUGMIX", "RPT", "REA")
DONOR = Drawing("", "donor", "1")


def make_config(*options):
    cfg = get_cfg()
    sizes = ["INPUT.SIZE_TRAIN", [32, 24], "INPUT.SIZE_TEST", [32, 24], "INPUT.CROP.SIZE", [32, 24]]
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", "DATALOADER.NUM_WORKERS", 0, *sizes, *options])
    cfg.freeze()
    return cfg


def always(name):
    if name in LINE_OPERATIONS:
        return ["INPUT.LINE_AUG.OPS", [name], "INPUT.LINE_AUG.PROB", 1.0]
    prob = [] if name in ("CROP", "PADDING", "AFFINE") else [f"INPUT.{name}.PROB", 1.0]
    return [f"INPUT.{name}.ENABLED", True, *prob]


def augment(page, *options, seed=0, donor=GRAY_PAGE):
    transforms = build_train_transforms(make_config(*options), donors=[DONOR], read=lambda _: donor)
    with keyed_torch_rng(seed):
        return transforms(page)


def save(path, page, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(page).save(path, **options)
    return Drawing(str(path), path.name, "1", source=f"list.txt:{path.stem}")


def test_test_transforms_keep_each_channel():
    image = build_test_transforms(make_config("INPUT.COLOR", "rgb", "INPUT.SIZE_TEST", [40, 30]))(COLOR_PAGE)
    assert (image.dtype, image.shape) == (torch.float32, (3, 40, 30))
    assert np.array_equal(image.permute(1, 2, 0).numpy(), COLOR_PAGE)


@pytest.mark.parametrize("aspect", ["squash", "pad", "fit"])
def test_channels_are_resized_like_gray_pages(aspect):
    resize = Resize([20, 26], max_pixels=10**6, aspect=aspect, fill=7)
    image = Pipeline([resize], color=True)(COLOR_PAGE)
    for channel, page in zip(image, np.moveaxis(COLOR_PAGE, 2, 0)):
        assert torch.equal(channel, Pipeline([resize])(np.ascontiguousarray(page))[0])


def test_prepared_gray_page_has_one_channel_and_color_three():
    assert Pipeline([]).prepare(GRAY_PAGE)[0].shape == (1, 40, 30)
    assert Pipeline([], color=True).prepare(COLOR_PAGE)[0].shape == (3, 40, 30)


@pytest.mark.parametrize("page", [np.zeros((4, 4)), np.zeros((4, 4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8)])
def test_invalid_page_with_color_raises(page):
    with pytest.raises(InputError, match=r"a page must be uint8 \(H, W\) or \(H, W, 3\)"):
        Pipeline([], color=True)(page)


@pytest.mark.parametrize("name", [name for name in (*STEPS, *LINE_OPERATIONS) if name != "CJ"])
def test_gray_page_gives_the_same_image_with_color(name):
    for seed in range(6):
        gray, color = (augment(GRAY_PAGE, "INPUT.COLOR", mode, *always(name), seed=seed) for mode in ("gray", "rgb"))
        assert torch.equal(gray, color)


@pytest.mark.parametrize("name", [*STEPS, *LINE_OPERATIONS])
def test_every_augmentation_keeps_color(name):
    images = [augment(COLOR_PAGE, "INPUT.COLOR", "rgb", *always(name), seed=seed) for seed in range(6)]
    assert all(image.shape == (3, 32, 24) and image.min() >= 0 and image.max() <= 255 for image in images)
    assert all((image.amax(0) - image.amin(0)).mean() > 20 for image in images[:1])


@pytest.mark.parametrize("augmentation", [AutoAugment, AugMix])
def test_pixels_from_outside_have_the_fill_level_in_every_channel(augmentation):
    page = Image.new("RGB", (24, 24), WHITE)
    for name in ("Rotate", "ShearX", "TranslateY"):
        with keyed_torch_rng(0, name):
            assert (np.asarray(apply_operation(name, page, 9, fill=255)) == 255).all()
    with keyed_torch_rng(0):
        assert augmentation(1.0, fill=255, policy="drawings")(page).mode == "RGB"


def test_color_operation_changes_the_saturation_of_color_pages_only():
    gray = Image.fromarray(GRAY_PAGE)
    assert apply_operation("Color", gray, 0, fill=255) is gray
    page = Image.new("RGB", (2, 2), RED)
    pale = np.asarray(apply_operation("Color", page, 0, fill=255)).astype(int)  # factor 0.1
    vivid = np.asarray(apply_operation("Color", page, 10, fill=255)).astype(int)  # factor 1.9
    assert np.ptp(pale[0, 0]) < 30 < 200 <= np.ptp(vivid[0, 0])


def test_ink_crop_finds_red_ink():
    page = Image.new("RGB", (40, 30), WHITE)
    page.paste((150, 0, 0), (10, 5, 20, 25))
    assert InkCrop(1.0, margin=0.0)(page).size == (10, 20)


def test_label_is_erased_in_white():
    page = np.full((640, 480, 3), 255, np.uint8)
    page[100:400, 100:110] = page[100:110, 100:400] = page[390:400, 100:400] = page[100:400, 390:400] = RED
    for index in range(4):  # a row of letters
        page[560:576, 200 + 14 * index : 208 + 14 * index] = (0, 0, 90)
    cleared = np.asarray(LabelRemoval(1.0)(Image.fromarray(page)))
    assert (cleared[540:600] == 255).all()
    assert np.array_equal(cleared[:500], page[:500])


@pytest.mark.parametrize("donor", [GRAY_PAGE, COLOR_PAGE])
def test_patch_has_the_mode_of_the_page(donor):
    patch = RandomPatch([DONOR], prob=1.0, read=lambda _: donor)
    with keyed_torch_rng(0):
        assert patch(Image.fromarray(COLOR_PAGE)).mode == "RGB"
    with keyed_torch_rng(0):
        assert patch(Image.fromarray(GRAY_PAGE)).mode == "L"


def test_stroke_gaps_are_on_ink_of_any_color():
    images = torch.full((1, 3, 40, 40), 255.0)
    images[:, 2, 10:20, 10:20] = 0  # yellow, whose red channel is that of paper
    step = StrokeGaps(1.0, num=5, size=0.05)
    changed = step.apply(images, torch.tensor([[12345.0, 5, 0.05]]))
    assert (changed[0, 2, 10:20, 10:20] == 255).any()
    assert (changed[:, :2] == 255).all()


def test_stroke_width_changes_each_channel_by_itself():
    images = torch.full((1, 3, 20, 20), 255.0)
    images[:, 1, 8:12] = 0
    thicker = StrokeWidth(1.0, thicken_px=2.0, thin_px=0.0).apply(images, torch.tensor([[2.0]]))
    assert (thicker[0, 1] == 0).sum() == 6 * 20
    assert (thicker[0, [0, 2]] == 255).all()


@pytest.mark.parametrize(("name", "value"), [("SATURATION", 0.5), ("HUE", 0.25)])
def test_color_jitter_of_gray_pages_is_an_error(name, value):
    with pytest.raises(InputError, match=rf"INPUT.CJ.{name} is {value}, which has no effect on gray pages; set INPUT"):
        build_train_transforms(make_config(f"INPUT.CJ.{name}", value))
    build_train_transforms(make_config(f"INPUT.CJ.{name}", 0.0))
    jitter = ["INPUT.CJ.BRIGHTNESS", 0.0, "INPUT.CJ.CONTRAST", 0.0, "INPUT.CJ.SATURATION", 0.0, "INPUT.CJ.HUE", 0.0]
    options = ["INPUT.COLOR", "rgb", *always("CJ"), *jitter]
    plain, changed = augment(COLOR_PAGE, *options), augment(COLOR_PAGE, *options, f"INPUT.CJ.{name}", value)
    assert (plain - changed).abs().mean() > 2


def test_cached_pages_have_the_colors_of_the_files(tmp_path):
    drawings = [save(tmp_path / f"data/{seed}.png", np.roll(COLOR_PAGE, seed)) for seed in range(3)]
    gray, color = (PageCache(tmp_path / "cache", longest_px=24, color=color) for color in (False, True))
    assert gray.path != color.path
    assert color.path.name.startswith("pages-rgb-24-")
    for cache in (gray, color):
        cache.fill(drawings)
    pages = [read_drawing(drawing, color=True, longest_px=24) for drawing in drawings]
    grays = [read_drawing(drawing, longest_px=24) for drawing in drawings]
    for drawing in drawings:
        (tmp_path / "data" / drawing.name).unlink()  # so that only the cache can give them
    assert all(np.array_equal(color.read(drawing), page) for drawing, page in zip(drawings, pages))
    assert all(np.array_equal(gray.read(drawing), page) for drawing, page in zip(drawings, grays))
    assert color.read(drawings[0]).shape == (24, 18, 3)


def test_cache_of_gray_pages_keeps_its_settings(tmp_path):
    assert set(PageCache(tmp_path, longest_px=24).settings) == {
        *("format", "decoder", "pillow", "longest_px", "max_pixels", "pdf")
    }


def test_reader_and_cache_of_a_config_have_its_color(tmp_path):
    drawing = save(tmp_path / "data/1.png", COLOR_PAGE)
    [rendered, *_] = [
        Drawing(f"generated:{address}", name, patent)
        for address, name, patent in list_drawings(Collection(0, 1, 1, size_px=64))
    ]
    for cached in (False, True):
        options = ["DATASETS.ROOT", str(tmp_path), "DATASETS.CACHE.ENABLED", cached]
        cfg = make_config("INPUT.COLOR", "rgb", *options)
        if cached:
            build_cache(cfg).fill([drawing])
        assert np.array_equal(build_reader(cfg)(drawing), COLOR_PAGE)
        assert build_reader(make_config(*options))(drawing).shape == (40, 30)
        image = build_test_transforms(cfg)(build_reader(cfg)(rendered))
        assert torch.equal(image[0], image[2])


@pytest.mark.parametrize("num_workers", [0, 1])
def test_training_batches_have_color(tmp_path, num_workers):
    drawings = []
    for row in range(8):
        page = np.zeros((30, 30, 3), np.uint8)
        page[:, :, row % 3] = 255
        drawings.append(Drawing(save(tmp_path / f"{row}.png", page).path, f"{row}.png", str(row % 3)))
    options = ["INPUT.COLOR", "rgb", "SOLVER.IMS_PER_BATCH", 4, "DATALOADER.NUM_WORKERS", num_workers]
    loader = build_train_loader(make_config(*options), drawings)
    batch = next(iter(loader))
    loader.close()
    expected = [255.0 * (channel == row % 3) for row in batch.rows.tolist() for channel in range(3)]
    assert batch.images.mean(dim=(2, 3)).flatten().tolist() == expected


@pytest.mark.parametrize(
    ("page", "options", "expected"),
    [
        (GRAY_PAGE, {}, False),
        (np.dstack([GRAY_PAGE] * 3), {}, False),
        (COLOR_PAGE, {}, True),
        (np.full((50, 50, 3), (150, 150, 160), np.uint8), {}, False),  # paper of a scan
    ],
)
def test_color_is_found(tmp_path, page, options, expected):
    assert is_colored(save(tmp_path / "1.png", page, **options), max_pixels=MAX_PIXELS) is expected


def test_gray_page_saved_as_color_jpeg_has_no_color(tmp_path):
    drawing = save(tmp_path / "1.jpg", np.dstack([GRAY_PAGE] * 3), quality=30)
    assert not is_colored(drawing, max_pixels=MAX_PIXELS)


def test_unreadable_drawing_counts_as_gray(tmp_path):
    (tmp_path / "1.png").write_bytes(b"no image")
    assert not is_colored(Drawing(str(tmp_path / "1.png"), "1.png", "1"), max_pixels=MAX_PIXELS)


def test_sample_is_spread_over_the_drawings_with_files():
    drawings = [Drawing(f"generated:{row}" if row % 2 else f"{row}.png", str(row), "1") for row in range(1000)]
    sample = [int(drawing.name) for drawing in sample_drawings(drawings)]
    assert len(set(sample)) == MAX_SAMPLED_DRAWINGS == 64
    assert (sample[0], sample[-1]) == (0, 998)
    assert all(row % 2 == 0 for row in sample)
    assert sample_drawings([]) == []


def test_log_names_the_mode_and_warns_of_lost_color(tmp_path, caplog):
    drawings = [save(tmp_path / f"{row}.png", COLOR_PAGE if row < 3 else GRAY_PAGE) for row in range(5)]
    with caplog.at_level("INFO", logger="fastreid"):
        log_color_mode(make_config(), drawings[:4], drawings[2:])
    assert [record.getMessage() for record in caplog.records] == [
        "pages are read in gray (INPUT.COLOR gray)",
        "3 of 5 sampled drawings contain color, which INPUT.COLOR gray removes; INPUT.COLOR rgb keeps it",
    ]
    caplog.clear()
    with caplog.at_level("INFO", logger="fastreid"):
        log_color_mode(make_config("INPUT.COLOR", "rgb"), drawings)
        log_color_mode(make_config(), drawings[3:])
    assert [record.levelname for record in caplog.records] == ["INFO", "INFO"]
    assert caplog.records[0].getMessage() == "pages are read with color (INPUT.COLOR rgb)"


def test_log_warns_of_dark_drawings(tmp_path, caplog):
    dark = [save(tmp_path / f"dark/{row}.png", GRAY_PAGE // 16) for row in range(20)]
    (tmp_path / "dark/0.png").write_bytes(b"no image")
    bright = [save(tmp_path / f"{row}.png", GRAY_PAGE) for row in range(20)]
    with caplog.at_level("WARNING", logger="fastreid"):
        log_color_mode(make_config(), bright)
        assert caplog.messages == []
        log_color_mode(make_config(), dark)
    assert caplog.messages == [
        f"{MAX_DECODED_SAMPLES - 1} of {MAX_DECODED_SAMPLES} sampled drawings are dark (no gray level above 127; "
        "paper is 255); save them with levels from 0 to 255"
    ]
