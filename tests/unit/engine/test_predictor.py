"""The drawings that `Predictor` accepts, and its errors for others."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from fastreid.data.io.image import read_image
from fastreid.data.transforms.pipeline import Pipeline, Resize
from fastreid.engine import Predictor
from fastreid.engine.features.inference import compute_features, eval_mode
from fastreid.layers.gem_pooling import GeneralizedMeanPooling
from fastreid.utils.errors import InputError

HEIGHT, WIDTH = 6, 9
LEVELS = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH), dtype=np.uint8)
COLORS = np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
ALPHA = np.dstack([COLORS, LEVELS])
BILEVEL = LEVELS > 128


class Pixels(nn.Module):
    """Return the gray levels of the page as its features."""

    def forward(self, images):
        return images[:, 0].flatten(1)


@pytest.fixture(scope="module")
def predictor():
    transform = Pipeline([Resize((HEIGHT, WIDTH), max_pixels=10**6)])
    return Predictor(Pixels(), transform, read=read_image, device=torch.device("cpu"), batch_size=2)


def test_predictor_uses_scales_and_power():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), GeneralizedMeanPooling(), nn.Flatten())
    options = {"read": read_image, "device": torch.device("cpu"), "flip": True}
    transform = Pipeline([Resize((64, 96), max_pixels=10**6)])
    plain = Predictor(model, transform, **options)(LEVELS)
    scaled = Predictor(model, transform, **options, scales=(0.5, 1.0), gem_power=5.0)(LEVELS)
    images = transform.to_images(*(part[None] for part in transform.prepare(LEVELS)))
    with eval_mode(model, gem_power=5.0):
        torch.testing.assert_close(scaled, compute_features(model, images, flip=True, scales=(0.5, 1.0)))
    with eval_mode(model):
        torch.testing.assert_close(plain, compute_features(model, images, flip=True))


@pytest.fixture
def file(tmp_path):
    Image.fromarray(LEVELS).save(tmp_path / "a.png")
    return tmp_path / "a.png"


def gray(levels):
    return torch.from_numpy(np.array(Image.fromarray(levels).convert("L"), np.float32)).flatten()


def on_white(levels):
    image = Image.new("RGBA", (WIDTH, HEIGHT), "white")
    image.alpha_composite(Image.fromarray(levels))
    return gray(np.asarray(image.convert("RGB")))


ONE = {
    "image": (Image.fromarray(LEVELS), gray(LEVELS)),
    "color image": (Image.fromarray(COLORS), gray(COLORS)),
    "image with alpha": (Image.fromarray(ALPHA), on_white(ALPHA)),
    "bilevel image": (Image.fromarray(BILEVEL), gray(BILEVEL * np.uint8(255))),
    "array": (LEVELS, gray(LEVELS)),
    "transposed array": (np.asfortranarray(LEVELS), gray(LEVELS)),
    "color array": (COLORS, gray(COLORS)),
    "array with alpha": (ALPHA, on_white(ALPHA)),
    "one channel": (LEVELS[:, :, None], gray(LEVELS)),
    "bool array": (BILEVEL, gray(BILEVEL * np.uint8(255))),
    "tensor": (torch.from_numpy(LEVELS), gray(LEVELS)),
    "color tensor": (torch.from_numpy(COLORS).permute(2, 0, 1), gray(COLORS)),
    "gray tensor": (torch.from_numpy(LEVELS)[None], gray(LEVELS)),
    "bool tensor": (torch.from_numpy(BILEVEL), gray(BILEVEL * np.uint8(255))),
}


@pytest.mark.parametrize("name", ONE)
def test_one_drawing_gives_one_row_of_its_levels(predictor, name):
    page, expected = ONE[name]
    assert torch.equal(predictor(page), expected[None])


@pytest.mark.parametrize("convert", [str, Path, lambda path: [str(path)], lambda path: np.array([str(path)])])
def test_one_path_is_one_drawing(predictor, file, convert):
    assert torch.equal(predictor(convert(file)), gray(LEVELS)[None])


def test_drawings_of_all_kinds_in_one_list(predictor, file):
    pages = [file, str(file), *(page for page, _ in ONE.values())]
    expected = torch.stack([gray(LEVELS), gray(LEVELS), *(levels for _, levels in ONE.values())])
    for collection in (pages, tuple(pages), iter(pages)):
        assert torch.equal(predictor(collection), expected)


def test_batch_of_tensors_is_several_drawings(predictor):
    batch = torch.from_numpy(COLORS).permute(2, 0, 1).repeat(3, 1, 1, 1)
    assert torch.equal(predictor(batch), gray(COLORS).repeat(3, 1))


@pytest.mark.parametrize("mode", ["P", "LA", "I", "I;16", "F", "CMYK", "YCbCr", "HSV"])
def test_image_of_any_mode_gives_the_page_of_its_file(predictor, mode, tmp_path):
    image = Image.fromarray(LEVELS.astype(np.uint16) * 257) if mode == "I;16" else Image.fromarray(LEVELS)
    image = image if mode == "I;16" else Image.fromarray(COLORS).convert(mode) if mode != "F" else image.convert("F")
    saved = image.convert("RGB") if mode in ("YCbCr", "HSV") else image
    saved.save(tmp_path / "a.tif")
    assert torch.equal(predictor(image), predictor(tmp_path / "a.tif"))


@pytest.mark.parametrize("mode", ["I;16L", "I;16B", "I;16N", "La"])
def test_rare_modes_give_the_page_of_the_usual_mode(predictor, mode):
    if mode == "La":
        usual = Image.merge("LA", (Image.fromarray(LEVELS), Image.new("L", LEVELS.shape[::-1], 255)))
        assert torch.equal(predictor(usual.convert("La")), predictor(usual))
        return
    usual = Image.fromarray(LEVELS.astype(np.uint16) * 257)
    levels = LEVELS.astype(">u2" if mode == "I;16B" else "<u2") * 257
    rare = Image.frombytes(mode, usual.size, levels.tobytes())
    assert torch.equal(predictor(rare), predictor(usual))


def test_images_of_damaged_or_closed_files_are_invalid(predictor, tmp_path):
    Image.fromarray(np.tile(LEVELS, (40, 40))).save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    (tmp_path / "short.png").write_bytes(content[: len(content) // 2])
    with Image.open(tmp_path / "short.png") as image, pytest.raises(InputError, match="a Pillow image cannot be read"):
        predictor([image])
    with Image.open(tmp_path / "a.png") as image:
        pass
    with pytest.raises(InputError, match="a Pillow image cannot be read"):
        predictor(image)


def test_orientation_and_pixel_aspect_of_an_opened_image_are_applied(predictor, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 3  # rotated by 180 degrees
    Image.fromarray(LEVELS).save(tmp_path / "a.png", exif=exif, dpi=(200, 100))
    with Image.open(tmp_path / "a.png") as image:
        features = predictor(image)
    assert torch.equal(features, predictor(tmp_path / "a.png"))
    assert not torch.equal(features[0], gray(LEVELS))


@pytest.mark.parametrize(
    ("pages", "error", "message"),
    [
        ([], InputError, "no drawings given"),
        ("", InputError, "drawing 0 is an empty path; a drawing is a path, a Pillow image"),
        (None, TypeError, "one drawing or a list of drawings, not NoneType"),
        (3, TypeError, "not int"),
        (b"\x89PNG", TypeError, "not bytes"),
        ({"a.png"}, TypeError, "not set"),
        ({"a.png": 1}, TypeError, "not dict"),
        ([None], TypeError, "drawing 0 is of type NoneType"),
        (["a.png", ["b.png"]], TypeError, "drawing 1 is of type list; pass one flat list"),
        ([b"a.png"], TypeError, "drawing 0 is of type bytes"),
        (LEVELS.astype(np.float32) / 255, InputError, r"float32 \(6, 9\).*multiply levels of 0..1 by 255"),
        (LEVELS.astype(np.int64), InputError, r"an array int64 \(6, 9\)"),
        (LEVELS[0], InputError, r"an array uint8 \(9,\)"),
        (COLORS.transpose(2, 0, 1), InputError, r"an array uint8 \(3, 6, 9\); .* uint8 or bool array \(H, W\)"),
        (np.zeros((0, 5), np.uint8), InputError, r"\(0, 5\)"),
        (torch.rand(3, 6, 9), InputError, r"a tensor float32 \(3, 6, 9\)"),
        (torch.from_numpy(COLORS), InputError, r"a tensor uint8 \(6, 9, 3\).*or \(3, H, W\)"),
        (torch.tensor(1), InputError, r"a tensor int64 \(\)"),
    ],
)
def test_other_values_are_explained(predictor, pages, error, message):
    with pytest.raises(error, match=message) as caught:
        predictor(pages)
    assert "\n" not in str(caught.value)


def test_missing_file_is_named(predictor):
    with pytest.raises(InputError, match=re.escape("none.png")):
        predictor("none.png")


def test_unreadable_drawings_are_returned_as_faults(predictor, file, tmp_path):
    (tmp_path / "text.png").write_text("text")
    (tmp_path / "link.png").symlink_to(tmp_path / "gone.png")
    pages = [tmp_path / "text.png", tmp_path / "link.png", file, tmp_path / "text.png", file]
    features, faults = predictor.compute_readable(pages)
    assert torch.equal(features, predictor([file, file]))
    assert list(faults) == [0, 1, 3]
    assert "text.png: not an image" in faults[0]
    assert "link.png: cannot be read" in faults[1]
    features, faults = predictor.compute_readable(tmp_path / "text.png")
    assert (len(features), list(faults)) == (0, [0])
