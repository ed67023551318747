"""Random changes that are made on whole batches where the network is."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from fastreid.data.transforms.hash_rng import hashed, shares
from fastreid.data.transforms.pipeline import Pipeline
from fastreid.data.transforms.random_erasing import RandomErasing
from fastreid.data.transforms.scan_noise import ScanNoise
from fastreid.data.transforms.strokes import Breaks, StrokeWidth
from fastreid.data.transforms.warp import ElasticBend, Warp
from fastreid.synthetic import draw_patent
from fastreid.utils.seeding import keyed_torch

STEPS = {
    "warp": lambda prob: Warp(prob, rotate=20, shear=10, scale=[0.7, 1.3], fill=255),
    "elastic": lambda prob: ElasticBend(prob, shift=0.06, fill=255),
    "strokes": lambda prob: StrokeWidth(prob, thicken_px=3.0, thin_px=1.5),
    "breaks": lambda prob: Breaks(prob, num=9, size=0.1),
    "scan": lambda prob: ScanNoise(prob, noise=30, dust=20),
    "erasing": lambda prob: RandomErasing(prob, value=[10, 20, 30]),
    "erasing with noise": lambda prob: RandomErasing(prob, value=[10, 20, 30], noise=True),
}


@pytest.fixture(scope="module")
def pages():
    """uint8 (8, 1, 64, 48): generated drawings, small, with grey edges."""
    sheets = [draw_patent(0, number, size_px=128)[0].convert("L").resize((48, 64)) for number in range(8)]
    return torch.from_numpy(np.stack([np.asarray(sheet) for sheet in sheets])[:, None])


def drawn(step, *, num=8, height=64, width=48):
    numbers = []
    for seed in range(num):
        with keyed_torch("test", seed):
            numbers.append(step.draw(height, width))
    return torch.tensor(numbers, dtype=torch.float32)


def lines(width_px, *, size=40):
    """One upright line of ink in the middle of a white page, float32 (1, 1, size, size)."""
    page = torch.full((1, 1, size, size), 255.0)
    page[..., size // 2 : size // 2 + width_px] = 0
    return page


def ink_px(images):
    """Ink across the middle row, in px of black."""
    return ((255 - images[:, 0, images.shape[2] // 2]) / 255).sum(1)


@pytest.mark.parametrize("name", STEPS)
def test_a_step_that_does_not_come_changes_no_bit(name, pages):
    step = STEPS[name](0.0)
    assert (step.apply(pages.float(), drawn(step)) == pages).all()


@pytest.mark.parametrize("name", STEPS)
def test_a_step_comes_with_its_probability_and_keeps_levels_and_batch(name, pages):
    step = STEPS[name](0.5)
    numbers = drawn(step, num=160)
    images = pages.float().repeat(20, 1, 1, 1)
    before = images.clone()
    result = step.apply(images, numbers)
    assert torch.equal(images, before)
    assert (result.dtype, result.shape[0], result.shape[2:]) == (torch.float32, 160, images.shape[2:])
    assert 0 <= result.min() <= result.max() <= 255
    changed = (result != images).flatten(1).any(1)
    assert 50 < changed.sum() < 110


@pytest.mark.parametrize("name", STEPS)
def test_a_drawing_looks_the_same_alone_and_in_a_batch(name, pages):
    pipeline = Pipeline([], [STEPS[name](0.9)])
    alone, ready = [], []
    for seed, page in enumerate(pages[:, 0].numpy()):
        for taken, give in ((alone, pipeline), (ready, pipeline.prepare)):
            with keyed_torch(seed):
                taken.append(give(page))
    together = pipeline.finish(*(torch.stack(part) for part in zip(*ready)))
    assert torch.equal(together, torch.stack(alone))


@pytest.mark.gpu
@pytest.mark.parametrize("name", STEPS)
def test_a_drawing_looks_the_same_on_a_gpu(name, pages):
    step = STEPS[name](1.0)
    numbers = drawn(step)
    on_gpu = step.apply(pages.float().cuda(), numbers.cuda()).cpu()
    assert torch.allclose(on_gpu, step.apply(pages.float(), numbers), atol=0.05)


@pytest.mark.parametrize("name", STEPS)
def test_grey_in_three_channels_gives_what_grey_in_one_does(name, pages):
    step = STEPS[name](1.0)
    images, numbers = pages.float(), drawn(step)
    one = step.apply(images, numbers).expand(-1, 3, -1, -1)
    assert torch.allclose(step.apply(images.repeat(1, 3, 1, 1), numbers), one, atol=1e-3)


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (200, 3)])
def test_a_step_runs_on_the_smallest_images(name, size):
    step = STEPS[name](1.0)
    images = torch.full((4, 1, *size), 90.0)
    result = step.apply(images, drawn(step, num=4, height=size[0], width=size[1]))
    assert result.shape[2:] == images.shape[2:]
    assert result.isfinite().all()


@pytest.mark.parametrize("name", ["warp", "elastic", "strokes", "breaks"])
def test_a_white_page_stays_white(name):
    step = STEPS[name](1.0)
    assert (step.apply(torch.full((8, 1, 64, 48), 255.0), drawn(step)) == 255).all()


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("WARP", Warp(1.0, rotate=20, shear=0, scale=[0.7, 0.7], fill=0)),
        ("ELASTIC", ElasticBend(1.0, shift=0.08, fill=0)),
    ],
)
def test_what_comes_in_from_outside_has_the_fill(name, step):
    result = step.apply(torch.full((8, 1, 64, 48), 255.0), drawn(step))
    assert (result.flatten(1).min(1).values < 128).all()
    assert (result[:, :, 32, 24] > 254.9).all()


def test_a_warp_of_a_quarter_turn_turns_the_page():
    page = torch.rand(1, 1, 24, 24) * 255
    step = Warp(1.0, rotate=90, shear=0, scale=[1, 1], fill=255)
    numbers = torch.tensor([[0.0, 1.0, -1.0, 0.0]])  # what 90 degrees are: cos 0, sin 1
    assert torch.allclose(step.apply(page, numbers), page.rot90(-1, (2, 3)), atol=1e-2)


def test_a_warp_has_the_angles_slants_and_scales_it_was_given():
    def matrix(**given):
        step = Warp(1.0, **{"rotate": 0, "shear": 0, "scale": [1, 1], "fill": 255, **given})
        xx, xy, yx, yy = drawn(step, num=300, height=200, width=100).unbind(1)
        return xx, xy / 2, yx * 2, yy  # in px

    xx, xy, yx, yy = matrix(rotate=30)
    angle = torch.rad2deg(torch.atan2(xy, xx))
    assert 28 < angle.max() <= 30.001
    assert -30.001 <= angle.min() < -28
    assert torch.allclose(xx * yy - xy * yx, torch.ones(300), atol=1e-5)
    assert torch.allclose(xx, yy)
    xx, xy, yx, yy = matrix(shear=10)
    assert (xx == 1).all()
    assert (yx == 0).all()
    assert math.tan(math.radians(9)) < xy.abs().max() <= math.tan(math.radians(10)) + 1e-6
    xx, xy, yx, yy = matrix(scale=[0.5, 2.0])
    assert torch.equal(xx, yy)
    assert 0.5 <= xx.min() < 0.55 < 1.8 < xx.max() <= 2
    assert 0.4 < (xx < 1).float().mean() < 0.6  # as often smaller as larger


def test_a_scale_of_two_doubles_a_square():
    page = torch.full((1, 1, 40, 60), 255.0)
    page[..., 15:25, 25:35] = 0
    step = Warp(1.0, rotate=0, shear=0, scale=[2, 2], fill=255)
    ink = (255 - step.apply(page, drawn(step, num=1, height=40, width=60))) / 255
    assert ink.sum() == pytest.approx(400, rel=0.01)
    assert ink[..., 12:28, 22:38].min() == 1


def test_an_elastic_bend_moves_by_no_more_than_its_shift_and_never_folds():
    step = ElasticBend(1.0, shift=0.08, fill=255)
    ramp = (torch.arange(100.0) + 50)[None, None, None].expand(200, 1, 100, 100)
    moved = step.apply(ramp, drawn(step, num=200, height=100, width=100))[..., 10:-10, 10:-10]
    from_x = moved - ramp[..., 10:-10, 10:-10]
    assert 4 < from_x.abs().max() <= 8.01
    assert (moved.diff(dim=3) > 0).all()
    assert from_x.diff(dim=2).abs().max() < 1  # smooth down the page too


@pytest.mark.parametrize(("before", "growth", "after"), [(1, 1, 2), (1, 1.5, 2.5), (3, 3, 6), (4, -1, 3), (5, -2, 3)])
def test_a_line_grows_and_shrinks_by_the_px_that_were_drawn(before, growth, after):
    step = StrokeWidth(1.0, thicken_px=3, thin_px=2)
    assert ink_px(step.apply(lines(before), torch.tensor([[float(growth)]]))).item() == pytest.approx(after)


@pytest.mark.parametrize("width_px", [1, 2])
@pytest.mark.parametrize(("loss", "left"), [(0.5, 0.75), (1.0, 0.5), (2.0, 0.5)])
def test_thinning_makes_a_thin_line_paler_and_never_wipes_it_out(width_px, loss, left):
    thinned = StrokeWidth(1.0, thicken_px=0, thin_px=2).apply(lines(width_px), torch.tensor([[-loss]]))
    assert ((255 - thinned) / 255).max().item() == pytest.approx(left)
    assert torch.equal(thinned < 255, lines(width_px) < 255)


def test_thickening_only_darkens_and_thinning_only_lightens(pages):
    images, step = pages.float(), STEPS["strokes"](1.0)
    growth = torch.linspace(0.1, 3, 8)[:, None]
    assert (step.apply(images, growth) <= images).all()
    assert (step.apply(images, -growth / 2) >= images).all()
    both = drawn(step, num=200)
    assert -1.5 <= both.min() < -1.3
    assert 2.8 < both.max() <= 3


def test_breaks_are_white_squares_on_ink_of_the_sizes_and_numbers_asked_for():
    step = Breaks(1.0, num=9, size=0.1)
    page = lines(1, size=100).repeat(200, 1, 1, 1)
    numbers = drawn(step, num=200, height=100, width=100)
    broken = step.apply(page, numbers)
    changed = broken != page
    assert (broken[changed] == 255).all()
    assert changed.flatten(1).any(1).all()
    assert not changed[..., :50].any()
    assert set(numbers[:, 1].tolist()) == set(range(1, 10))
    assert 0.05 <= numbers[:, 2].min() < 0.055 < 0.095 < numbers[:, 2].max() <= 0.1
    single = changed[numbers[:, 1] == 1].flatten(1).sum(1)
    assert 3 <= single.min() < single.max() <= 10  # a square may lie half beyond the edge
    assert single.median() >= 5
    starts = changed[numbers[:, 1] == 1][:, 0, :, 50].float().argmax(1)
    assert starts.unique().numel() > 10


def test_breaks_fall_in_proportion_to_the_ink():
    page = torch.full((400, 1, 20, 20), 255.0)
    page[:, :, 5], page[:, :, 15] = 0.0, 170.0  # three times as much ink above
    numbers = torch.stack([torch.arange(400.0), torch.ones(400), torch.full((400,), 0.01)], dim=1)
    row = (Breaks(1.0, num=1, size=0.01).apply(page, numbers) != page).flatten(1).float().argmax(1) // 20
    assert set(row.tolist()) == {5, 15}
    assert 0.68 < (row == 5).float().mean() < 0.82


def test_noise_has_its_deviation_and_follows_from_the_seed():
    step = ScanNoise(1.0, noise=20, dust=0)
    grey = torch.full((3, 1, 200, 200), 128.0)
    noisy = step.apply(grey, torch.tensor([[1.0, 10, 0], [1.0, 10, 0], [2.0, 10, 0]]))
    assert noisy.std((1, 2, 3)).numpy() == pytest.approx([10, 10, 10], rel=0.03)
    assert noisy.mean((1, 2, 3)).numpy() == pytest.approx([128, 128, 128], abs=0.3)
    assert torch.equal(noisy[0], noisy[1])
    pair = torch.stack([noisy[0].flatten(), noisy[2].flatten()])
    assert pair.corrcoef()[0, 1].abs() < 0.02
    shifted = torch.stack([noisy[0, 0, :, 1:].flatten(), noisy[0, 0, :, :-1].flatten()])
    assert shifted.corrcoef()[0, 1].abs() < 0.02
    drawn_deviation = drawn(step, num=200)[:, 1]
    assert 0 <= drawn_deviation.min() < 1 < 19 < drawn_deviation.max() <= 20


def test_dust_is_small_specks_of_ink_and_of_white_all_over_the_page():
    step = ScanNoise(1.0, noise=0, dust=12)
    grey = torch.full((300, 1, 60, 40), 128.0)
    dusty = step.apply(grey, drawn(step, num=300, height=60, width=40))
    assert set(dusty.unique().tolist()) == {0, 128, 255}
    for level in (0, 255):
        specks = (dusty == level).float()
        assert 0.004 < specks.mean() < 0.01
        assert specks.sum((0, 1, 3)).min() > 0
        assert specks.sum((0, 1, 2)).min() > 0
    largest = F.avg_pool2d((dusty != 128).float(), 4, 1).flatten(1).max(1).values
    assert largest.median() < 1
    assert set(drawn(step, num=300)[:, 2].tolist()) == set(range(13))


def test_hashed_bits_are_even_and_fixed():
    bits = hashed(torch.tensor([0.0, 1.0, 2**24 - 1]), salt=0, num=50_000)
    assert bits.min() >= 0
    assert bits.max() < 2**32
    ones = torch.stack([(bits >> place & 1).float().mean(1) for place in range(32)])
    assert (ones - 0.5).abs().max() < 0.015
    even = shares(bits)
    assert 0 < even.min() < even.max() < 1
    assert even.mean(1).numpy() == pytest.approx([0.5] * 3, abs=0.005)
    assert hashed(torch.tensor([5.0]), salt=3, num=3).tolist() == [[1483577978, 2574240633, 413342025]]


def test_erasing_with_noise_takes_the_same_rectangles_and_fills_them_with_every_level():
    images = torch.full((60, 1, 64, 48), 128.0)
    plain, noisy = (RandomErasing(1.0, value=[10, 10, 10], noise=noise) for noise in (False, True))
    with_value, with_noise = plain.apply(images, drawn(plain, num=60)), noisy.apply(images, drawn(noisy, num=60))
    inside = with_value[:, :1] == 10
    assert (with_noise[~inside] == 128).all()
    levels = with_noise[inside]
    assert set(levels.unique().tolist()) == set(range(256))
    assert levels.mean().item() == pytest.approx(127.5, abs=2)
    assert levels.std().item() == pytest.approx(256 / 12**0.5, rel=0.02)
