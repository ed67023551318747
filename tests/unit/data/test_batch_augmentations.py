import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from fastreid.config import get_cfg
from fastreid.data.transforms.build import LINE_OPERATIONS, build_train_transforms
from fastreid.data.transforms.hash_rng import hash_bits, to_unit_float
from fastreid.data.transforms.pipeline import Pipeline
from fastreid.data.transforms.random_erasing import RandomErasing
from fastreid.data.transforms.scan_noise import ScanNoise
from fastreid.data.transforms.scan_quality import Bilevel, JpegCompression, LowResolution
from fastreid.data.transforms.shading import Descreen, Screen
from fastreid.data.transforms.strokes import StrokeGaps, StrokeWidth
from fastreid.data.transforms.warp import ElasticDeformation, Warp
from fastreid.synthetic import render_patent
from fastreid.utils.seeding import keyed_torch_rng

STEPS = {
    "warp": lambda prob: Warp(prob, rotate=20, shear=10, scale=[0.7, 1.3], fill=255),
    "elastic": lambda prob: ElasticDeformation(prob, shift=0.06, fill=255),
    "strokes": lambda prob: StrokeWidth(prob, thicken_px=3.0, thin_px=1.5),
    "breaks": lambda prob: StrokeGaps(prob, num=9, size=0.1),
    "descreen": lambda prob: Descreen(prob, weight=1.0),
    "screen": lambda prob: Screen(prob, weight=1.0),
    "low resolution": lambda prob: LowResolution(prob, max_factor=3.0),
    "bilevel": lambda prob: Bilevel(prob, weight=1.0, spread=0.3),
    "scan": lambda prob: ScanNoise(prob, noise=30, dust=20),
    "jpeg": lambda prob: JpegCompression(prob, min_quality=20),
    "erasing": lambda prob: RandomErasing(prob, value=[10, 20, 30]),
    "erasing with noise": lambda prob: RandomErasing(prob, value=[10, 20, 30], noise=True),
}
NOT_WHITE = ("scan", "jpeg", "erasing", "erasing with noise")  # change a white page; JPEG rounds its level


@pytest.fixture(scope="module")
def pages():
    """Eight small synthetic drawings with gray edges, uint8 (8, 1, 64, 48)."""
    sheets = [render_patent(0, index, size_px=128)[0].convert("L").resize((48, 64)) for index in range(8)]
    return torch.from_numpy(np.stack([np.asarray(sheet) for sheet in sheets])[:, None])


def sample_params(step, *, num=8, height=64, width=48):
    params = []
    for seed in range(num):
        with keyed_torch_rng("test", seed):
            params.append(step.sample_params(height, width))
    return torch.tensor(params, dtype=torch.float32)


def line_page(width_px, *, size=40):
    """Return a white page with a vertical line in the center, float32 (1, 1, size, size)."""
    page = torch.full((1, 1, size, size), 255.0)
    page[..., size // 2 : size // 2 + width_px] = 0
    return page


def ink_px(images):
    """Return the ink in the middle row, in px of black."""
    return ((255 - images[:, 0, images.shape[2] // 2]) / 255).sum(1)


@pytest.mark.parametrize("name", STEPS)
def test_probability_zero_changes_nothing(name, pages):
    step = STEPS[name](0.0)
    assert (step.apply(pages.float(), sample_params(step)) == pages).all()


@pytest.mark.parametrize("name", STEPS)
def test_step_probability_range_and_input_unchanged(name, pages):
    step = STEPS[name](0.5)
    params = sample_params(step, num=160)
    images = pages.float().repeat(20, 1, 1, 1)
    before = images.clone()
    result = step.apply(images, params)
    assert torch.equal(images, before)
    assert (result.dtype, result.shape[0], result.shape[2:]) == (torch.float32, 160, images.shape[2:])
    assert 0 <= result.min() <= result.max() <= 255
    changed = (result != images).flatten(1).any(1)
    assert 50 < changed.sum() < 110


@pytest.mark.parametrize("name", STEPS)
def test_result_does_not_depend_on_the_batch(name, pages):
    pipeline = Pipeline([], [STEPS[name](0.9)])
    single, prepared = [], []
    for seed, page in enumerate(pages[:, 0].numpy()):
        for results, transform in ((single, pipeline), (prepared, pipeline.prepare)):
            with keyed_torch_rng(seed):
                results.append(transform(page))
    batched = pipeline.to_images(*(torch.stack(part) for part in zip(*prepared)))
    assert torch.equal(batched, torch.stack(single))


@pytest.mark.gpu
@pytest.mark.parametrize("name", STEPS)
def test_result_is_the_same_on_a_gpu(name, pages):
    step = STEPS[name](1.0)
    params = sample_params(step)
    on_gpu = step.apply(pages.float().cuda(), params.cuda()).cpu()
    assert torch.allclose(on_gpu, step.apply(pages.float(), params), atol=0.05)


@pytest.mark.parametrize("name", STEPS)
def test_one_and_three_channels_give_the_same_result(name, pages):
    step = STEPS[name](1.0)
    images, params = pages.float(), sample_params(step)
    one = step.apply(images, params).expand(-1, 3, -1, -1)
    assert torch.allclose(step.apply(images.repeat(1, 3, 1, 1), params), one, atol=1e-3)


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (200, 3)])
def test_step_runs_on_tiny_images(name, size):
    step = STEPS[name](1.0)
    images = torch.full((4, 1, *size), 90.0)
    result = step.apply(images, sample_params(step, num=4, height=size[0], width=size[1]))
    assert result.shape[2:] == images.shape[2:]
    assert result.isfinite().all()


@pytest.mark.parametrize(
    "name", ["warp", "elastic", "strokes", "breaks", "descreen", "screen", "low resolution", "bilevel"]
)
def test_white_page_stays_white(name):
    step = STEPS[name](1.0)
    assert (step.apply(torch.full((8, 1, 64, 48), 255.0), sample_params(step)) == 255).all()


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("warp", Warp(1.0, rotate=20, shear=0, scale=[0.7, 0.7], fill=0)),
        ("elastic", ElasticDeformation(1.0, shift=0.08, fill=0)),
    ],
)
def test_outside_pixels_have_the_fill_level(name, step):
    result = step.apply(torch.full((8, 1, 64, 48), 255.0), sample_params(step))
    assert (result.flatten(1).min(1).values < 128).all()
    assert (result[:, :, 32, 24] > 254.9).all()


def test_warp_by_90_degrees_rotates_the_page():
    page = torch.rand(1, 1, 24, 24) * 255
    step = Warp(1.0, rotate=90, shear=0, scale=[1, 1], fill=255)
    params = torch.tensor([[0.0, 1.0, -1.0, 0.0]])  # 90 degrees: cos 0, sin 1
    assert torch.allclose(step.apply(page, params), page.rot90(-1, (2, 3)), atol=1e-2)


def test_warp_samples_the_given_ranges():
    def sample_matrix(**options):
        step = Warp(1.0, **{"rotate": 0, "shear": 0, "scale": [1, 1], "fill": 255, **options})
        xx, xy, yx, yy = sample_params(step, num=300, height=200, width=100).unbind(1)
        return xx, xy / 2, yx * 2, yy  # in px

    xx, xy, yx, yy = sample_matrix(rotate=30)
    angle = torch.rad2deg(torch.atan2(xy, xx))
    assert 28 < angle.max() <= 30.001
    assert -30.001 <= angle.min() < -28
    assert torch.allclose(xx * yy - xy * yx, torch.ones(300), atol=1e-5)
    assert torch.allclose(xx, yy)
    xx, xy, yx, yy = sample_matrix(shear=10)
    assert (xx == 1).all()
    assert (yx == 0).all()
    assert math.tan(math.radians(9)) < xy.abs().max() <= math.tan(math.radians(10)) + 1e-6
    xx, xy, yx, yy = sample_matrix(scale=[0.5, 2.0])
    assert torch.equal(xx, yy)
    assert 0.5 <= xx.min() < 0.55 < 1.8 < xx.max() <= 2
    assert 0.4 < (xx < 1).float().mean() < 0.6  # smaller and larger equally often


def test_scale_of_two_doubles_a_square():
    page = torch.full((1, 1, 40, 60), 255.0)
    page[..., 15:25, 25:35] = 0
    step = Warp(1.0, rotate=0, shear=0, scale=[2, 2], fill=255)
    ink = (255 - step.apply(page, sample_params(step, num=1, height=40, width=60))) / 255
    assert ink.sum() == pytest.approx(400, rel=0.01)
    assert ink[..., 12:28, 22:38].min() == 1


def test_elastic_shift_is_limited_and_never_folds():
    step = ElasticDeformation(1.0, shift=0.08, fill=255)
    ramp = (torch.arange(100.0) + 50)[None, None, None].expand(200, 1, 100, 100)
    moved = step.apply(ramp, sample_params(step, num=200, height=100, width=100))[..., 10:-10, 10:-10]
    from_x = moved - ramp[..., 10:-10, 10:-10]
    assert 4 < from_x.abs().max() <= 8.01
    assert (moved.diff(dim=3) > 0).all()
    assert from_x.diff(dim=2).abs().max() < 1  # smooth in vertical direction too


@pytest.mark.parametrize(("before", "growth", "after"), [(1, 1, 2), (1, 1.5, 2.5), (3, 3, 6), (4, -1, 3), (5, -2, 3)])
def test_line_width_changes_by_the_sampled_px(before, growth, after):
    step = StrokeWidth(1.0, thicken_px=3, thin_px=2)
    assert ink_px(step.apply(line_page(before), torch.tensor([[float(growth)]]))).item() == pytest.approx(after)


@pytest.mark.parametrize("width_px", [1, 2])
@pytest.mark.parametrize(("loss", "left"), [(0.5, 0.75), (1.0, 0.5), (2.0, 0.5)])
def test_thinning_fades_a_thin_line_but_keeps_it(width_px, loss, left):
    thinned = StrokeWidth(1.0, thicken_px=0, thin_px=2).apply(line_page(width_px), torch.tensor([[-loss]]))
    assert ((255 - thinned) / 255).max().item() == pytest.approx(left)
    assert torch.equal(thinned < 255, line_page(width_px) < 255)


def test_thickening_darkens_and_thinning_lightens(pages):
    images, step = pages.float(), STEPS["strokes"](1.0)
    growth = torch.linspace(0.1, 3, 8)[:, None]
    assert (step.apply(images, growth) <= images).all()
    assert (step.apply(images, -growth / 2) >= images).all()
    both = sample_params(step, num=200)
    assert -1.5 <= both.min() < -1.3
    assert 2.8 < both.max() <= 3


def test_gaps_are_white_squares_on_ink():
    step = StrokeGaps(1.0, num=9, size=0.1)
    page = line_page(1, size=100).repeat(200, 1, 1, 1)
    params = sample_params(step, num=200, height=100, width=100)
    broken = step.apply(page, params)
    changed = broken != page
    assert (broken[changed] == 255).all()
    assert changed.flatten(1).any(1).all()
    assert not changed[..., :50].any()
    assert set(params[:, 1].tolist()) == set(range(1, 10))
    assert 0.05 <= params[:, 2].min() < 0.055 < 0.095 < params[:, 2].max() <= 0.1
    single = changed[params[:, 1] == 1].flatten(1).sum(1)
    assert 3 <= single.min() < single.max() <= 10  # a square may extend beyond the edge
    assert single.median() >= 5
    starts = changed[params[:, 1] == 1][:, 0, :, 50].float().argmax(1)
    assert starts.unique().numel() > 10


def test_gaps_are_proportional_to_the_ink():
    page = torch.full((400, 1, 20, 20), 255.0)
    page[:, :, 5], page[:, :, 15] = 0.0, 170.0  # three times as much ink in row 5
    params = torch.stack([torch.arange(400.0), torch.ones(400), torch.full((400,), 0.01)], dim=1)
    row = (StrokeGaps(1.0, num=1, size=0.01).apply(page, params) != page).flatten(1).float().argmax(1) // 20
    assert set(row.tolist()) == {5, 15}
    assert 0.68 < (row == 5).float().mean() < 0.82


def test_noise_has_the_deviation_and_depends_on_the_seed():
    step = ScanNoise(1.0, noise=20, dust=0)
    gray = torch.full((3, 1, 200, 200), 128.0)
    noisy = step.apply(gray, torch.tensor([[1.0, 10, 0], [1.0, 10, 0], [2.0, 10, 0]]))
    assert noisy.std((1, 2, 3)).numpy() == pytest.approx([10, 10, 10], rel=0.03)
    assert noisy.mean((1, 2, 3)).numpy() == pytest.approx([128, 128, 128], abs=0.3)
    assert torch.equal(noisy[0], noisy[1])
    pair = torch.stack([noisy[0].flatten(), noisy[2].flatten()])
    assert pair.corrcoef()[0, 1].abs() < 0.02
    shifted = torch.stack([noisy[0, 0, :, 1:].flatten(), noisy[0, 0, :, :-1].flatten()])
    assert shifted.corrcoef()[0, 1].abs() < 0.02
    deviations = sample_params(step, num=200)[:, 1]
    assert 0 <= deviations.min() < 1 < 19 < deviations.max() <= 20


def test_dust_is_small_specks_of_ink_and_white():
    step = ScanNoise(1.0, noise=0, dust=12)
    gray = torch.full((300, 1, 60, 40), 128.0)
    dusty = step.apply(gray, sample_params(step, num=300, height=60, width=40))
    assert set(dusty.unique().tolist()) == {0, 128, 255}
    for level in (0, 255):
        specks = (dusty == level).float()
        assert 0.004 < specks.mean() < 0.01
        assert specks.sum((0, 1, 3)).min() > 0
        assert specks.sum((0, 1, 2)).min() > 0
    largest = F.avg_pool2d((dusty != 128).float(), 4, 1).flatten(1).max(1).values
    assert largest.median() < 1
    assert set(sample_params(step, num=300)[:, 2].tolist()) == set(range(13))


def test_hash_bits_are_uniform_and_fixed():
    bits = hash_bits(torch.tensor([0.0, 1.0, 2**24 - 1]), salt=0, num=50_000)
    assert bits.min() >= 0
    assert bits.max() < 2**32
    ones = torch.stack([(bits >> bit & 1).float().mean(1) for bit in range(32)])
    assert (ones - 0.5).abs().max() < 0.015
    uniform = to_unit_float(bits)
    assert 0 < uniform.min() < uniform.max() < 1
    assert uniform.mean(1).numpy() == pytest.approx([0.5] * 3, abs=0.005)
    assert hash_bits(torch.tensor([5.0]), salt=3, num=3).tolist() == [[1483577978, 2574240633, 413342025]]


def test_erasing_with_noise_uses_the_same_rectangles():
    images = torch.full((60, 1, 64, 48), 128.0)
    plain, noisy = (RandomErasing(1.0, value=[10, 10, 10], noise=noise) for noise in (False, True))
    with_value, with_noise = (
        plain.apply(images, sample_params(plain, num=60)),
        noisy.apply(images, sample_params(noisy, num=60)),
    )
    inside = with_value[:, :1] == 10
    assert (with_noise[~inside] == 128).all()
    levels = with_noise[inside]
    assert set(levels.unique().tolist()) == set(range(256))
    assert levels.mean().item() == pytest.approx(127.5, abs=2)
    assert levels.std().item() == pytest.approx(256 / 12**0.5, rel=0.02)


@pytest.mark.parametrize("operation", LINE_OPERATIONS[1:])
def test_line_augmentations_grow_with_strength(operation):
    page = np.full((64, 64), 255, np.uint8)
    page[16:48:4, 16:48] = 0
    page[52:60, 8:56] = 160
    changes = []
    for strength in (0.2, 2):
        cfg = get_cfg()
        options = ["INPUT.LINE_AUG.OPS", [operation], "INPUT.LINE_AUG.PROB", 1, "INPUT.LINE_AUG.STRENGTH", strength]
        cfg.merge_from_list(["INPUT.SIZE_TRAIN", [64, 64], *options])
        transform, change = build_train_transforms(cfg), 0.0
        for seed in range(8):
            with keyed_torch_rng(seed):
                change += float((transform(page) - torch.from_numpy(page)).abs().mean())
        changes.append(change)
    assert 0 < changes[0] < changes[1]
