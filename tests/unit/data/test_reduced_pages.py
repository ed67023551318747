import numpy as np
import pytest
from PIL import Image, ImageDraw

from fastreid.data.io.image import read_image


@pytest.mark.parametrize(
    ("name", "mode"), [("a.png", "1"), ("a.png", "L"), ("a.jpg", "L"), ("a.jpg", "RGB"), ("a.tif", "1")]
)
def test_reduced_page_is_close_to_bicubic_resizing(tmp_path, name, mode):
    page = Image.new("L", (850, 1100), 255)
    for seed in range(40):
        left, top, size = np.random.default_rng(seed).integers([50, 50, 50], [600, 800, 250])
        ImageDraw.Draw(page).arc((left, top, left + size, top + size), 0, 300, fill=0, width=3)
    page.convert(mode).save(tmp_path / name, **({"quality": 90} if name.endswith("jpg") else {}))
    whole = Image.fromarray(read_image(tmp_path / name))
    reduced = read_image(tmp_path / name, longest_px=200)
    assert reduced.shape == (200, 155)
    exact = np.asarray(whole.resize((155, 200), Image.Resampling.BICUBIC)).astype(int)
    assert np.abs(reduced - exact).mean() < 1
    assert np.abs(reduced - exact).max() < 30
    assert np.array_equal(read_image(tmp_path / name, longest_px=1100), np.asarray(whole))


def test_jpeg_is_decoded_at_a_reduced_scale(tmp_path, monkeypatch):
    Image.new("L", (1600, 1200), 255).save(tmp_path / "a.jpg")
    sizes, resize = [], Image.Image.resize
    monkeypatch.setattr(
        Image.Image, "resize", lambda self, *args, **options: sizes.append(self.size) or resize(self, *args, **options)
    )
    assert read_image(tmp_path / "a.jpg", longest_px=200).shape == (150, 200)
    assert sizes[0] == (400, 300)
