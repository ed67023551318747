"""Laws of the decoder and of the list reader for any bytes."""

import io

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from fastreid.data.datasets.base import read_list
from fastreid.data.io.image import read_image
from fastreid.utils.errors import InputError

PAGE = np.random.default_rng(0).integers(0, 256, (12, 16), dtype=np.uint8)
FILES = {}
_OPTIONS = {"TIFF": {"compression": "tiff_lzw"}, "WEBP": {"lossless": True}}
for _format in ("PNG", "JPEG", "TIFF", "GIF", "BMP", "WEBP", "JPEG2000", "PDF"):
    _file = io.BytesIO()
    Image.fromarray(PAGE).save(_file, format=_format, **_OPTIONS.get(_format, {}))
    FILES[_format] = _file.getvalue()

# Long runs of one level, as on a sheet, in which Pillow does not detect half of the flipped bits.
SHEET = np.full((200, 300), 255, np.uint8)
SHEET[20:30, 40:90] = 0
_file = io.BytesIO()
Image.fromarray(SHEET).save(_file, format="PNG")
SHEET_FILE = _file.getvalue()

CHANGES = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), min_size=1, max_size=4)
ONE_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def flip_bits(content, changes):
    mutated = bytearray(content)
    for position, mask in changes:
        mutated[int(position * len(mutated))] ^= mask
    return bytes(mutated)


def read_or_none(path):
    """Return the page; None if reading raises an error, which must be one line that starts with the path."""
    page, message = None, f"{path}: none"
    try:
        page = read_image(path, max_pixels=1_000_000)
    except InputError as error:
        message = str(error)
    assert message.startswith(f"{path}: ")
    assert len(message.splitlines()) == 1
    assert page is None or (page.dtype == np.uint8 and page.ndim == 2)
    return page


@pytest.mark.parametrize("kind", FILES)
@ONE_FOLDER
@given(changes=CHANGES)
def test_damaged_image_gives_a_page_or_an_error(kind, changes, tmp_path):
    (tmp_path / "a").write_bytes(flip_bits(FILES[kind], changes))
    read_or_none(tmp_path / "a")


@ONE_FOLDER
@given(changes=CHANGES)
def test_damaged_png_never_gives_another_page(changes, tmp_path):
    (tmp_path / "a").write_bytes(flip_bits(SHEET_FILE, changes))
    page = read_or_none(tmp_path / "a")
    assert page is None or np.array_equal(page, SHEET)


@pytest.mark.parametrize("kind", FILES)
@ONE_FOLDER
@given(fraction=st.floats(0, 0.9))
def test_truncated_image_raises(kind, fraction, tmp_path):
    (tmp_path / "a").write_bytes(FILES[kind][: int(fraction * len(FILES[kind]))])
    assert read_or_none(tmp_path / "a") is None


@pytest.mark.parametrize("is_code_stream", [False, True])
def test_jpeg2000_cut_off_anywhere_raises(is_code_stream, tmp_path):
    content = io.BytesIO()
    Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).save(content, "JPEG2000", no_jp2=is_code_stream)
    whole = content.getvalue()
    for length in range(1, len(whole)):
        (tmp_path / "a").write_bytes(whole[:length])
        assert read_or_none(tmp_path / "a") is None, length
    (tmp_path / "a").write_bytes(whole)
    assert read_or_none(tmp_path / "a") is not None


@ONE_FOLDER
@given(content=st.binary(max_size=300))
def test_random_bytes_are_not_an_image(content, tmp_path):
    (tmp_path / "a").write_bytes(content)
    assert read_or_none(tmp_path / "a") is None


@pytest.mark.parametrize("name", ["list.txt", "list.csv"])
@ONE_FOLDER
@given(content=st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_random_list_is_read_or_raises_a_short_error(name, content, tmp_path):
    (tmp_path / name).write_bytes(content)
    message = "none"
    try:
        assert read_list(tmp_path / name, images=tmp_path, with_ids=True) == ()
    except InputError as error:
        message = str(error)
    heading, *faults = message.splitlines()
    assert not faults or heading.endswith(f": {len(faults)} faults") or len(faults) == 21
    assert all(line.startswith("  ") for line in faults)
