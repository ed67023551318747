import pytest
import torch
from torch import nn

from fastreid.engine.inference import evaluating, extract, features_of
from fastreid.structures import Batch, Drawing
from fastreid.utils.errors import NumericalError


class LeftHalf(nn.Module):
    """The mean of the left half of each image, and of all of it."""

    def forward(self, images):
        return torch.stack([images[..., : images.shape[3] // 2].mean((1, 2, 3)), images.mean((1, 2, 3))], dim=1)


def test_after_a_fault_inside_every_module_is_in_the_mode_it_was_in():
    model = nn.Sequential(nn.BatchNorm1d(2), nn.Dropout())
    model[1].eval()
    with pytest.raises(RuntimeError, match="running_mean"), evaluating(model):
        model(torch.zeros(1, 5))  # in training mode the message would be another: one value a channel
    assert (model.training, model[0].training, model[1].training) == (True, True, False)


def test_the_flip_test_is_the_mean_with_the_mirror_image():
    images = torch.rand(3, 3, 4, 6)
    expected = (LeftHalf()(images) + LeftHalf()(images.flip(3))) / 2
    torch.testing.assert_close(features_of(LeftHalf(), images, flip=True), expected)
    assert not torch.allclose(features_of(LeftHalf(), images), expected)


def test_a_batch_too_large_for_the_gpu_is_halved_and_gives_the_same_features():
    class Small(LeftHalf):
        def forward(self, images):
            if len(images) > 2:
                raise torch.cuda.OutOfMemoryError("full")
            return super().forward(images)

    images = torch.rand(7, 3, 4, 6)
    assert torch.equal(features_of(Small(), images), LeftHalf()(images))


def drawings(num):
    return [Drawing(f"/{n}.png", f"{n}.png", str(n)) for n in range(num)]


def batches(images, size):
    rows = torch.arange(len(images))
    return [Batch(images[i : i + size], rows[i : i + size], rows[i : i + size]) for i in range(0, len(images), size)]


def test_each_row_holds_its_drawing_s_features_whatever_the_order_of_batches():
    images = torch.rand(5, 3, 4, 6)
    given = extract(LeftHalf(), reversed(batches(images, 2)), drawings(5), device=torch.device("cpu"))
    assert torch.equal(given.features, LeftHalf()(images))
    assert given.names == tuple(f"{n}.png" for n in range(5))
    assert given.cameras == (-1,) * 5


def test_drawings_that_no_batch_holds_have_no_row_where_that_is_asked_for():
    images, rows = torch.rand(4, 3, 4, 6), torch.tensor([0, 3, 3, 1])  # 3 stands in for 2
    given = extract(LeftHalf(), [Batch(images, rows, rows)], drawings(4), device=torch.device("cpu"), leave_out=True)
    assert given.names == ("0.png", "1.png", "3.png")
    assert torch.equal(given.features, LeftHalf()(images)[[0, 3, 2]])


def test_features_that_are_no_numbers_are_refused_and_their_drawings_named():
    images = torch.rand(3, 3, 4, 6)
    images[1] = float("nan")
    with pytest.raises(NumericalError, match=r"1 of 3 features are NaN, Inf or zero: 1\.png"):
        extract(LeftHalf(), batches(images, 2), drawings(3), device=torch.device("cpu"))


def test_features_of_16_bit_products_are_float32_and_point_the_same_way():
    model, images = nn.Sequential(nn.Conv2d(3, 32, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()), torch.rand(5, 3, 8, 8)
    with evaluating(model):
        exact, narrow = features_of(model, images), features_of(model, images, dtype=torch.bfloat16, flip=False)
    assert narrow.dtype is torch.float32
    assert not torch.equal(narrow, exact)
    assert nn.functional.cosine_similarity(narrow, exact).min() > 0.9999
