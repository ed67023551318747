import pytest
import torch
from torch import nn

from fastreid.engine.features.image_scales import check_scales, scale_images, scale_size
from fastreid.engine.features.inference import check_gem_power, compute_features, eval_mode, run_inference
from fastreid.layers.gem_pooling import GeneralizedMeanPooling, GeneralizedMeanPoolingP
from fastreid.modeling.heads import pool_features
from fastreid.structures import Batch, Drawing
from fastreid.utils.errors import InputError, NumericalError


class LeftHalf(nn.Module):
    """Return the mean of the left half of each image and of the whole image."""

    def forward(self, images):
        return torch.stack([images[..., : images.shape[3] // 2].mean((1, 2, 3)), images.mean((1, 2, 3))], dim=1)


def test_eval_mode_restores_modes_after_an_error():
    model = nn.Sequential(nn.BatchNorm1d(2), nn.Dropout())
    model[1].eval()
    with pytest.raises(RuntimeError, match="running_mean"), eval_mode(model):
        model(torch.zeros(1, 5))  # training mode would raise another message
    assert (model.training, model[0].training, model[1].training) == (True, True, False)


def test_flip_averages_with_the_mirror_image():
    images = torch.rand(3, 3, 4, 6)
    expected = (LeftHalf()(images) + LeftHalf()(images.flip(3))) / 2
    torch.testing.assert_close(compute_features(LeftHalf(), images, flip=True), expected)
    assert not torch.allclose(compute_features(LeftHalf(), images), expected)


def test_batch_too_large_for_gpu_is_halved():
    class Small(LeftHalf):
        def forward(self, images):
            if len(images) > 2:
                raise torch.cuda.OutOfMemoryError("full")
            return super().forward(images)

    images = torch.rand(7, 3, 4, 6)
    assert torch.equal(compute_features(Small(), images), LeftHalf()(images))


def drawings(num):
    return [Drawing(f"/{n}.png", f"{n}.png", str(n)) for n in range(num)]


def batches(images, size):
    rows = torch.arange(len(images))
    return [Batch(images[i : i + size], rows[i : i + size], rows[i : i + size]) for i in range(0, len(images), size)]


def test_rows_match_drawings_in_any_batch_order():
    images = torch.rand(5, 3, 4, 6)
    embeddings = run_inference(LeftHalf(), reversed(batches(images, 2)), drawings(5), device=torch.device("cpu"))
    assert torch.equal(embeddings.features, LeftHalf()(images))
    assert embeddings.names == tuple(f"{n}.png" for n in range(5))
    assert embeddings.cameras == (-1,) * 5


def test_skip_missing_omits_absent_drawings():
    images, rows = torch.rand(4, 3, 4, 6), torch.tensor([0, 3, 3, 1])  # 3 replaces 2
    embeddings = run_inference(
        LeftHalf(), [Batch(images, rows, rows)], drawings(4), device=torch.device("cpu"), skip_missing=True
    )
    assert embeddings.names == ("0.png", "1.png", "3.png")
    assert torch.equal(embeddings.features, LeftHalf()(images)[[0, 3, 2]])


def test_non_finite_features_are_rejected_by_name():
    images = torch.rand(3, 3, 4, 6)
    images[1] = float("nan")
    with pytest.raises(NumericalError, match=r"1 of 3 features are NaN, Inf or zero: 1\.png"):
        run_inference(LeftHalf(), batches(images, 2), drawings(3), device=torch.device("cpu"))


def test_bfloat16_features_are_float32_and_similar():
    model, images = nn.Sequential(nn.Conv2d(3, 32, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()), torch.rand(5, 3, 8, 8)
    with eval_mode(model):
        exact, rounded = (
            compute_features(model, images),
            compute_features(model, images, dtype=torch.bfloat16, flip=False),
        )
    assert rounded.dtype is torch.float32
    assert not torch.equal(rounded, exact)
    assert nn.functional.cosine_similarity(rounded, exact).min() > 0.9999


class SizeAndMean(nn.Module):
    """Return the height, the width and the mean of each image."""

    def forward(self, images):
        sizes = torch.tensor([images.shape[2:]], dtype=torch.float32).expand(len(images), 2)
        return torch.cat([sizes, images.mean((1, 2, 3))[:, None]], dim=1)


def test_scales_average_unit_features():
    images = torch.rand(3, 3, 96, 64)
    expected = torch.zeros(3, 3)
    for size in [(64, 32), (96, 64), (128, 96)]:  # 67.2 x 44.8 and 134.4 x 89.6, in multiples of 32
        mean = nn.functional.interpolate(images, size, mode="bilinear", antialias=True).mean((1, 2, 3))
        rows = torch.cat([torch.tensor([size], dtype=torch.float32).expand(3, 2), mean[:, None]], dim=1)
        expected += rows / rows.norm(dim=1, keepdim=True) / 3
    torch.testing.assert_close(compute_features(SizeAndMean(), images, scales=(0.7, 1.0, 1.4)), expected)


def test_scale_1_changes_no_bit():
    images = torch.rand(3, 3, 50, 41)  # no multiples of 32
    assert torch.equal(compute_features(SizeAndMean(), images, scales=(1.0,)), SizeAndMean()(images))


def test_each_scale_includes_the_mirror_image():
    images = torch.rand(2, 3, 64, 64)
    mirrored = [
        nn.functional.normalize(compute_features(LeftHalf(), scale_images(images, scale), flip=True))
        for scale in (0.5, 1.0)
    ]
    both = compute_features(LeftHalf(), images, flip=True, scales=(0.5, 1.0))
    torch.testing.assert_close(both, (mirrored[0] + mirrored[1]) / 2)
    torch.testing.assert_close(compute_features(LeftHalf(), images.flip(3), flip=True, scales=(0.5, 1.0)), both)


def test_halved_batch_keeps_the_scales():
    class Small(SizeAndMean):
        def forward(self, images):
            if len(images) > 2:
                raise torch.cuda.OutOfMemoryError("full")
            return super().forward(images)

    images = torch.rand(5, 3, 64, 64)
    expected = compute_features(SizeAndMean(), images, scales=(0.5, 1.0))
    assert torch.equal(compute_features(Small(), images, scales=(0.5, 1.0)), expected)


def test_inference_uses_the_scales_and_the_power():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), GeneralizedMeanPoolingP(), nn.Flatten())
    images = torch.rand(3, 3, 64, 64)
    options = {"scales": (0.5, 1.0), "gem_power": 6.0}
    embeddings = run_inference(model, batches(images, 2), drawings(3), device=torch.device("cpu"), **options)
    model[2].p.data.fill_(6.0)
    with eval_mode(model):
        expected = compute_features(model, images, scales=(0.5, 1.0))
    torch.testing.assert_close(embeddings.features, expected)


@pytest.mark.parametrize("layer", [GeneralizedMeanPooling, GeneralizedMeanPoolingP])
def test_power_of_tests_is_undone(layer):
    model, maps = nn.Sequential(layer(3.0)).eval(), torch.rand(2, 4, 5, 5)
    trained, sharper = model(maps), layer(8.0)(maps)
    with eval_mode(model, gem_power=8.0):
        assert torch.equal(model(maps), sharper)
    with pytest.raises(IndexError), eval_mode(model, gem_power=8.0):
        model(maps[0])  # maps without a batch axis
    assert torch.equal(model(maps), trained)
    with eval_mode(model):
        assert torch.equal(model(maps), trained)


def test_long_extraction_logs_progress_speed_and_remaining_time(monkeypatch, logged_lines):
    """The clock of the test advances by 20 s for each batch of 2 drawings; 4 drawings are those of a stopped run."""
    seconds = iter(range(0, 1000, 20))
    monkeypatch.setattr("fastreid.utils.progress.time.monotonic", lambda: next(seconds))
    batches = [
        Batch(torch.ones(2, 3, 4, 4), torch.zeros(2, dtype=torch.int64), torch.tensor([row, row + 1]))
        for row in range(4, 16, 2)
    ]
    done = {0: torch.ones(4, 2)}
    run_inference(LeftHalf(), batches, drawings(16), device=torch.device("cpu"), done=done)
    assert logged_lines == [
        "computing features: 8 of 16 drawings, 0.1 per s, 0:01:20 left",
        "computing features: 12 of 16 drawings, 0.1 per s, 0:00:40 left",
        "computing features: 16 of 16 drawings, 0.1 per s, 0:00:00 left",
    ]


def test_short_extraction_logs_nothing(logged_lines):
    batches = [Batch(torch.ones(2, 3, 4, 4), torch.zeros(2, dtype=torch.int64), torch.tensor([0, 1]))]
    run_inference(LeftHalf(), batches, drawings(2), device=torch.device("cpu"))
    assert logged_lines == []


def test_power_does_not_affect_training():
    pool, maps = GeneralizedMeanPoolingP(3.0), torch.rand(2, 4, 5, 5)
    expected = pool(maps)
    pool.test_power = 8.0
    assert torch.equal(pool(maps), expected)


def test_power_needs_generalized_mean_pooling():
    with pytest.raises(InputError, match=r"TEST\.GEM_POWER is 4, but the network has no generalized-mean pooling"):
        run_inference(LeftHalf(), [], drawings(1), device=torch.device("cpu"), gem_power=4.0)


def test_power_needs_pooled_maps():
    class Parts(nn.Module):
        def __init__(self):
            super().__init__()
            self.pool = GeneralizedMeanPoolingP()

        def forward(self, images):
            parts = [images, images.mean(dim=(2, 3))] if with_map else images.mean(dim=(2, 3))
            return pool_features(self.pool, parts, num_channels=6 if with_map else 3).flatten(1)

    with_map, model = True, Parts().train()
    check_gem_power(model, 6.0, (64, 32))
    with_map = False
    check_gem_power(model, 0.0, (64, 32))
    with pytest.raises(InputError, match=r"TEST\.GEM_POWER is 6, but the network does not use its generalized-mean"):
        check_gem_power(model, 6.0, (64, 32))
    assert model.training
    assert not model.pool._forward_pre_hooks
    with pytest.raises(InputError, match=r"TEST\.GEM_POWER is 6, but the network has no generalized-mean pooling"):
        check_gem_power(LeftHalf(), 6.0, (64, 32))


@pytest.mark.parametrize(
    ("scales", "message"),
    [
        ((1.0, 1.05), "TEST.SCALES: 1 and 1.05 both give images of 256 x 128 px"),
        ((0.7, 1.0, 0.7), "TEST.SCALES: 0.7 and 0.7 both give images of 192 x 96 px"),
        ((1.05,), "TEST.SCALES: 1.05 keeps the size of images of 256 x 128 px"),
        ((0.7, 0.95), "TEST.SCALES: 0.95 keeps the size of images of 256 x 128 px"),
    ],
)
def test_scales_without_effect_are_rejected(scales, message):
    check_scales((0.7, 1.0, 1.4), (256, 128))
    with pytest.raises(InputError, match=message):
        check_scales(scales, (256, 128))


def test_scaled_size_is_at_least_32_px():
    assert scale_size((100, 60), 0.1) == (32, 32)
    assert scale_size((100, 60), 1) == (100, 60)
