"""Pages of PDF files, rendered by PDFium (package pypdfium2, an optional extra)."""

import contextlib
import math
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from fastreid.data.io.levels import Array
from fastreid.data.io.limits import MAX_RENDERED_PIXELS, check_size
from fastreid.data.io.source import ImageSource
from fastreid.utils.errors import EnvironmentSetupError, InputError

DPI = 200  # of a rendered page
MAX_RENDER_S = 30.0
POINTS_PER_INCH = 72

_SCAN_AREA = 0.5  # a single image that covers at least this ratio of the page is a scan
_LOCK = threading.Lock()  # PDFium supports one thread at a time


def count_pdf_pages(source: ImageSource) -> int:
    """Return the number of pages of a PDF.

    Raises:
        InputError: the file is encrypted or corrupt.
        EnvironmentSetupError: pypdfium2 is not installed.
    """
    with _open_document(source) as document:
        return len(document)


def measure_pdf_page(source: ImageSource, page: int, *, max_pixels: int) -> tuple[int, int]:
    """Return width and height of a rendered page; errors as for `render_pdf_page`."""
    with _open_page(source, page) as opened:
        size, _ = _find_size(opened, max_pixels=max_pixels)
        return size


def render_pdf_page(source: ImageSource, page: int, *, color: bool, max_pixels: int) -> Array:
    """Return a page of a PDF, uint8 (H, W), or (H, W, 3) RGB with `color`.

    A page that consists of one scanned image has the resolution of the image, any other page DPI; one with more than
    `max_pixels` or MAX_RENDERED_PIXELS is rendered smaller.

    Args:
        source: the file.
        page: counted from 0.
        color: return RGB.
        max_pixels: of the page, and of each image in it.

    Raises:
        InputError: the file is encrypted or corrupt, has no such page, contains a larger image, or takes more than
            MAX_RENDER_S.
        EnvironmentSetupError: pypdfium2 is not installed.
    """
    with _open_page(source, page) as opened:
        size, images = _find_size(opened, max_pixels=max_pixels)
        for width, height in images:
            check_size(width, height, max_pixels=max_pixels)
        pixels = _render(opened, size, color=color)
    return np.ascontiguousarray(pixels[:, :, ::-1]) if color else pixels.reshape(pixels.shape[:2]).copy()


def get_pdf_version() -> str:
    """Return the version of pypdfium2, which determines rendered pixels; "" if it is not installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("pypdfium2")
    except PackageNotFoundError:
        return ""


class _Reader:
    """The part of a file object that PDFium needs; it must not raise, and the source remembers its errors."""

    def __init__(self, source: ImageSource):
        self._source = source
        self.seek, self.tell, self.read = source.seek, source.tell, source.read

    def readinto(self, buffer: Any) -> int:
        try:
            return self._source.readinto(memoryview(buffer).cast("B"))
        except OSError:
            return 0


@contextlib.contextmanager
def _open_document(source: ImageSource) -> Iterator[Any]:
    pdfium = _import_pdfium()
    with _LOCK:
        source.seek(0)
        try:
            document = pdfium.PdfDocument(_Reader(source))
        except pdfium.PdfiumError as error:
            text = str(error)
            if "password" in text or "security" in text:
                raise InputError("an encrypted PDF; save it without a password")
            raise InputError(f"a corrupt PDF ({text}); replace the file")
        with contextlib.closing(document):
            yield document


@contextlib.contextmanager
def _open_page(source: ImageSource, page: int) -> Iterator[Any]:
    with _open_document(source) as document:
        if page >= len(document):
            raise InputError(f"has no page {page + 1}; it has {len(document)}")
        try:
            opened = document[page]
        except _import_pdfium().PdfiumError as error:
            raise InputError(f"a corrupt PDF (page {page + 1}: {error}); replace the file")
        with contextlib.closing(opened):
            yield opened


def _find_size(page: Any, *, max_pixels: int) -> tuple[tuple[int, int], list[tuple[int, int]]]:
    """Return width and height of a page in pixels, and those of its images."""
    raw = _import_pdfium().raw
    width, height = page.get_width(), page.get_height()
    if not (0 < width < math.inf and 0 < height < math.inf):
        raise InputError(f"a corrupt PDF (a page of {width:g} x {height:g} points); replace the file")
    objects = list(page.get_objects())
    images = [item for item in objects if item.type == raw.FPDF_PAGEOBJ_IMAGE]
    sizes = [item.get_px_size() for item in images]
    others = {item.type for item in objects} - {raw.FPDF_PAGEOBJ_IMAGE, raw.FPDF_PAGEOBJ_TEXT, raw.FPDF_PAGEOBJ_FORM}
    scale = DPI / POINTS_PER_INCH
    if len(images) == 1 and not others:  # text may be recognized text behind a scan
        matrix = images[0].get_matrix()
        wide, high = math.hypot(matrix.a, matrix.b), math.hypot(matrix.c, matrix.d)
        if wide * high >= _SCAN_AREA * width * height:
            scale = max(sizes[0][0] / wide, sizes[0][1] / high)
    limit = min(max_pixels, MAX_RENDERED_PIXELS)
    scale = min(scale, (limit / (width * height)) ** 0.5)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    if size[0] * size[1] > limit:  # rounding
        size = max(1, int(width * scale)), max(1, int(height * scale))
        check_size(*size, max_pixels=limit)
    return size, sizes


def _render(page: Any, size: tuple[int, int], *, color: bool) -> Array:
    """Return a page on white, uint8 (H, W, 1), or (H, W, 3) BGR with `color`."""
    pdfium = _import_pdfium()
    raw = pdfium.raw
    deadline = time.monotonic() + MAX_RENDER_S
    pause = raw.IFSDK_PAUSE(version=1)
    pause.NeedToPauseNow = type(pause.NeedToPauseNow)(lambda _: int(time.monotonic() > deadline))
    flags = raw.FPDF_ANNOT | (0 if color else raw.FPDF_GRAYSCALE)
    bitmap = pdfium.PdfBitmap.new_native(*size, raw.FPDFBitmap_BGR if color else raw.FPDFBitmap_Gray)
    with contextlib.closing(bitmap):
        bitmap.fill_rect((255, 255, 255, 255), 0, 0, *size)
        try:
            status = raw.FPDF_RenderPageBitmap_Start(bitmap, page, 0, 0, *size, 0, flags, pause)
        finally:
            raw.FPDF_RenderPage_Close(page)
        if status == raw.FPDF_RENDER_TOBECONTINUED:
            raise InputError(f"a PDF page that takes more than {MAX_RENDER_S:.0f} s to render; simplify the page")
        if status != raw.FPDF_RENDER_DONE:
            raise InputError("a corrupt PDF (its page cannot be rendered); replace the file")
        pixels: Array = bitmap.to_numpy().copy()
        return pixels


def _import_pdfium() -> Any:
    try:
        import pypdfium2
        import pypdfium2.raw
    except ModuleNotFoundError:
        raise EnvironmentSetupError("a PDF, which needs the package pypdfium2: pip install pypdfium2")
    return pypdfium2
