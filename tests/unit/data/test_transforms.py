"""From a page to the network's input."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from fastreid.data.io.image import read_image
from fastreid.data.transforms.autoaugment import POLICIES, AugMix, AutoAugment, apply
from fastreid.data.transforms.pipeline import PadAndCrop, Pipeline, Resize
from fastreid.data.transforms.random_erasing import RandomErasing
from fastreid.data.transforms.random_patch import RandomPatch
from fastreid.structures import Drawing
from fastreid.utils.errors import InputError
from fastreid.utils.seeding import keyed_torch

WHITE = Image.new("L", (40, 30), 255)


def slope():
    return Image.fromarray(np.tile(np.arange(256, dtype=np.uint8), (16, 1)))


def levels(image):
    return np.asarray(image).astype(int)


def test_a_pipeline_gives_three_equal_float_channels_0_to_255():
    page = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
    image = Pipeline([])(page)
    assert (image.dtype, image.shape) == (torch.float32, (3, 3, 4))
    assert all(np.array_equal(channel.numpy(), page) for channel in image)


def test_a_pipeline_leaves_the_page_as_it_was():
    page = np.full((9, 9), 200, np.uint8)
    Pipeline([lambda image: image.point(lambda level: 0)], [RandomErasing(1.0, value=[1, 2, 3])])(page)
    assert (page == 200).all()


@pytest.mark.parametrize("page", [np.zeros((4, 4)), np.zeros((4, 4, 3), np.uint8), np.zeros((0, 4), np.uint8)])
def test_what_is_not_a_grey_page_is_refused(page):
    with pytest.raises(InputError, match=r"a page is uint8 \(H, W\)"):
        Pipeline([])(page)


def test_one_number_is_the_short_side_and_two_are_height_and_width():
    assert Resize([15], max_pixels=10**6)(WHITE).size == (20, 15)
    assert Resize([15], max_pixels=10**6)(WHITE.transpose(Image.Transpose.ROTATE_90)).size == (15, 20)
    assert Resize([7, 9], max_pixels=10**6)(WHITE).size == (9, 7)


def test_a_page_so_long_that_it_would_not_fit_is_refused():
    with pytest.raises(InputError, match="would become 256000 x 256"):
        Resize([256], max_pixels=10**6)(Image.new("L", (1000, 1)))


def test_padding_a_white_page_leaves_it_white_and_black_fill_shows():
    for seed in range(20):
        with keyed_torch(seed):
            padded = PadAndCrop(10, mode="constant", fill=255)(WHITE)
        assert padded.size == WHITE.size
        assert levels(padded).min() == 255
    with keyed_torch(0):
        assert levels(PadAndCrop(10, mode="constant", fill=0)(WHITE)).min() == 0


@pytest.mark.parametrize("mode", ["edge", "reflect", "symmetric"])
def test_the_other_paddings_bring_in_the_page_itself(mode):
    dark = Image.new("L", (40, 30), 90)
    assert np.unique(levels(PadAndCrop(10, mode=mode, fill=255)(dark))).tolist() == [90]


def test_an_unknown_padding_is_refused():
    with pytest.raises(InputError, match="mode 'mirror'; allowed are"):
        PadAndCrop(10, mode="mirror", fill=255)


def test_crops_after_padding_reach_every_offset():
    dot = np.full((30, 40), 255, np.uint8)
    dot[15, 20] = 0
    found = set()
    for seed in range(300):
        with keyed_torch(seed):
            found.add(
                tuple(np.argwhere(levels(PadAndCrop(2, mode="constant", fill=255)(Image.fromarray(dot))) == 0)[0])
            )
    assert found == {(row, column) for row in range(13, 18) for column in range(18, 23)}


def test_the_policies_are_torchvisions_imagenet_policies():
    published = v2.AutoAugment(v2.AutoAugmentPolicy.IMAGENET)._policies
    assert [[(name, prob) for name, prob, _ in pair] for pair in POLICIES] == [
        [(name, prob) for name, prob, _ in pair] for pair in published
    ]
    ours = [level for pair in POLICIES for _, _, level in pair]
    theirs = [level for pair in published for _, _, level in pair]
    assert all(level in (None, our) for our, level in zip(ours, theirs))


@pytest.mark.parametrize(
    ("name", "level", "expected"),
    [
        ("Posterize", 8, lambda grey: grey & 0b11111110),  # 4 + 3 bits
        ("Posterize", 5, lambda grey: grey & 0b11111100),  # 4 + 2 bits
        ("Solarize", 5, lambda grey: np.where(grey < 128, grey, 255 - grey)),
        ("Invert", 4, lambda grey: 255 - grey),
        ("Color", 8, lambda grey: grey),
        ("PosterizeMore", 1, lambda grey: grey & 0b11110000),
        ("SolarizeLess", 1, lambda grey: np.where(grey < 231, grey, 255 - grey)),
    ],
)
def test_an_operation_does_to_each_level_what_its_formula_says(name, level, expected):
    assert np.array_equal(levels(apply(name, slope(), level, fill=255)), expected(levels(slope())))


def test_contrast_and_sharpness_have_the_factor_of_their_formula():
    grey = levels(slope())
    mean = round(grey.mean())
    expected = np.clip(mean + (1.8 * 0.8 + 0.1) * (grey - mean), 0, 255)
    assert np.abs(levels(apply("Contrast", slope(), 8, fill=255)) - expected).max() <= 1
    neutral = apply("Sharpness", slope(), 5, fill=255)
    assert np.array_equal(levels(neutral), grey)


@pytest.mark.parametrize("name", ["Rotate", "ShearX", "ShearY", "TranslateX", "TranslateY"])
def test_what_comes_in_from_outside_has_the_fill(name):
    for seed in range(8):
        with keyed_torch(seed):
            assert levels(apply(name, WHITE, 9, fill=255)).min() == 255
    assert levels(apply(name, WHITE, 9, fill=0)).min() == 0


def test_a_shear_of_level_10_moves_a_row_by_three_tenths_of_its_height():
    page = np.full((101, 201), 255, np.uint8)
    page[:, 100] = 0
    sheared = levels(apply("ShearX", Image.fromarray(page), 10, fill=255))
    assert abs(abs(int(sheared[100].argmin()) - int(sheared[0].argmin())) - 30) <= 1


@pytest.mark.parametrize("kind", [AutoAugment, AugMix])
def test_augmentation_comes_with_its_probability_and_follows_from_the_key(kind):
    page = Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 24), dtype=np.uint8))

    def draw(seed, prob):
        with keyed_torch("test", seed):
            return levels(kind(prob, fill=255)(page))

    assert all(np.array_equal(draw(seed, 0.0), levels(page)) for seed in range(10))
    changed = [not np.array_equal(draw(seed, 0.5), levels(page)) for seed in range(200)]
    assert 40 < sum(changed) < 130
    assert all(np.array_equal(draw(seed, 1.0), draw(seed, 1.0)) for seed in range(10))


def test_every_policy_runs_on_a_page_of_one_pixel():
    for seed in range(200):
        with keyed_torch(seed):
            assert AutoAugment(1.0, fill=255)(Image.new("L", (1, 1), 7)).size == (1, 1)


@pytest.fixture
def donors(tmp_path):
    drawings = []
    for level in (10, 60):
        Image.new("L", (50, 70), level).save(tmp_path / f"{level}.png")
        drawings.append(Drawing(str(tmp_path / f"{level}.png"), f"{level}.png", "1", source=f"list:{level}"))
    return drawings


def test_a_random_patch_is_a_rectangle_of_a_donor(donors):
    image = Image.new("L", (60, 40), 255)
    for seed in range(40):
        with keyed_torch(seed):
            pasted = levels(RandomPatch(donors, prob=1.0)(image))
        rows, columns = np.nonzero(pasted != 255)
        patch = pasted[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        assert np.unique(patch).tolist() in ([10], [60])
        assert 0.005 < patch.size / pasted.size <= 0.55
    assert (levels(image) == 255).all()


def test_a_patch_of_a_drawing_that_cannot_be_read_is_told_with_its_line(donors, tmp_path):
    for donor in donors:
        (tmp_path / donor.name).unlink()
    with pytest.raises(InputError, match=r"^for a random patch, list:[16]0: "):
        RandomPatch(donors, prob=1.0)(Image.new("L", (8, 8)))


def test_a_patch_needs_donors():
    with pytest.raises(InputError, match=r"INPUT\.RPT\.ENABLED needs the training drawings"):
        RandomPatch((), prob=0.5)


def test_resizing_is_pillows_bicubic_to_the_bit(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (77, 55), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    page = read_image(tmp_path / "a.png")
    expected = Image.fromarray(noise).convert("RGB").resize((32, 48), Image.Resampling.BICUBIC)
    image = Pipeline([Resize([48, 32], max_pixels=10**6)])(page)
    assert np.array_equal(image.permute(1, 2, 0).numpy(), np.asarray(expected, dtype=np.float32))


def test_what_is_drawn_for_a_page_and_made_on_a_batch_is_the_whole_way_of_each():
    pages = [np.random.default_rng(seed).integers(0, 256, (30, 20), dtype=np.uint8) for seed in range(9)]
    pipeline = Pipeline([PadAndCrop(3, mode="constant", fill=255)], [RandomErasing(0.5, value=[10, 20, 30])])
    alone, ready = [], []
    for seed, page in enumerate(pages):
        for taken, give in ((alone, pipeline), (ready, pipeline.prepare)):
            with keyed_torch(seed):
                taken.append(give(page))
    levels_of, numbers = (torch.stack(part) for part in zip(*ready))
    assert (levels_of.dtype, tuple(levels_of.shape), tuple(numbers.shape)) == (torch.uint8, (9, 1, 30, 20), (9, 4))
    assert torch.equal(pipeline.finish(levels_of, numbers), torch.stack(alone))


def test_erasing_takes_rectangles_of_the_published_sizes_as_often_as_asked():
    images = torch.full((400, 3, 40, 60), 255.0)
    step = RandomErasing(0.5, value=[10, 20, 30])
    with keyed_torch(0):
        numbers = torch.tensor([step.draw(40, 60) for _ in range(400)], dtype=torch.float32)
    erased = step.apply(images, numbers)
    shares = (erased[:, 0] == 10).float().mean((1, 2))
    assert 0.4 < (shares > 0).float().mean() < 0.6
    assert 0.015 < shares[shares > 0].min() < 0.04
    assert 0.25 < shares.max() <= 0.34
    assert ((erased[:, 1] == 20) == (erased[:, 0] == 10)).all()
    assert ((erased == 255).all(1) | (erased == torch.tensor([10.0, 20, 30])[:, None, None]).all(1)).all()
    top, left, high, wide = numbers[shares > 0].unbind(1)
    assert (top + high <= 40).all()
    assert (left + wide <= 60).all()
    assert top.max() > 15
    assert left.max() > 25
    assert (high / wide).max() > 2
    assert (images == 255).all()


def test_a_page_that_fits_keeps_its_aspect_and_the_rest_is_filled():
    page = Image.new("L", (20, 40), 0)
    fitted = levels(Resize([30, 50], max_pixels=10**6, aspect="fit", fill=200)(page))
    assert fitted.shape == (30, 50)
    assert (fitted[:, 17:32] == 0).all()
    assert (np.delete(fitted, range(17, 32), axis=1) == 200).all()


def test_a_page_is_padded_to_a_square_before_it_is_squashed():
    page = Image.new("L", (20, 40), 0)
    padded = levels(Resize([40, 80], max_pixels=10**6, aspect="pad", fill=255)(page))
    assert padded.shape == (40, 80)
    assert (padded[:, 24:56] == 0).all()
    assert (padded[:, [*range(16), *range(64, 80)]] == 255).all()


def test_a_square_page_is_the_same_by_every_aspect():
    page = Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 50), dtype=np.uint8))
    one, *others = (levels(Resize([24, 24], max_pixels=10**6, aspect=aspect)(page)) for aspect in Resize.ASPECTS)
    assert all(np.array_equal(one, other) for other in others)


@pytest.mark.parametrize(("size", "aspect"), [([24], "fit"), ([24], "pad"), ([24, 24], "stretch")])
def test_an_aspect_that_cannot_be_is_refused(size, aspect):
    with pytest.raises(InputError, match=r"INPUT\.ASPECT is .* allowed are squash, pad, fit"):
        Resize(size, max_pixels=10**6, aspect=aspect)


def test_a_page_whose_square_would_be_too_large_is_refused_and_not_made():
    with pytest.raises(InputError, match=r"padded to a square over the 1000000 px of INPUT\.MAX_PIXELS"):
        Resize([24, 24], max_pixels=10**6, aspect="pad")(Image.new("L", (20_000, 2)))
