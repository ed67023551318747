import os
import struct

import numpy as np
import pytest
from image_formats import BILEVEL, LOSSY, ORIENTATIONS, SAME, gray, make_tiff, page, save, save_rotated
from PIL import Image

from fastreid.data.io.image import read_drawing, read_image
from fastreid.structures import Drawing
from fastreid.utils.errors import InputError


@pytest.mark.parametrize("kind", SAME)
def test_gray_page_is_the_same_from_any_format(kind, tmp_path):
    assert np.array_equal(read_image(SAME[kind](tmp_path)), page())


@pytest.mark.parametrize("kind", BILEVEL)
def test_bilevel_page_is_the_same_from_any_format(kind, tmp_path):
    assert np.array_equal(read_image(BILEVEL[kind](tmp_path)), page(bilevel=True))


@pytest.mark.parametrize("kind", LOSSY)
def test_page_from_a_lossy_format_is_close(kind, tmp_path):
    difference = read_image(LOSSY[kind](tmp_path)).astype(int) - page()
    assert np.abs(difference).max() <= 4


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
@pytest.mark.parametrize(
    ("orientation", "stored"),
    ORIENTATIONS,
)
def test_exif_orientation_is_applied_in_any_format(suffix, orientation, stored, tmp_path):
    save_rotated(suffix, orientation, stored)(tmp_path)
    decoded = read_image(tmp_path / f"a.{suffix}")
    assert decoded.shape == page().shape
    assert np.abs(decoded.astype(int) - page()).max() <= 4


def test_transparent_palette_entry_is_white(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([0, 0, 0, 90, 90, 90])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "a.png", transparency=0)
    assert read_image(tmp_path / "a.png").tolist() == [[255, 90]]


def test_semitransparent_ink_blends_with_white(tmp_path):
    Image.new("RGBA", (4, 4), (0, 0, 0, 51)).save(tmp_path / "a.png")
    assert np.unique(read_image(tmp_path / "a.png")).tolist() == [204]


def test_transparent_16_bit_level_is_white(tmp_path):
    levels = np.full((4, 4), 300, np.uint16)
    levels[0] = 20_000
    Image.fromarray(levels).save(tmp_path / "a.png", transparency=300)
    assert read_image(tmp_path / "a.png").tolist() == [[round(20_000 / 32_767 * 255)] * 4] + [[255] * 4] * 3


def test_color_is_returned_on_request_only(tmp_path):
    Image.new("RGB", (3, 2), (255, 0, 0)).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png", color=True).tolist() == [[[255, 0, 0]] * 3] * 2
    assert read_image(tmp_path / "a.png").tolist() == [[76] * 3] * 2


def test_gray_page_in_color_has_three_equal_channels(tmp_path):
    for kind in ("png gray", "tiff 16 bit"):
        decoded = read_image(SAME[kind](tmp_path), color=True)
        assert np.array_equal(decoded, np.stack([page()] * 3, axis=2))


def test_path_may_contain_spaces_and_unicode(tmp_path):
    gray().save(tmp_path / "Fig. 1 Ansicht ßé 図.png")
    assert np.array_equal(read_image(tmp_path / "Fig. 1 Ansicht ßé 図.png"), page())


def truncate(name):
    def content(folder):
        path = save(name, gray)(folder)
        return path.read_bytes()[: path.stat().st_size * 2 // 3]

    return content


INVALID = {
    "empty": lambda folder: b"",
    "text": lambda folder: b"not an image at all",
    "zeros": lambda folder: bytes(5000),
    "cut png": truncate("a.png"),
    "cut jpeg": truncate("a.jpg"),
    "cut tiff": truncate("a.tif"),
    "cut gif": truncate("a.gif"),
    "cut bmp": truncate("a.bmp"),
    "only a png header": lambda folder: save("a.png", gray)(folder).read_bytes()[:33],
    "NaN": lambda folder: make_tiff(np.full((4, 4), np.nan, np.float32), sample_format=3),
    "below zero": lambda folder: make_tiff(np.full((4, 4), -5, np.int32), sample_format=2),
    "another format": lambda folder: b"P5 2 2 255 abcd",
}


@pytest.mark.parametrize("kind", INVALID)
def test_invalid_image_error_is_one_line_with_the_path(kind, tmp_path):
    content = INVALID[kind](tmp_path)
    path = tmp_path / "bad.png"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_image(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_flipped_bit_in_png_pixels_is_detected(tmp_path):
    sheet = np.full((200, 300), 255, np.uint8)  # long runs, in which Pillow does not detect a flipped bit
    sheet[20:30, 40:90] = 0
    path = save("a.png", lambda: Image.fromarray(sheet))(tmp_path)
    content = path.read_bytes()
    first, last = content.index(b"IDAT") + 4, len(content) - 16
    for offset in range(first, last, 5):
        path.write_bytes(content[:offset] + bytes([content[offset] ^ 4]) + content[offset + 1 :])
        with pytest.raises(InputError, match="corrupt"):
            read_image(path)


def test_missing_file_folder_and_pipe_raise_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    for name in ("missing.png", "", "pipe.png", "x" * 300, "nul\0.png"):
        with pytest.raises(InputError, match="cannot be read"):
            read_image(os.path.join(tmp_path, name))


def test_file_name_is_escaped_in_messages(tmp_path):
    (tmp_path / "a\n\x1b[31mb.png").write_bytes(b"no image")
    with pytest.raises(InputError) as caught:
        read_image(tmp_path / "a\n\x1b[31mb.png")
    assert "a\\n\\x1b[31mb.png: not an image" in str(caught.value)


def test_page_over_the_limit_fails_before_decoding(tmp_path):
    path = save("a.bmp", lambda: Image.new("1", (4000, 3000)))(tmp_path)
    path.write_bytes(path.read_bytes()[:200])  # the pixels are not even there
    with pytest.raises(InputError, match="4000 x 3000 px is more than the 1000000 allowed"):
        read_image(path, max_pixels=1_000_000)


def test_header_with_huge_size_is_invalid(tmp_path):
    png = bytearray(save("a.png", gray)(tmp_path).read_bytes())
    png[16:24] = struct.pack(">II", 100_000, 100_000)
    (tmp_path / "a.png").write_bytes(png)
    with pytest.raises(InputError):
        read_image(tmp_path / "a.png")


def test_unreadable_drawing_error_names_the_list_line(tmp_path):
    drawing = Drawing(str(tmp_path / "gone.png"), "gone.png", "1", source="train.txt:7")
    with pytest.raises(InputError, match=r"^train\.txt:7: .*gone\.png: cannot be read"):
        read_drawing(drawing)


def test_lack_of_memory_is_not_reported_as_corrupt(tmp_path, monkeypatch):
    Image.new("L", (4, 4)).save(tmp_path / "a.png")

    def run_out_of_memory(self):
        raise MemoryError

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", run_out_of_memory)
    with pytest.raises(InputError, match="not enough memory to decode it"):
        read_image(tmp_path / "a.png")
