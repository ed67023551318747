"""One page, whatever file it comes in."""

import os
import struct

import numpy as np
import pytest
from image_formats import BILEVEL, HELD, LOSSY, SAME, grey, page, raw_tiff, save, turned
from PIL import Image

from fastreid.data.io.image import read_drawing, read_image
from fastreid.structures import Drawing
from fastreid.utils.errors import InputError


@pytest.mark.parametrize("kind", SAME)
def test_a_grey_page_is_the_same_from(kind, tmp_path):
    assert np.array_equal(read_image(SAME[kind](tmp_path)), page())


@pytest.mark.parametrize("kind", BILEVEL)
def test_a_bilevel_page_is_the_same_from(kind, tmp_path):
    assert np.array_equal(read_image(BILEVEL[kind](tmp_path)), page(bilevel=True))


@pytest.mark.parametrize("kind", LOSSY)
def test_a_page_is_nearly_the_same_from(kind, tmp_path):
    difference = read_image(LOSSY[kind](tmp_path)).astype(int) - page()
    assert np.abs(difference).max() <= 4


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
@pytest.mark.parametrize(
    ("orientation", "held"),
    HELD,
)
def test_a_page_held_askew_is_upright_from_any_container(suffix, orientation, held, tmp_path):
    turned(suffix, orientation, held)(tmp_path)
    got = read_image(tmp_path / f"a.{suffix}")
    assert got.shape == page().shape
    assert np.abs(got.astype(int) - page()).max() <= 4


def test_a_palette_png_with_transparency_is_white_there(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([0, 0, 0, 90, 90, 90])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "a.png", transparency=0)
    assert read_image(tmp_path / "a.png").tolist() == [[255, 90]]


def test_half_transparent_ink_is_half_way_to_white(tmp_path):
    Image.new("RGBA", (4, 4), (0, 0, 0, 51)).save(tmp_path / "a.png")
    assert np.unique(read_image(tmp_path / "a.png")).tolist() == [204]


def test_a_16_bit_level_that_is_transparent_is_white(tmp_path):
    levels = np.full((4, 4), 300, np.uint16)
    levels[0] = 20_000
    Image.fromarray(levels).save(tmp_path / "a.png", transparency=300)
    assert read_image(tmp_path / "a.png").tolist() == [[round(20_000 / 257)] * 4] + [[255] * 4] * 3


def test_colour_is_given_on_request_and_grey_else(tmp_path):
    Image.new("RGB", (3, 2), (255, 0, 0)).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png", color=True).tolist() == [[[255, 0, 0]] * 3] * 2
    assert read_image(tmp_path / "a.png").tolist() == [[76] * 3] * 2


def test_a_grey_page_in_colour_has_three_equal_channels(tmp_path):
    for kind in ("png grey", "tiff 16 bit"):
        got = read_image(SAME[kind](tmp_path), color=True)
        assert np.array_equal(got, np.stack([page()] * 3, axis=2))


def test_spaces_and_unicode_in_a_path_are_right(tmp_path):
    grey().save(tmp_path / "Fig. 1 Ansicht ßé 図.png")
    assert np.array_equal(read_image(tmp_path / "Fig. 1 Ansicht ßé 図.png"), page())


def cut(name):
    def content(folder):
        path = save(name, grey)(folder)
        return path.read_bytes()[: path.stat().st_size * 2 // 3]

    return content


BAD = {
    "empty": lambda folder: b"",
    "text": lambda folder: b"not an image at all",
    "zeros": lambda folder: bytes(5000),
    "cut png": cut("a.png"),
    "cut jpeg": cut("a.jpg"),
    "cut tiff": cut("a.tif"),
    "cut gif": cut("a.gif"),
    "cut bmp": cut("a.bmp"),
    "only a png's head": lambda folder: save("a.png", grey)(folder).read_bytes()[:33],
    "NaN": lambda folder: raw_tiff(np.full((4, 4), np.nan, np.float32), sample_format=3),
    "below zero": lambda folder: raw_tiff(np.full((4, 4), -5, np.int32), sample_format=2),
    "another format": lambda folder: b"P5 2 2 255 abcd",
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_image_is_one_line_with_its_path(kind, tmp_path):
    content = BAD[kind](tmp_path)
    path = tmp_path / "bad.png"
    path.write_bytes(content)
    with pytest.raises(InputError) as refusal:
        read_image(path)
    assert str(refusal.value).startswith(str(path))
    assert "\n" not in str(refusal.value)


def test_a_flipped_bit_in_the_pixels_of_a_png_is_seen(tmp_path):
    sheet = np.full((200, 300), 255, np.uint8)  # long runs, in which Pillow alone does not see a flipped bit
    sheet[20:30, 40:90] = 0
    path = save("a.png", lambda: Image.fromarray(sheet))(tmp_path)
    content = path.read_bytes()
    first, last = content.index(b"IDAT") + 4, len(content) - 16
    for place in range(first, last, 5):
        path.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
        with pytest.raises(InputError, match="corrupt"):
            read_image(path)


def test_a_missing_file_a_folder_and_a_pipe_are_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    for name in ("missing.png", "", "pipe.png", "x" * 300, "nul\0.png"):
        with pytest.raises(InputError, match="cannot be read"):
            read_image(os.path.join(tmp_path, name))


def test_a_files_name_cannot_break_the_line(tmp_path):
    (tmp_path / "a\n\x1b[31mb.png").write_bytes(b"no image")
    with pytest.raises(InputError) as refusal:
        read_image(tmp_path / "a\n\x1b[31mb.png")
    assert "a\\n\\x1b[31mb.png: not an image" in str(refusal.value)


def test_a_page_over_the_limit_is_refused_from_its_header(tmp_path):
    path = save("a.bmp", lambda: Image.new("1", (4000, 3000)))(tmp_path)
    path.write_bytes(path.read_bytes()[:200])  # the pixels are not even there
    with pytest.raises(InputError, match="4000 x 3000 px is more than the 1000000 allowed"):
        read_image(path, max_pixels=1_000_000)


def test_a_header_that_claims_a_giant_is_refused(tmp_path):
    png = bytearray(save("a.png", grey)(tmp_path).read_bytes())
    png[16:24] = struct.pack(">II", 100_000, 100_000)
    (tmp_path / "a.png").write_bytes(png)
    with pytest.raises(InputError):
        read_image(tmp_path / "a.png")


def test_a_bad_drawing_is_told_with_its_list_line(tmp_path):
    drawing = Drawing(str(tmp_path / "gone.png"), "gone.png", "1", source="train.txt:7")
    with pytest.raises(InputError, match=r"^train\.txt:7: .*gone\.png: cannot be read"):
        read_drawing(drawing)


def test_a_page_that_does_not_fit_in_memory_is_not_called_corrupt(tmp_path, monkeypatch):
    Image.new("L", (4, 4)).save(tmp_path / "a.png")

    def full(self):
        raise MemoryError

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", full)
    with pytest.raises(InputError, match="not enough memory to decode it"):
        read_image(tmp_path / "a.png")
