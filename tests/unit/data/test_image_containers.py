"""Containers, compressions and color spaces that people have, resolution tags, and pages of TIFF and PDF files."""

import numpy as np
import pypdfium2
import pytest
from image_formats import page
from PIL import Image
from tiff_files import make_tiff_page, write_tiff

from fastreid.data.io import frames, pdf
from fastreid.data.io.image import count_pages, read_header, read_image
from fastreid.utils.errors import InputError

BILEVEL = Image.fromarray(page(bilevel=True)).convert("1")


def assert_same(pixels, *, tolerance=0):
    assert np.abs(pixels.astype(int) - page()).max() <= tolerance


@pytest.mark.parametrize("compression", ["group3", "group4", "tiff_lzw", "tiff_adobe_deflate", "packbits", None])
def test_bilevel_tiff_of_any_compression(compression, tmp_path):
    BILEVEL.save(tmp_path / "a.tif", compression=compression)
    assert np.array_equal(read_image(tmp_path / "a.tif"), page(bilevel=True))


@pytest.mark.parametrize("compression", [2, 3, 4])
@pytest.mark.parametrize(("order", "big"), [("<", False), (">", False), ("<", True)])
def test_fax_with_reversed_bits_in_a_byte(compression, order, big, tmp_path):
    BILEVEL.save(tmp_path / "a.tif", compression={2: "tiff_ccitt", 3: "group3", 4: "group4"}[compression])
    with Image.open(tmp_path / "a.tif") as image:
        offset, num = image.tag_v2[273][0], image.tag_v2[279][0]
        photometric = image.tag_v2[262]
    strip = (tmp_path / "a.tif").read_bytes()[offset : offset + num]
    reversed_bits = bytes(int(f"{byte:08b}"[::-1], 2) for byte in strip)
    entries, _ = make_tiff_page(page())
    entries |= {258: (3, (1,)), 259: (3, (compression,)), 262: (3, (photometric,)), 266: (3, (2,))}
    path = write_tiff(tmp_path / "b.tif", (entries, reversed_bits), order=order, big=big)
    assert np.array_equal(read_image(path), page(bilevel=True))


def test_big_endian_bigtiff_is_named_exactly(tmp_path):
    with pytest.raises(InputError, match="a big-endian BigTIFF, which Pillow cannot read"):
        read_image(write_tiff(tmp_path / "a.tif", page(), order=">", big=True))


def test_tiled_planar_and_jpeg_compressed_tiff(tmp_path):
    Image.fromarray(page()).convert("RGB").save(tmp_path / "a.tif", compression="jpeg", quality=100)
    assert_same(read_image(tmp_path / "a.tif"), tolerance=4)
    entries, _ = make_tiff_page(np.dstack([page()] * 3), photometric=2)
    planes = page().tobytes() * 3
    path = write_tiff(tmp_path / "b.tif", (entries | {284: (3, (2,))}, planes))
    plane_bytes, [start] = page().size, [path.read_bytes().index(planes)]
    entries |= {
        284: (3, (2,)),
        273: (4, tuple(start + n * plane_bytes for n in range(3))),
        279: (4, (plane_bytes,) * 3),
    }
    assert_same(read_image(write_tiff(tmp_path / "b.tif", (entries, planes))))
    tile = np.full((32, 32), 255, np.uint8)
    tile[:18, :26] = page()
    entries, _ = make_tiff_page(page())
    del entries[278]
    tiles = {322: (4, (32,)), 323: (4, (32,)), 324: (4, (8,)), 325: (4, (1024,))}
    assert_same(read_image(write_tiff(tmp_path / "c.tif", (entries | tiles, tile.tobytes()))))


def test_lab_and_ycbcr_tiff(tmp_path):
    lab = np.dstack([page(), np.zeros_like(page()), np.zeros_like(page())])
    pixels = read_image(write_tiff(tmp_path / "a.tif", make_tiff_page(lab, photometric=8)))
    assert pixels[0, 0] == 255
    assert pixels[2, 3] == 0
    Image.fromarray(page()).convert("YCbCr").save(tmp_path / "b.tif")
    assert_same(read_image(tmp_path / "b.tif"), tolerance=1)


@pytest.mark.parametrize("suffix", ["jpg", "tif"])
def test_cmyk_paper_is_white(suffix, tmp_path):
    Image.fromarray(page()).convert("CMYK").save(
        tmp_path / f"a.{suffix}", **({"quality": 100} if suffix == "jpg" else {})
    )
    assert_same(read_image(tmp_path / f"a.{suffix}"), tolerance=4)


@pytest.mark.parametrize("suffix", ["webp", "jp2", "j2k"])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_webp_and_jpeg_2000(suffix, mode, tmp_path):
    options = {"lossless": True} if suffix == "webp" else {}
    Image.fromarray(page()).convert(mode).save(tmp_path / f"a.{suffix}", **options)
    assert_same(read_image(tmp_path / f"a.{suffix}"), tolerance=0)
    assert read_header(tmp_path / f"a.{suffix}").format == {"webp": "WEBP"}.get(suffix, "JPEG2000")


def test_jpeg_2000_of_12_bits(tmp_path):
    levels = np.rint(page() / 255 * 4095).astype(np.uint16)
    Image.fromarray(levels * 16).save(tmp_path / "a.jp2")
    assert_same(read_image(tmp_path / "a.jp2"), tolerance=1)


@pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
def test_first_frame_of_an_animation(suffix, tmp_path):
    frames = [Image.fromarray(255 - page())]
    options = {"lossless": True} if suffix == "webp" else {}
    Image.fromarray(page()).save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames, **options)
    assert_same(read_image(tmp_path / f"a.{suffix}"))
    assert read_header(tmp_path / f"a.{suffix}").num_frames == 2
    assert count_pages(tmp_path / f"a.{suffix}") == 1
    with pytest.raises(InputError, match="only TIFF and PDF files have pages"):
        read_image(tmp_path / f"a.{suffix}", page=1)


FAX = {"inch": (204, 98), "fine fax": (204, 196), "coarse width": (100, 200), "square": (204, 204), "close": (200, 203)}
FAX |= {"nonsense": (1, 300), "zero": (0, 98)}
EXPECTED = {"inch": (37, 26), "fine fax": (19, 26), "coarse width": (18, 52)}


def save_with_resolution(path, x, y):
    image = Image.fromarray(page())
    if path.suffix == ".tif":
        levels = make_tiff_page(page(), t282=(x, 1), t283=(y, 1), t296=(2,))
        return write_tiff(path, levels)
    image.save(path, dpi=(x, y), **({"quality": 100} if path.suffix == ".jpg" else {}))
    return path


@pytest.mark.parametrize(
    ("name", "suffix"),  # Pillow writes no JPEG with a density of 0
    [(name, suffix) for name in FAX for suffix in ("tif", "png", "jpg", "bmp") if (name, suffix) != ("zero", "jpg")],
)
def test_pixels_become_square_by_the_resolution_tags(name, suffix, tmp_path):
    path = save_with_resolution(tmp_path / f"a.{suffix}", *FAX[name])
    pixels = read_image(path)
    assert pixels.shape == EXPECTED.get(name, page().shape)
    assert (pixels[0, 0], pixels[-1, -1]) == (255, 255)
    if name not in EXPECTED:
        assert_same(pixels, tolerance=4)


@pytest.mark.parametrize("unit", [1, 2, 3])
def test_aspect_of_a_tiff_does_not_depend_on_the_unit(unit, tmp_path):
    levels = make_tiff_page(page(), t282=(204, 1), t283=(98, 1), t296=(unit,))
    assert read_image(write_tiff(tmp_path / "a.tif", levels)).shape == (37, 26)


def test_aspect_applies_before_the_orientation_and_with_a_reduction(tmp_path):
    levels = make_tiff_page(page(), t282=(204, 1), t283=(98, 1), t296=(2,), t274=(6,))
    path = write_tiff(tmp_path / "a.tif", levels)
    assert read_image(path).shape == (26, 37)
    assert read_image(path, longest_px=20).shape == (14, 20)
    assert read_image(path, max_pixels=500).size <= 500


def save_tiff_pages(path, num, **options):
    pages = [Image.fromarray(np.full((20, 30 + n), 10 * n, np.uint8)) for n in range(num)]
    pages[0].save(path, save_all=True, append_images=pages[1:], **options)
    return path


@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_every_page_of_a_tiff_can_be_read(compression, tmp_path):
    path = save_tiff_pages(tmp_path / "a.tif", 5, compression=compression)
    assert count_pages(path) == read_header(path).num_frames == 5
    for number in range(5):
        expected = np.full((20, 30 + number), 10 * number)
        assert np.array_equal(read_image(path, page=number), expected)
        assert np.array_equal(read_image(f"{path}#page={number + 1}"), expected)
    with pytest.raises(InputError, match=r"a\.tif#page=6: has no page 6; it has 5"):
        read_image(f"{path}#page=6")
    with pytest.raises(InputError, match="give the file and a page from 0, or an address alone"):
        read_image(f"{path}#page=2", page=1)


@pytest.mark.parametrize(("order", "big"), [("<", False), (">", False), ("<", True)])
def test_thumbnails_and_masks_are_not_pages(order, big, tmp_path):
    def make(level, kind=None, old_kind=None):
        entries, levels = make_tiff_page(np.full((4, 6), level, np.uint8))
        entries |= {254: (4, (kind,))} if kind is not None else {}
        return entries | ({255: (3, (old_kind,))} if old_kind else {}), levels

    pages = [make(1, 1), make(20, 0), make(3, 4), make(40), make(5, None, 2), make(60, 2, 3)]
    path = write_tiff(tmp_path / "a.tif", *pages, order=order, big=big)
    assert count_pages(path) == 3
    assert [read_image(path, page=number)[0, 0] for number in range(3)] == [20, 40, 60]
    assert read_image(write_tiff(tmp_path / "b.tif", make(7, 1)))[0, 0] == 7  # nothing but a thumbnail


def test_file_whose_name_is_an_address_is_that_file(tmp_path):
    save_tiff_pages(tmp_path / "a.tif", 3)
    Image.new("L", (3, 3), 77).save(tmp_path / "a.tif#page=2", format="PNG")
    assert read_image(tmp_path / "a.tif#page=2")[0, 0] == 77
    assert read_image(tmp_path / "a.tif#page=3")[0, 0] == 20
    with pytest.raises(InputError, match="No such file"):
        read_image(tmp_path / "gone.tif#page=2")


def make_pdf(*contents, size=(72, 36)):
    """Return a PDF with one page for each content stream."""
    num = len(contents)
    kids = " ".join(f"{3 + 2 * n} 0 R" for n in range(num))
    objects = [b"<</Type/Catalog/Pages 2 0 R>>", f"<</Type/Pages/Kids[{kids}]/Count {num}>>".encode()]
    for n, content in enumerate(contents):
        box = f"[0 0 {size[0]} {size[1]}]"
        objects.append(f"<</Type/Page/Parent 2 0 R/MediaBox{box}/Contents {4 + 2 * n} 0 R/Resources<<>>>>".encode())
        objects.append(f"<</Length {len(content)}>>stream\n".encode() + content + b"\nendstream")
    content, offsets = b"%PDF-1.4\n", []
    for number, item in enumerate(objects, start=1):
        offsets.append(len(content))
        content += f"{number} 0 obj".encode() + item + b"endobj\n"
    table = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    head = f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}"
    return content + f"{head}trailer<</Size {len(objects) + 1}/Root 1 0 R>>\nstartxref\n{len(content)}\n%%EOF".encode()


def test_pages_of_a_pdf_are_rendered_in_gray_at_200_dpi(tmp_path):
    path = tmp_path / "a.pdf"
    path.write_bytes(make_pdf(b"1 0 0 rg 0 0 36 36 re f", b"0 g 36 0 36 36 re f"))
    assert count_pages(path) == 2
    header = read_header(path)
    assert (header.format, header.width, header.height, header.num_frames) == ("PDF", 200, 100, 2)
    first, second = read_image(path), read_image(f"{path}#page=2")
    assert first.shape == second.shape == (100, 200)
    assert (first[50, 50], first[50, 150], second[50, 50], second[50, 150]) == (pytest.approx(76, abs=2), 255, 255, 0)
    assert read_image(path, color=True)[50, 50].tolist() == [255, 0, 0]
    assert read_image(path, longest_px=50).shape == (25, 50)
    assert read_image(path, max_pixels=800).size <= 800
    with pytest.raises(InputError, match="has no page 3; it has 2"):
        read_image(path, page=2)


def test_scanned_page_of_a_pdf_has_the_size_of_its_image(tmp_path):
    Image.fromarray(page()).resize((520, 360), 0).save(tmp_path / "a.pdf", resolution=300)
    pixels = read_image(tmp_path / "a.pdf")
    assert pixels.shape == (360, 520)
    with pytest.raises(InputError, match="520 x 360 px is more than the 100000 allowed"):
        read_image(tmp_path / "a.pdf", max_pixels=100_000)


def test_damaged_and_encrypted_pdf_have_exact_reasons(tmp_path):
    content = make_pdf(b"0 g 0 0 9 9 re f")
    (tmp_path / "a.pdf").write_bytes(content[:60])
    with pytest.raises(
        InputError, match=r"a\.pdf: a corrupt PDF \(Failed to load document \(PDFium: Data format error"
    ):
        read_image(tmp_path / "a.pdf")
    encrypt = b"/Encrypt<</Filter/Standard/V 1/R 2/O(" + b"a" * 32 + b")/U(" + b"b" * 32 + b")/P -4>>/ID[(a)(a)]/Root"
    (tmp_path / "b.pdf").write_bytes(content.replace(b"/Root", encrypt))
    with pytest.raises(InputError, match="an encrypted PDF; save it without a password"):
        read_image(tmp_path / "b.pdf")
    assert pypdfium2.PdfDocument(content)


def test_pdf_with_a_huge_page_is_bounded(tmp_path):
    (tmp_path / "a.pdf").write_bytes(make_pdf(b"0 g 0 0 9 9 re f", size=(14000, 14000)))
    assert 900_000 < read_image(tmp_path / "a.pdf", max_pixels=1_000_000).size <= 1_000_000


def test_higher_limit_does_not_change_pages_that_were_readable(tmp_path, monkeypatch):
    for module in (frames, pdf):
        monkeypatch.setattr(module, "MAX_RENDERED_PIXELS", 500)
    (tmp_path / "a.pdf").write_bytes(make_pdf(b"0 g 0 0 9 9 re f", size=(200, 200)))
    BILEVEL.save(tmp_path / "fax.tif", dpi=(204, 98))
    for name in ("a.pdf", "fax.tif"):
        pages = [read_image(tmp_path / name, max_pixels=limit) for limit in (500 if name == "a.pdf" else 10_000, 10**6)]
        assert 400 < pages[0].size <= 500
        assert np.array_equal(*pages)


def test_pdf_without_the_package_names_it(tmp_path, monkeypatch):
    from fastreid.utils.errors import EnvironmentSetupError

    monkeypatch.setitem(__import__("sys").modules, "pypdfium2", None)
    (tmp_path / "a.pdf").write_bytes(make_pdf(b""))
    for read in (read_image, count_pages, read_header):
        with pytest.raises(EnvironmentSetupError, match=r"a\.pdf: .*pip install pypdfium2"):
            read(tmp_path / "a.pdf")
