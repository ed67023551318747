"""Bounded memory and time for any image, errors of the disk, and no output of libraries on the terminal."""

import contextlib
import errno
import io
import struct
import subprocess
import sys
import threading
import time
import zlib

import numpy as np
import pytest
from image_formats import page
from PIL import Image
from tiff_files import make_tiff_page, write_tiff

from fastreid.data.audit.inspection import inspect_files
from fastreid.data.io.image import count_pages, decode_page, read_drawing, read_header, read_image
from fastreid.data.io.limits import MAX_SCANS
from fastreid.structures import Drawing
from fastreid.utils.errors import EnvironmentSetupError, InputError, StorageError

SIDE_PX = 5000
FIXED_BYTES = 32 << 20
PEAK = """
import sys
from fastreid.data.io.image import read_image
def status(key): return int(open("/proc/self/status").read().split(key + ":")[1].split()[0])
for path in sys.argv[1:]:
    for longest_px in (0, 512):
        open("/proc/self/clear_refs", "w").write("5")  # resets the peak
        before = status("VmRSS")
        read_image(path, longest_px=longest_px)
        print((status("VmHWM") - before) * 1024)
"""
# File -> (mode, options of Pillow, bytes per pixel at most, in addition to FIXED_BYTES).
SHEETS = {
    "a.tif": ("1", {"compression": "group4"}, 2.2),
    "b.tif": ("1", {"compression": "group4", "tiffinfo": {278: SIDE_PX}}, 2.3),  # a single strip, as of scanners
    "c.tif": ("RGB", {"compression": "tiff_adobe_deflate"}, 5.2),
    "d.tif": ("RGB", {"compression": "tiff_lzw", "tiffinfo": {278: SIDE_PX}}, 8.2),
    "e.tif": ("I;16", {"compression": "tiff_lzw"}, 3.8),
    "f.png": ("1", {}, 2.2),
    "g.png": ("RGBA", {}, 5.2),
    "h.jpg": ("RGB", {}, 5.2),
    "i.gif": ("L", {}, 2.2),
}


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak memory from /proc")
def test_peak_memory_per_pixel_is_bounded(tmp_path):
    for name, (mode, options, _) in SHEETS.items():
        white = 65535 if mode == "I;16" else "white"
        Image.new(mode, (SIDE_PX, SIDE_PX), white).save(tmp_path / name, **options)
    command = [sys.executable, "-c", PEAK, *(str(tmp_path / name) for name in SHEETS)]
    peaks = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    per_pixel = (np.array(peaks, float).reshape(-1, 2) - FIXED_BYTES) / SIDE_PX**2  # whole, reduced
    limits = np.array([[limit, limit - 1] for _, _, limit in SHEETS.values()])
    assert dict(zip(SHEETS, (per_pixel < limits).all(axis=1))) == dict.fromkeys(SHEETS, True), per_pixel


def test_tiff_with_many_pages_is_counted_and_read_quickly(tmp_path):
    entries, levels = make_tiff_page(np.full((4, 6), 90, np.uint8))
    content = bytearray(write_tiff(tmp_path / "a.tif", (entries, levels)).read_bytes())
    first = struct.unpack_from("<I", content, 4)[0]
    directory = content[first:]
    num = 40_000
    for _ in range(num):
        struct.pack_into("<I", content, len(content) - 4, len(content))
        content += directory
    (tmp_path / "a.tif").write_bytes(content)
    start = time.monotonic()
    assert count_pages(tmp_path / "a.tif") == read_header(tmp_path / "a.tif").num_frames == 1001
    assert read_image(tmp_path / "a.tif")[0, 0] == read_image(tmp_path / "a.tif", page=999)[0, 0] == 90
    assert time.monotonic() - start < 2


def test_directories_in_a_circle_end(tmp_path):
    path = write_tiff(tmp_path / "a.tif", page(), page())
    content = bytearray(path.read_bytes())
    struct.pack_into("<I", content, len(content) - 4, struct.unpack_from("<I", content, 4)[0])
    path.write_bytes(content)
    assert count_pages(path) == 2


@pytest.mark.parametrize(("num_tags", "match"), [(0, "directory with 0 tags"), (60_000, "directory with 60000 tags")])
def test_tiff_directory_with_an_absurd_number_of_tags_is_corrupt(num_tags, match, tmp_path):
    (tmp_path / "a.tif").write_bytes(b"II*\0" + struct.pack("<IH", 8, num_tags) + bytes(100))
    with pytest.raises(InputError, match=match):
        read_image(tmp_path / "a.tif")


def test_huge_tile_is_corrupt(tmp_path):
    entries, levels = make_tiff_page(page())
    tiles = {322: (4, (60_000,)), 323: (4, (60_000,)), 324: (4, (8,)), 325: (4, (100,))}
    with pytest.raises(InputError, match="tiles of 3600000000 px"):
        read_image(write_tiff(tmp_path / "a.tif", (entries | tiles, levels)))


def save_jpeg_of_scans(path, num):
    """Write a progressive JPEG whose last scan is repeated until there are `num` scans."""
    file = io.BytesIO()
    Image.fromarray(np.tile(page(), (20, 20))).save(file, "JPEG", progressive=True)
    content = file.getvalue()
    start = content.rindex(b"\xff\xda")
    own = content.count(b"\xff\xda")
    path.write_bytes(content[:-2] + content[start:-2] * (num - own) + b"\xff\xd9")
    return path


def test_jpeg_with_many_scans_is_rejected_at_once(tmp_path):
    assert read_image(save_jpeg_of_scans(tmp_path / "a.jpg", 10)).shape == (360, 520)
    path = save_jpeg_of_scans(tmp_path / "b.jpg", MAX_SCANS + 1)
    for read in (read_image, read_header):
        with pytest.raises(InputError, match=rf"b\.jpg: a JPEG with more than {MAX_SCANS} scans"):
            read(path)


def test_scans_in_thumbnails_and_comments_do_not_count(tmp_path):
    Image.fromarray(page()).save(
        tmp_path / "a.jpg", comment=b"\xff\xda" * 100, exif=b"Exif\0\0" + b"\xff\xda\xff\xd9" * 99
    )
    assert read_image(tmp_path / "a.jpg").shape == page().shape


def make_chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


@pytest.mark.parametrize("name", [b"zTXt", b"iCCP", b"iTXt"])
def test_compressed_chunks_of_a_png_are_bounded(name, tmp_path):
    bomb = zlib.compress(bytes(60_000_000), 9)
    head = {b"zTXt": b"a\0\0", b"iCCP": b"a\0\0", b"iTXt": b"a\0\1\0\0\0"}[name]
    Image.fromarray(page()).save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(content[:33] + make_chunk(name, head + bomb) + content[33:])
    start = time.monotonic()
    with pytest.raises(InputError, match="Decompressed data too large"):
        read_image(tmp_path / "a.png")
    assert time.monotonic() - start < 2


def test_gif_canvas_and_frame_are_bounded(tmp_path):
    Image.fromarray(page()).save(tmp_path / "a.gif")
    content = bytearray((tmp_path / "a.gif").read_bytes())
    content[6:10] = struct.pack("<HH", 60_000, 60_000)
    (tmp_path / "a.gif").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.gif: Image size .3600000000 pixels. exceeds limit"):
        read_image(tmp_path / "a.gif")
    content[6:10] = struct.pack("<HH", 26, 18)
    start = content.index(b"\x2c", 13 + 3 * 2 ** ((content[10] & 7) + 1))
    content[start + 5 : start + 9] = struct.pack("<HH", 60_000, 60_000)
    (tmp_path / "a.gif").write_bytes(content)
    with pytest.raises(InputError, match=r"(exceeds limit|more than the 64000000 allowed|corrupt)"):
        read_image(tmp_path / "a.gif")


@pytest.mark.parametrize("lossless", [False, True])
@pytest.mark.parametrize("animated", [False, True])
def test_webp_is_checked_before_its_decoder_allocates(lossless, animated, tmp_path, monkeypatch):
    image = Image.fromarray(page())
    options = {"save_all": True, "append_images": [Image.fromarray(255 - page())]} if animated else {}
    image.save(tmp_path / "a.webp", lossless=lossless, **options)
    monkeypatch.setattr("PIL.WebPImagePlugin._webp.WebPAnimDecoder", None)  # a call would be another error
    with pytest.raises(InputError, match="26 x 18 px is more than the 100 allowed in a WEBP"):
        read_image(tmp_path / "a.webp", max_pixels=400)


def test_jpeg_2000_has_a_quarter_of_the_pixels(tmp_path):
    Image.fromarray(page()).save(tmp_path / "a.jp2")
    with pytest.raises(InputError, match="26 x 18 px is more than the 100 allowed in a JPEG2000"):
        read_image(tmp_path / "a.jp2", max_pixels=400)
    content = (tmp_path / "a.jp2").read_bytes()
    (tmp_path / "a.jp2").write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(InputError, match=r"a\.jp2: "):
        read_image(tmp_path / "a.jp2")


def damage_fax(folder):
    Image.fromarray(np.tile(page(bilevel=True), (10, 10))).convert("1").save(folder / "a.tif", compression="group4")
    content, rng = bytearray((folder / "a.tif").read_bytes()), np.random.default_rng(1)
    content[rng.integers(8, len(content) - 200)] ^= 1 << int(rng.integers(8))
    (folder / "a.tif").write_bytes(content)
    return folder / "a.tif"


def test_damaged_fax_is_an_error_and_libraries_print_nothing(tmp_path, capfd):
    with pytest.raises(InputError, match=r"a\.tif: a corrupt image \(Fax4Decode: "):
        read_image(damage_fax(tmp_path))
    rng = np.random.default_rng(0)
    for compression in ("group3", "packbits", "tiff_adobe_deflate", "jpeg"):
        mode = "1" if compression == "group3" else "RGB" if compression == "jpeg" else "L"
        Image.fromarray(page()).convert(mode).save(tmp_path / "b.tif", compression=compression)
        content = (tmp_path / "b.tif").read_bytes()
        for _ in range(60):
            damaged = bytearray(content)
            for position in rng.integers(4, len(damaged), 4).tolist():
                damaged[position] ^= 1 << int(rng.integers(8))
            (tmp_path / "b.tif").write_bytes(damaged)
            with contextlib.suppress(InputError):
                read_image(tmp_path / "b.tif", max_pixels=10**6)
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_messages_belong_to_the_thread_that_decodes(tmp_path):
    damaged, intact = damage_fax(tmp_path), tmp_path / "ok.tif"
    Image.fromarray(page(bilevel=True)).convert("1").save(intact, compression="group4")
    results = {damaged: [], intact: []}

    def read_often(path):
        for _ in range(60):
            try:
                results[path].append(read_image(path).shape)
            except InputError:
                results[path].append(None)

    threads = [threading.Thread(target=read_often, args=(path,)) for path in results for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(results[damaged]) == {None}
    assert set(results[intact]) == {page().shape}


class FailingFile(io.BytesIO):
    """A file whose reads fail after some bytes."""

    def __init__(self, content, number, *, after):
        super().__init__(content)
        self.number, self.left = number, after

    def read(self, size=-1):
        content = super().read(size)
        self.left -= len(content)
        if self.left < 0:
            raise OSError(self.number, {5: "Input/output error"}.get(self.number, errno.errorcode[self.number]))
        return content


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.ENXIO])
@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "gif", "bmp", "webp", "jp2", "pdf"])
@pytest.mark.parametrize("after", [0, 3000])
def test_read_error_is_a_storage_error_in_any_format(number, suffix, after, tmp_path):
    levels = np.random.default_rng(0).integers(0, 256, (120, 150), dtype=np.uint8)
    Image.fromarray(levels).save(tmp_path / f"a.{suffix}")
    content = (tmp_path / f"a.{suffix}").read_bytes()
    assert len(content) > 4000
    with pytest.raises(StorageError, match=r"^a\.x: cannot be read: .*; check the disk or the network drive") as caught:
        decode_page(FailingFile(content, number, after=after), "a.x")
    assert caught.value.exit_code == 5
    assert "list" not in str(caught.value)


def test_read_error_names_the_list_line_and_is_a_finding_of_the_check(tmp_path, monkeypatch):
    Image.fromarray(page()).save(tmp_path / "a.png")

    def fail(self, function, *args):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("fastreid.data.io.source.ImageSource._call", fail)
    with pytest.raises(StorageError, match=r"^list\.txt:3: .*a\.png: cannot be read: Input/output error"):
        read_drawing(Drawing(str(tmp_path / "a.png"), "a.png", "1", source="list.txt:3"))
    file = inspect_files([str(tmp_path / "a.png")], decode=True, max_pixels=10**6)[str(tmp_path / "a.png")]
    assert file.fault.endswith(
        "cannot be read: Input/output error; check the disk or the network drive, then start again"
    )
    assert file.exit_code == StorageError.exit_code


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (
            errno.EMFILE,
            r"too many open files: this process may open \d+; raise the limit (with `ulimit -n \d+`(, the hard limit)?"
            r"|as an administrator \(the hard limit is \d+ too\)), or lower DATALOADER\.NUM_WORKERS",
        ),
        (errno.ENFILE, "too many open files on this machine; end other programs"),
        (errno.ENOMEM, "not enough memory; lower"),
    ],
)
def test_exhausted_resource_is_not_an_error_of_the_disk(number, reason, tmp_path, monkeypatch):
    def fail(path, flags):
        raise OSError(number, "reason")

    monkeypatch.setattr("fastreid.data.io.image.open_regular_file", fail)
    with pytest.raises(EnvironmentSetupError, match=rf"a\.png: cannot be read: {reason}"):
        read_image(tmp_path / "a.png")
    Image.fromarray(page()).save(tmp_path / "a.png")
    with pytest.raises(EnvironmentSetupError, match=rf"^a\.x: cannot be read: {reason}"):
        decode_page(FailingFile((tmp_path / "a.png").read_bytes(), number, after=100), "a.x")


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.ENXIO])
def test_error_of_opening_is_a_storage_error_unless_the_path_is_wrong(number, tmp_path, monkeypatch):
    def fail(path, flags):
        raise OSError(number, "reason")

    monkeypatch.setattr("fastreid.data.io.image.open_regular_file", fail)
    with pytest.raises(StorageError, match=r"a\.png: cannot be read: reason"):
        read_image(tmp_path / "a.png")
    number = errno.EACCES
    with pytest.raises(InputError, match=r"a\.png: cannot be read \(reason\); check the path and its permissions"):
        read_image(tmp_path / "a.png")
