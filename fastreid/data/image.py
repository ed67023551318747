"""Keep `fastreid.data.image.read_image` importable as in version 0.1.0; the decoder is `fastreid.data.io.image`."""

from fastreid.data.io.image import FORMATS, MAX_PIXELS, Header, read_header, read_image

__all__ = ["FORMATS", "MAX_PIXELS", "Header", "read_header", "read_image"]
