"""Image decoding, page cache and page readers."""

from fastreid.data.io.cache import FillReport, PageCache
from fastreid.data.io.image import Header, read_drawing, read_header, read_image
from fastreid.data.io.reader import DrawingReader, ReadPage, RenderPage

__all__ = [
    "DrawingReader",
    "FillReport",
    "Header",
    "PageCache",
    "ReadPage",
    "RenderPage",
    "read_drawing",
    "read_header",
    "read_image",
]
