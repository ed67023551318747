import pytest
import torch
from torch import nn

from fastreid.engine.inference import compute_features, eval_mode, run_inference
from fastreid.structures import Batch, Drawing
from fastreid.utils.errors import NumericalError


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
