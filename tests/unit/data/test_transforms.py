from itertools import islice

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from fastreid.data.io.image import read_image
from fastreid.data.transforms.autoaugment import IMAGENET_POLICIES, POLICIES, AugMix, AutoAugment, apply_operation
from fastreid.data.transforms.pipeline import PadAndCrop, Pipeline, Resize
from fastreid.data.transforms.random_erasing import RandomErasing
from fastreid.data.transforms.random_patch import RandomPatch
from fastreid.structures import Drawing
from fastreid.synthetic import Collection
from fastreid.synthetic.stream import StreamRenderer, list_drawings
from fastreid.utils.errors import InputError
from fastreid.utils.seeding import keyed_torch_rng

WHITE = Image.new("L", (40, 30), 255)


def gradient_image():
    return Image.fromarray(np.tile(np.arange(256, dtype=np.uint8), (16, 1)))


def to_array(image):
    return np.asarray(image).astype(int)


def test_pipeline_returns_three_equal_float_channels():
    page = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
    image = Pipeline([])(page)
    assert (image.dtype, image.shape) == (torch.float32, (3, 3, 4))
    assert all(np.array_equal(channel.numpy(), page) for channel in image)


def test_pipeline_does_not_modify_the_page():
    page = np.full((9, 9), 200, np.uint8)
    Pipeline([lambda image: image.point(lambda level: 0)], [RandomErasing(1.0, value=[1, 2, 3])])(page)
    assert (page == 200).all()


@pytest.mark.parametrize("page", [np.zeros((4, 4)), np.zeros((4, 4, 3), np.uint8), np.zeros((0, 4), np.uint8)])
def test_invalid_page_raises(page):
    with pytest.raises(InputError, match=r"a page must be uint8 \(H, W\)"):
        Pipeline([])(page)


def test_resize_to_short_side_or_height_and_width():
    assert Resize([15], max_pixels=10**6)(WHITE).size == (20, 15)
    assert Resize([15], max_pixels=10**6)(WHITE.transpose(Image.Transpose.ROTATE_90)).size == (15, 20)
    assert Resize([7, 9], max_pixels=10**6)(WHITE).size == (9, 7)


def test_resize_raises_if_result_is_too_large():
    with pytest.raises(InputError, match=r"would become 256000 x 256 px, more than INPUT\.MAX_PIXELS"):
        Resize([256], max_pixels=10**6)(Image.new("L", (1000, 1)))


def test_padding_uses_the_fill_level():
    for seed in range(20):
        with keyed_torch_rng(seed):
            padded = PadAndCrop(10, mode="constant", fill=255)(WHITE)
        assert padded.size == WHITE.size
        assert to_array(padded).min() == 255
    with keyed_torch_rng(0):
        assert to_array(PadAndCrop(10, mode="constant", fill=0)(WHITE)).min() == 0


@pytest.mark.parametrize("mode", ["edge", "reflect", "symmetric"])
def test_other_padding_modes_use_the_page_content(mode):
    dark = Image.new("L", (40, 30), 90)
    assert np.unique(to_array(PadAndCrop(10, mode=mode, fill=255)(dark))).tolist() == [90]


def test_unknown_padding_mode_raises():
    with pytest.raises(InputError, match=r"mode 'mirror'; .* modes are constant, edge"):
        PadAndCrop(10, mode="mirror", fill=255)


def test_crops_after_padding_reach_every_offset():
    dot = np.full((30, 40), 255, np.uint8)
    dot[15, 20] = 0
    found = set()
    for seed in range(300):
        with keyed_torch_rng(seed):
            found.add(
                tuple(np.argwhere(to_array(PadAndCrop(2, mode="constant", fill=255)(Image.fromarray(dot))) == 0)[0])
            )
    assert found == {(row, column) for row in range(13, 18) for column in range(18, 23)}


def test_policies_match_torchvision():
    published = v2.AutoAugment(v2.AutoAugmentPolicy.IMAGENET)._policies
    assert [[(name, prob) for name, prob, _ in pair] for pair in IMAGENET_POLICIES] == [
        [(name, prob) for name, prob, _ in pair] for pair in published
    ]
    ours = [level for pair in IMAGENET_POLICIES for _, _, level in pair]
    theirs = [level for pair in published for _, _, level in pair]
    assert all(level in (None, our) for our, level in zip(ours, theirs))


@pytest.mark.parametrize(
    ("name", "level", "expected"),
    [
        ("Posterize", 8, lambda gray: gray & 0b11111110),  # 4 + 3 bits
        ("Posterize", 5, lambda gray: gray & 0b11111100),  # 4 + 2 bits
        ("Solarize", 5, lambda gray: np.where(gray < 128, gray, 255 - gray)),
        ("Invert", 4, lambda gray: 255 - gray),
        ("Color", 8, lambda gray: gray),
        ("PosterizeMore", 1, lambda gray: gray & 0b11110000),
        ("SolarizeLess", 1, lambda gray: np.where(gray < 231, gray, 255 - gray)),
    ],
)
def test_pixel_operations_match_their_formula(name, level, expected):
    assert np.array_equal(
        to_array(apply_operation(name, gradient_image(), level, fill=255)), expected(to_array(gradient_image()))
    )


def test_contrast_and_sharpness_factors():
    gray = to_array(gradient_image())
    mean = round(gray.mean())
    expected = np.clip(mean + (1.8 * 0.8 + 0.1) * (gray - mean), 0, 255)
    assert np.abs(to_array(apply_operation("Contrast", gradient_image(), 8, fill=255)) - expected).max() <= 1
    neutral = apply_operation("Sharpness", gradient_image(), 5, fill=255)
    assert np.array_equal(to_array(neutral), gray)


@pytest.mark.parametrize("name", ["Rotate", "ShearX", "ShearY", "TranslateX", "TranslateY"])
def test_outside_pixels_have_the_fill_level(name):
    for seed in range(8):
        with keyed_torch_rng(seed):
            assert to_array(apply_operation(name, WHITE, 9, fill=255)).min() == 255
    assert to_array(apply_operation(name, WHITE, 9, fill=0)).min() == 0


def test_shear_of_level_10_is_three_tenths_of_the_height():
    page = np.full((101, 201), 255, np.uint8)
    page[:, 100] = 0
    sheared = to_array(apply_operation("ShearX", Image.fromarray(page), 10, fill=255))
    assert abs(abs(int(sheared[100].argmin()) - int(sheared[0].argmin())) - 30) <= 1


@pytest.mark.parametrize("augmentation", [AutoAugment, AugMix])
def test_augmentation_probability_and_determinism(augmentation):
    page = Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 24), dtype=np.uint8))

    def augment(seed, prob):
        with keyed_torch_rng("test", seed):
            return to_array(augmentation(prob, fill=255)(page))

    assert all(np.array_equal(augment(seed, 0.0), to_array(page)) for seed in range(10))
    changed = [not np.array_equal(augment(seed, 0.5), to_array(page)) for seed in range(200)]
    assert 40 < sum(changed) < 130
    assert all(np.array_equal(augment(seed, 1.0), augment(seed, 1.0)) for seed in range(10))


@pytest.mark.parametrize("augmentation", [AutoAugment, AugMix])
def test_drawings_policy_keeps_paper_white(augmentation):
    pages = []
    for address, _, _ in islice(list_drawings(Collection(1, 4, 2, size_px=160)), 12):
        pages.append(Image.fromarray(StreamRenderer()(address, 128)))
    dark_ratio = {}
    for policy in ("drawings", "imagenet"):
        augment, medians = augmentation(1.0, fill=255, policy=policy), []
        for number in range(240):
            with keyed_torch_rng("policy", number):
                medians.append(np.median(to_array(augment(pages[number % len(pages)]))))
        dark_ratio[policy] = np.mean(np.array(medians) < 128)
    assert dark_ratio["drawings"] == 0
    assert dark_ratio["imagenet"] > (0.15 if augmentation is AutoAugment else 0.02)


def test_drawings_policy_has_the_other_operations_of_the_table():
    published = [name for policy in IMAGENET_POLICIES for name, _, _ in policy]
    kept = [name for policy in POLICIES["drawings"] for name, _, _ in policy]
    assert kept == [name for name in published if name not in ("Invert", "Solarize")]
    assert all(POLICIES["drawings"])


def test_every_policy_runs_on_a_page_of_one_pixel():
    for seed in range(200):
        with keyed_torch_rng(seed):
            assert AutoAugment(1.0, fill=255)(Image.new("L", (1, 1), 7)).size == (1, 1)


@pytest.fixture
def donors(tmp_path):
    drawings = []
    for level in (10, 60):
        Image.new("L", (50, 70), level).save(tmp_path / f"{level}.png")
        drawings.append(Drawing(str(tmp_path / f"{level}.png"), f"{level}.png", "1", source=f"list:{level}"))
    return drawings


def test_random_patch_is_a_rectangle_of_a_donor(donors):
    image = Image.new("L", (60, 40), 255)
    for seed in range(40):
        with keyed_torch_rng(seed):
            pasted = to_array(RandomPatch(donors, prob=1.0)(image))
        rows, columns = np.nonzero(pasted != 255)
        patch = pasted[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        assert np.unique(patch).tolist() in ([10], [60])
        assert 0.005 < patch.size / pasted.size <= 0.55
    assert (to_array(image) == 255).all()


def test_unreadable_donor_raises_with_its_list_line(donors, tmp_path):
    for donor in donors:
        (tmp_path / donor.name).unlink()
    with pytest.raises(InputError, match=r"^random patch \(INPUT\.RPT\): list:[16]0: "):
        RandomPatch(donors, prob=1.0)(Image.new("L", (8, 8)))


def test_random_patch_needs_donors():
    with pytest.raises(InputError, match=r"INPUT\.RPT\.ENABLED needs training drawings"):
        RandomPatch((), prob=0.5)


def test_resize_matches_pillow_bicubic_exactly(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (77, 55), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    page = read_image(tmp_path / "a.png")
    expected = Image.fromarray(noise).convert("RGB").resize((32, 48), Image.Resampling.BICUBIC)
    image = Pipeline([Resize([48, 32], max_pixels=10**6)])(page)
    assert np.array_equal(image.permute(1, 2, 0).numpy(), np.asarray(expected, dtype=np.float32))


def test_batched_and_single_transforms_are_equal():
    pages = [np.random.default_rng(seed).integers(0, 256, (30, 20), dtype=np.uint8) for seed in range(9)]
    pipeline = Pipeline([PadAndCrop(3, mode="constant", fill=255)], [RandomErasing(0.5, value=[10, 20, 30])])
    single, prepared = [], []
    for seed, page in enumerate(pages):
        for results, transform in ((single, pipeline), (prepared, pipeline.prepare)):
            with keyed_torch_rng(seed):
                results.append(transform(page))
    levels, params = (torch.stack(part) for part in zip(*prepared))
    assert (levels.dtype, tuple(levels.shape), tuple(params.shape)) == (torch.uint8, (9, 1, 30, 20), (9, 4))
    assert torch.equal(pipeline.to_images(levels, params), torch.stack(single))


def test_erasing_probability_and_rectangle_sizes():
    images = torch.full((400, 3, 40, 60), 255.0)
    step = RandomErasing(0.5, value=[10, 20, 30])
    with keyed_torch_rng(0):
        params = torch.tensor([step.sample_params(40, 60) for _ in range(400)], dtype=torch.float32)
    erased = step.apply(images, params)
    ratios = (erased[:, 0] == 10).float().mean((1, 2))
    assert 0.4 < (ratios > 0).float().mean() < 0.6
    assert 0.015 < ratios[ratios > 0].min() < 0.04
    assert 0.25 < ratios.max() <= 0.34
    assert ((erased[:, 1] == 20) == (erased[:, 0] == 10)).all()
    assert ((erased == 255).all(1) | (erased == torch.tensor([10.0, 20, 30])[:, None, None]).all(1)).all()
    top, left, high, wide = params[ratios > 0].unbind(1)
    assert (top + high <= 40).all()
    assert (left + wide <= 60).all()
    assert top.max() > 15
    assert left.max() > 25
    assert (high / wide).max() > 2
    assert (images == 255).all()


def test_fit_keeps_aspect_ratio_and_pads():
    page = Image.new("L", (20, 40), 0)
    fitted = to_array(Resize([30, 50], max_pixels=10**6, aspect="fit", fill=200)(page))
    assert fitted.shape == (30, 50)
    assert (fitted[:, 17:32] == 0).all()
    assert (np.delete(fitted, range(17, 32), axis=1) == 200).all()


def test_pad_makes_a_square_before_resizing():
    page = Image.new("L", (20, 40), 0)
    padded = to_array(Resize([40, 80], max_pixels=10**6, aspect="pad", fill=255)(page))
    assert padded.shape == (40, 80)
    assert (padded[:, 24:56] == 0).all()
    assert (padded[:, [*range(16), *range(64, 80)]] == 255).all()


def test_square_page_is_the_same_for_every_aspect():
    page = Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 50), dtype=np.uint8))
    one, *others = (to_array(Resize([24, 24], max_pixels=10**6, aspect=aspect)(page)) for aspect in Resize.ASPECTS)
    assert all(np.array_equal(one, other) for other in others)


@pytest.mark.parametrize(("size", "aspect"), [([24], "fit"), ([24], "pad"), ([24, 24], "stretch")])
def test_invalid_aspect_raises(size, aspect):
    with pytest.raises(InputError, match=r"INPUT\.ASPECT is .* allowed: squash, pad, fit"):
        Resize(size, max_pixels=10**6, aspect=aspect)


def test_pad_raises_before_allocating_a_huge_square():
    with pytest.raises(InputError, match=r"padded to a square, would exceed INPUT\.MAX_PIXELS \(1000000\)"):
        Resize([24, 24], max_pixels=10**6, aspect="pad")(Image.new("L", (20_000, 2)))
