"""A page of a TIFF file is decoded from its own strips, wherever they are in the file."""

import io
import zlib

import numpy as np
import pytest
from PIL import Image
from tiff_files import make_tiff_file, make_tiff_page

from fastreid.data.io.image import decode_page, read_image


class CountingFile(io.BytesIO):
    """A file that counts the bytes that are read."""

    num_read = 0

    def read(self, size=-1):
        content = super().read(size)
        self.num_read += len(content)
        return content


def test_page_of_a_compressed_tiff_is_decoded_without_the_bytes_of_others(tmp_path):
    rng = np.random.default_rng(0)
    pages = [Image.fromarray(rng.integers(0, 2, (160, 200), dtype=np.uint8) * 255).convert("1") for _ in range(100)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:], compression="group4")
    content = (tmp_path / "a.tif").read_bytes()
    assert len(content) > 500_000
    for number in (0, 50, 99):
        file = CountingFile(content)
        pixels = decode_page(file, "a.tif", page=number)
        assert np.array_equal(pixels, np.asarray(pages[number].convert("L")))
        assert file.num_read < 0.1 * len(content)


@pytest.mark.parametrize(("order", "big"), [("<", False), (">", False), ("<", True)])
def test_compressed_strips_are_read_in_any_order(order, big, tmp_path):
    levels = np.random.default_rng(1).integers(0, 256, (3, 2, 70), dtype=np.uint8)  # three strips of two rows
    strips = [zlib.compress(rows.tobytes()) for rows in levels]
    gap = b"other bytes"
    start = 16 if big else 8
    positions = [start + len(strips[0]) + len(gap), start, start + len(strips[0]) + len(gap) + len(strips[1])]
    body = strips[0] + gap + strips[1] + strips[2]
    entries, _ = make_tiff_page(np.vstack(levels))
    entries |= {259: (3, (8,)), 278: (4, (2,))}

    def table(rows):
        return {273: (4, tuple(positions[row] for row in rows)), 279: (4, tuple(len(strips[r]) for r in stored(rows)))}

    def stored(rows):
        return [{0: 1, 1: 0, 2: 2}[row] for row in rows]

    pages = [
        (entries | table(rows), body if number == 0 else b"") for number, rows in enumerate([(0, 1, 2), (2, 2, 0)])
    ]
    (tmp_path / "a.tif").write_bytes(make_tiff_file(*pages, order=order, big=big))
    for number, rows in enumerate([(0, 1, 2), (2, 2, 0)]):
        expected = np.vstack([levels[row] for row in stored(rows)])
        assert np.array_equal(read_image(tmp_path / "a.tif", page=number), expected)


def test_tags_that_do_not_locate_all_strips_leave_the_whole_file_to_the_decoder(tmp_path):
    levels = np.random.default_rng(2).integers(0, 256, (6, 70), dtype=np.uint8)
    strip = zlib.compress(levels.tobytes())
    entries, _ = make_tiff_page(levels)
    table = {259: (3, (8,)), 279: (4, (0,))}  # libtiff assumes that the strip ends with the file
    (tmp_path / "a.tif").write_bytes(make_tiff_file((entries | table, strip)))
    assert np.array_equal(read_image(tmp_path / "a.tif"), levels)
