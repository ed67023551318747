"""Whatever bytes a file holds, reading it gives a page or one line of refusal."""

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
for _format, _options in {"PNG": {}, "JPEG": {}, "TIFF": {"compression": "tiff_lzw"}, "GIF": {}, "BMP": {}}.items():
    _file = io.BytesIO()
    Image.fromarray(PAGE).save(_file, format=_format, **_options)
    FILES[_format] = _file.getvalue()

# Long runs of one level, as on a sheet: there Pillow alone does not see half of all flipped bits.
SHEET = np.full((200, 300), 255, np.uint8)
SHEET[20:30, 40:90] = 0
_file = io.BytesIO()
Image.fromarray(SHEET).save(_file, format="PNG")
SHEET_FILE = _file.getvalue()

CHANGES = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), min_size=1, max_size=4)
ONE_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def changed(content, changes):
    mutated = bytearray(content)
    for place, mask in changes:
        mutated[int(place * len(mutated))] ^= mask
    return bytes(mutated)


def page_or_none(path):
    """The page; None where it is refused, and the refusal is a line that names the file."""
    page, refusal = None, f"{path}: none"
    try:
        page = read_image(path, max_pixels=1_000_000)
    except InputError as error:
        refusal = str(error)
    assert refusal.startswith(f"{path}: ")
    assert len(refusal.splitlines()) == 1
    assert page is None or (page.dtype == np.uint8 and page.ndim == 2)
    return page


@pytest.mark.parametrize("kind", FILES)
@ONE_FOLDER
@given(changes=CHANGES)
def test_a_damaged_image_is_a_page_or_a_refusal(kind, changes, tmp_path):
    (tmp_path / "a").write_bytes(changed(FILES[kind], changes))
    page_or_none(tmp_path / "a")


@ONE_FOLDER
@given(changes=CHANGES)
def test_a_damaged_png_is_never_another_page(changes, tmp_path):
    (tmp_path / "a").write_bytes(changed(SHEET_FILE, changes))
    page = page_or_none(tmp_path / "a")
    assert page is None or np.array_equal(page, SHEET)


@pytest.mark.parametrize("kind", FILES)
@ONE_FOLDER
@given(share=st.floats(0, 0.9))
def test_an_image_cut_short_is_refused(kind, share, tmp_path):
    (tmp_path / "a").write_bytes(FILES[kind][: int(share * len(FILES[kind]))])
    assert page_or_none(tmp_path / "a") is None


@ONE_FOLDER
@given(content=st.binary(max_size=300))
def test_any_bytes_are_no_image(content, tmp_path):
    (tmp_path / "a").write_bytes(content)
    assert page_or_none(tmp_path / "a") is None


@pytest.mark.parametrize("name", ["list.txt", "list.csv"])
@ONE_FOLDER
@given(content=st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_any_list_is_read_or_refused_in_one_line(name, content, tmp_path):
    (tmp_path / name).write_bytes(content)
    refusal = "none"
    try:
        assert read_list(tmp_path / name, images=tmp_path, with_ids=True) == ()
    except InputError as error:
        refusal = str(error)
    assert len(refusal.splitlines()) == 1
