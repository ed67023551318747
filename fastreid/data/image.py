"""Read drawings: `read_image(path)` returns the page of an image file."""

from fastreid.data.io.image import FORMATS, MAX_PIXELS, Header, read_header, read_image

__all__ = ["FORMATS", "MAX_PIXELS", "Header", "read_header", "read_image"]
