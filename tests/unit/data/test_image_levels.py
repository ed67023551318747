"""Paper is white in every container and bit depth."""

import struct
import zlib

import numpy as np
import pytest
from image_formats import make_bmp, page
from PIL import Image
from tiff_files import make_tiff_page, write_tiff

from fastreid.data.io.image import read_image
from fastreid.utils.errors import InputError


def read_tiff(tmp_path, levels, *, order="<", **tags):
    return read_image(write_tiff(tmp_path / "a.tif", make_tiff_page(levels, **tags), order=order))


def assert_same(pixels, *, tolerance=0):
    assert np.abs(pixels.astype(int) - page()).max() <= tolerance


@pytest.mark.parametrize("bits", [9, 10, 11, 12, 13, 14, 15, 16])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_depth_is_the_smallest_that_holds_all_16_bit_levels(bits, suffix, tmp_path):
    levels = np.rint(page() / 255 * (2**bits - 1)).astype(np.uint16)
    Image.fromarray(levels).save(tmp_path / f"a.{suffix}")
    assert_same(read_image(tmp_path / f"a.{suffix}"))


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_8_bit_and_1_bit_levels_in_16_bits_keep_their_meaning(suffix, tmp_path):
    Image.fromarray(page().astype(np.uint16)).save(tmp_path / f"a.{suffix}")
    assert_same(read_image(tmp_path / f"a.{suffix}"))
    Image.fromarray((page() // 255).astype(np.uint16)).save(tmp_path / f"a.{suffix}")
    assert np.array_equal(read_image(tmp_path / f"a.{suffix}"), page() // 255 * 255)


def test_12_bit_levels_shifted_by_4_are_white_to_one_level(tmp_path):
    Image.fromarray(page().astype(np.uint16) * 16).save(tmp_path / "a.png")
    assert_same(read_image(tmp_path / "a.png"), tolerance=1)


def test_stated_depth_is_used_if_it_holds_the_levels(tmp_path):
    levels = np.full((4, 6), 900, np.uint16)  # 10 bits would be enough
    assert read_tiff(tmp_path, levels, t281=(4095,))[0, 0] == round(900 / 4095 * 255)
    assert read_tiff(tmp_path, levels, t281=(511,))[0, 0] == round(900 / 1023 * 255)
    Image.fromarray(levels).save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    chunk = b"sBIT" + bytes([12])
    chunk = struct.pack(">I", 1) + chunk + struct.pack(">I", zlib.crc32(chunk))
    (tmp_path / "b.png").write_bytes(content[:33] + chunk + content[33:])
    assert read_image(tmp_path / "a.png")[0, 0] == round(900 / 1023 * 255)
    assert read_image(tmp_path / "b.png")[0, 0] == round(900 / 4095 * 255)


def test_packed_12_bit_tiff_has_its_stated_depth(tmp_path):
    levels = np.array([[0x100, 0xFFF], [0x800, 0x123]])
    packed = b"".join(struct.pack(">I", row[0] << 12 | row[1])[1:] for row in levels.tolist())
    entries, _ = make_tiff_page(levels.astype(np.uint16))
    path = write_tiff(tmp_path / "a.tif", (entries | {258: (3, (12,))}, packed))
    assert read_image(path).tolist() == np.rint(levels / 4095 * 255).astype(int).tolist()


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("photometric", [0, 1])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.uint32, np.int32, np.float32])
def test_byte_order_and_white_is_zero_at_any_depth(order, photometric, dtype, tmp_path):
    levels = (page() if photometric else 255 - page()).astype(dtype)
    if levels.dtype.kind == "f":
        levels /= 255
    assert_same(read_tiff(tmp_path, levels, order=order, photometric=photometric))


def test_32_bit_big_endian_without_a_sample_format_is_unsigned(tmp_path):
    entries, levels = make_tiff_page(page().astype(np.uint32) * 0x01010101)
    del entries[339]
    for order in "<>":
        assert_same(read_image(write_tiff(tmp_path / "a.tif", (entries, levels), order=order)))


@pytest.mark.parametrize(
    ("largest", "white"),
    [(1000.0, 1000.0), (200.0, 255.0), (0.9, 1.0), (0.4, 0.4), (1.02, 1.02), (100.0, 100.0), (60000.0, 65535.0)],
)
def test_white_of_float_pages(largest, white, tmp_path):
    levels = np.full((4, 6), largest, np.float32)
    levels[1] = 0
    pixels = read_tiff(tmp_path, levels)
    assert abs(pixels[0, 0] - largest / white * 255) <= 0.51
    assert pixels[1, 0] == 0


def test_negative_floats_are_shifted_and_negative_integers_are_an_error(tmp_path):
    levels = page().astype(np.float32) / 127.5 - 1  # -1 to 1
    assert_same(read_tiff(tmp_path, levels))
    assert_same(read_tiff(tmp_path, -levels, photometric=0))
    with pytest.raises(InputError, match="gray levels from -3; save the page with 8 bits"):
        read_tiff(tmp_path, np.full((4, 4), -3, np.int32))
    with pytest.raises(InputError, match=r"gray levels that are all -0\.5"):
        read_tiff(tmp_path, np.full((4, 4), -0.5, np.float32))


@pytest.mark.parametrize("level", [np.nan, np.inf])
def test_level_that_is_no_number_is_an_error(level, tmp_path):
    levels = np.ones((1200, 1000), np.float32)  # several strips
    levels[-1, -1] = level
    with pytest.raises(InputError, match="NaN or Inf"):
        read_tiff(tmp_path, levels)


@pytest.mark.parametrize("shift", [0, 1, 2, 3, 4, 5, 6])
@pytest.mark.parametrize("channels", [3, 4])
def test_16_bit_color_is_white_at_the_precision_that_is_left(shift, channels, tmp_path):
    levels = np.full((4, 6, channels), 65535 >> shift, np.uint16)
    levels[1, :, :3] = 0
    if channels == 4:
        levels[..., 3] = 65535
    pixels = read_tiff(tmp_path, levels, photometric=2, **({"t338": (2,)} if channels == 4 else {}))
    assert (pixels[0].min(), pixels[1].max()) == (255, 0)


@pytest.mark.parametrize("order", ["<", ">"])
def test_127_is_white_in_signed_8_bits(order, tmp_path):
    assert_same(read_tiff(tmp_path, (page() // 2).astype(np.int8), order=order), tolerance=2)
    bilevel = read_tiff(tmp_path, (page() // 255).astype(np.int8), order=order)
    assert np.array_equal(bilevel, page() // 255 * 255)
    with pytest.raises(InputError, match="gray levels from -128; save the page with unsigned levels"):
        read_tiff(tmp_path, np.array([[127, -128, -3]], np.int8), order=order)


@pytest.mark.parametrize("is_transparent", [False, True])
@pytest.mark.parametrize("bits", [9, 12, 15])
def test_alpha_of_fewer_bits_than_its_16_bit_samples_is_opaque(bits, is_transparent, tmp_path):
    white = 2**bits - 1
    levels = np.zeros((4, 6, 4), np.uint16)
    levels[..., :3] = 0 if is_transparent else white
    levels[..., 3] = 0 if is_transparent else white
    levels[1] = (0, 0, 0, white)
    pixels = read_tiff(tmp_path, levels, photometric=2, t338=(2,))
    assert (pixels[0].min(), pixels[1].max()) == (255, 0)
    (tmp_path / "a.png").write_bytes(make_png(levels[..., [0, 3]], color_type=4))
    pixels = read_image(tmp_path / "a.png")
    assert (pixels[0].min(), pixels[1].max()) == (255, 0)


def make_png(levels, *, color_type):
    """Return a PNG of 16 bits, from uint16 (H, W, C)."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in levels)
    header = struct.pack(">IIBBBBB", levels.shape[1], levels.shape[0], 16, color_type, 0, 0, 0)
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )


def test_16_bit_color_below_256_is_an_error(tmp_path):
    with pytest.raises(InputError, match="all below 256"):
        read_tiff(tmp_path, np.full((4, 6, 3), 200, np.uint16), photometric=2)


def test_16_bit_ink_on_transparent_paper_keeps_its_level(tmp_path):
    levels = np.zeros((4, 6, 4), np.uint16)
    levels[1] = (5000, 5000, 5000, 65535)
    pixels = read_tiff(tmp_path, levels, photometric=2, t338=(2,))
    assert (pixels[0, 0], pixels[1, 0]) == (255, 5000 >> 8)


def test_unsupported_tiff_is_named_exactly(tmp_path):
    with pytest.raises(InputError, match=r"float samples of \(64,\) bits.* cannot be read; save the page with 8 bits"):
        read_tiff(tmp_path, np.ones((4, 4), np.float64))
    with pytest.raises(InputError, match=r"unsigned samples of \(16, 16\) bits"):
        read_tiff(tmp_path, np.ones((4, 4, 2), np.uint16), t338=(2,))


def write_bmp(path, alpha, *, header_bytes):
    path.write_bytes(make_bmp(alpha, header_bytes=header_bytes))
    return path


@pytest.mark.parametrize("header_bytes", [108, 124])
def test_alpha_that_is_0_everywhere_is_ignored_in_a_bmp(header_bytes, tmp_path):
    path = write_bmp(tmp_path / "a.bmp", np.zeros_like(page()), header_bytes=header_bytes)
    assert_same(read_image(path))
    assert np.array_equal(read_image(path, color=True)[..., 1], page())
    path = write_bmp(tmp_path / "a.bmp", (page() < 255).astype(np.uint8) * 255, header_bytes=header_bytes)
    assert_same(read_image(path))


def test_alpha_that_is_0_everywhere_counts_only_where_the_file_states_it(tmp_path):
    levels = np.dstack([page(), page(), page(), np.zeros_like(page())])
    assert_same(read_tiff(tmp_path, levels, photometric=2))
    assert_same(read_tiff(tmp_path, levels, photometric=2, t338=(0,)))
    assert read_tiff(tmp_path, levels, photometric=2, t338=(2,)).min() == 255
    Image.fromarray(levels).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").min() == 255
    Image.fromarray(levels).save(tmp_path / "a.webp", lossless=True)
    assert read_image(tmp_path / "a.webp").min() == 255


@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("photometric", [0, 1, 3])
def test_few_bits_of_gray_and_palette(bits, photometric, tmp_path):
    levels = np.arange(8).reshape(1, 8) % 2**bits
    packed = np.packbits(np.unpackbits(levels.astype(np.uint8)[..., None], axis=2)[..., 8 - bits :].ravel()).tobytes()
    entries, _ = make_tiff_page(levels.astype(np.uint8), photometric=photometric)
    entries |= {258: (3, (bits,))}
    gray = levels * 255 // (2**bits - 1)
    if photometric == 3:
        table = tuple(int(level * 65535 / (2**bits - 1)) for level in range(2**bits))
        entries |= {320: (3, table * 3)}
    path = write_tiff(tmp_path / "a.tif", (entries, packed))
    assert read_image(path).tolist() == (255 - gray if photometric == 0 else gray).tolist()


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_png_of_few_bits(bits, tmp_path):
    levels = np.arange(8, dtype=np.uint8).reshape(1, 8) % 2**bits
    image = Image.fromarray(levels).convert("P")
    image.putpalette([value for level in range(2**bits) for value in [level * 255 // (2**bits - 1)] * 3])
    image.save(tmp_path / "a.png", bits=bits)
    assert read_image(tmp_path / "a.png").tolist() == (levels.astype(int) * 255 // (2**bits - 1)).tolist()


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
@pytest.mark.parametrize(("photometric", "gray"), [(0, 255), (1, 0)])
def test_page_of_zeros_is_all_white_or_all_black(dtype, photometric, gray, tmp_path):
    pixels = read_tiff(tmp_path, np.zeros((4, 6), dtype), photometric=photometric)
    assert np.array_equal(pixels, np.full((4, 6), gray))


def test_16_bit_png_of_zeros_is_black(tmp_path):
    Image.fromarray(np.zeros((4, 6), np.uint16)).save(tmp_path / "a.png")
    assert np.array_equal(read_image(tmp_path / "a.png"), np.zeros((4, 6)))


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("is_white_at_the_top", [False, True])
def test_8_bit_mask_has_white_paper(suffix, is_white_at_the_top, tmp_path):
    mask = page(bilevel=True) // 255
    mask[0] = is_white_at_the_top
    Image.fromarray(mask).save(tmp_path / f"a.{suffix}")
    assert np.array_equal(read_image(tmp_path / f"a.{suffix}"), mask * 255)
    assert np.array_equal(read_image(tmp_path / f"a.{suffix}", color=True), np.dstack([mask * 255] * 3))


@pytest.mark.parametrize("photometric", [0, 1])
def test_8_bit_tiff_with_levels_0_and_1_is_a_mask_in_both_photometric_interpretations(photometric, tmp_path):
    mask = page(bilevel=True) // 255
    levels = mask if photometric else 1 - mask
    assert np.array_equal(read_tiff(tmp_path, levels, photometric=photometric), mask * 255)
    levels[1, 1] = 2  # more than two levels have their meaning in TIFF 6.0
    expected = levels if photometric else 255 - levels
    assert np.array_equal(read_tiff(tmp_path, levels, photometric=photometric), expected)


def test_black_page_of_a_lossy_tiff_is_no_mask(tmp_path):
    levels = np.repeat(np.array([[0, 1]], np.uint8), 8, axis=1).repeat(8, axis=0)  # two blocks, exact in JPEG
    Image.fromarray(levels).save(tmp_path / "a.tif", compression="jpeg", quality=100)
    assert np.array_equal(read_image(tmp_path / "a.tif"), levels)


@pytest.mark.parametrize("levels", [(0, 0), (1, 1), (0, 2), (0, 1, 2), (0, 15)])
def test_8_bit_levels_of_other_pages_are_kept(levels, tmp_path):
    pixels = np.resize(np.array(levels, np.uint8), (3, 8))
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert np.array_equal(read_image(tmp_path / "a.png"), pixels)
