"""Uploaded pictures of a request: their limits, names, pages and crops."""

import hashlib
import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import BinaryIO, TypeVar

from fastapi import UploadFile
from torch import Tensor

from fastreid.data.io.image import Array
from fastreid.data.io.source import PDF_HEADER_BYTES
from fastreid.index.crop import Crop, parse_crop
from fastreid.index.embedder import Embedder
from fastreid.service.errors import ServiceError
from fastreid.service.settings import ServiceSettings
from fastreid.utils.errors import InputError
from fastreid.utils.text import escape_unprintable, format_count

MAX_NAME_CHARACTERS = 80
MAX_PAGE = 1_000_000
_BLOCK_BYTES = 1 << 20
_T = TypeVar("_T")


@dataclass(frozen=True)
class Picture:
    """A picture of a query.

    Args:
        file: the upload.
        name: of the file, for messages only: it opens no file.
        page: of a TIFF or PDF, from 1.
        crop: text of the part to use; "": all of it.
    """

    file: BinaryIO
    name: str
    page: int = 1
    crop: str = ""

    @property
    def is_pdf(self) -> bool:
        """Whether the file may be a PDF, which can take long to render."""
        self.file.seek(0)
        return b"%PDF-" in self.file.read(PDF_HEADER_BYTES)

    def compute_key(self) -> Hashable:
        """Return what the decoded picture depends on: the digest of the file, its page and its crop."""
        self.file.seek(0)
        digest = hashlib.sha256()
        while block := self.file.read(_BLOCK_BYTES):
            digest.update(block)
        return digest.digest(), self.page, self.crop

    def decode(self, embedder: Embedder) -> Array:
        """Return the pixels of the picture or its part, uint8 (h, w), or (h, w, 3) if the network gets colors.

        Raises:
            InputError: it cannot be decoded, or its crop is invalid.
        """
        return embedder.decode_picture(self.file, self.name, page=self.page - 1, crop=self._parse_crop())

    def prepare(self, embedder: Embedder) -> tuple[Tensor, Tensor]:
        """Decode the picture for the network.

        Raises:
            InputError: it cannot be decoded, or its crop is invalid.
        """
        return embedder.prepare_picture(self.file, self.name, page=self.page - 1, crop=self._parse_crop())

    def _parse_crop(self) -> Crop | None:
        return parse_crop(self.crop) if self.crop else None


def clean_name(name: str | None, position: int) -> str:
    """Return the name of an upload for messages: the part after the last slash, without control characters.

    Args:
        name: sent by the client.
        position: of the picture, from 1, for a picture without a name.
    """
    last = re.split(r"[/\\]", name or "")[-1]
    return escape_unprintable(last).replace("#", "_")[-MAX_NAME_CHARACTERS:] or f"picture {position}"


def list_pictures(
    files: Sequence[UploadFile], *, crops: Sequence[str], pages: Sequence[int], settings: ServiceSettings
) -> list[Picture]:
    """Return the pictures of a form.

    Args:
        files: the uploads.
        crops: texts, "" for a whole picture; none, one for all pictures, or one for each.
        pages: from 1; none, one for all pictures, or one for each.
        settings: the limits.

    Raises:
        ServiceError: a picture is too large.
        InputError: a crop or page is invalid, or their number is.
    """
    check_uploads(files, settings)
    for crop in filter(None, crops):
        parse_crop(crop)
    for page in pages:
        if not 1 <= page <= MAX_PAGE:
            raise InputError(f"page is {page}; pages count from 1")
    rows = zip(
        files,
        _spread(crops, len(files), "crop", default=""),
        _spread(pages, len(files), "page", default=1),
        strict=True,
    )
    return [
        Picture(file.file, clean_name(file.filename, position), page, crop)
        for position, (file, crop, page) in enumerate(rows, 1)
    ]


def check_uploads(files: Sequence[UploadFile], settings: ServiceSettings) -> None:
    """Check the number and sizes of uploads.

    Raises:
        ServiceError: there are too many, or one is too large.
    """
    if len(files) > settings.max_pictures:
        message = f"{format_count(len(files), 'picture')}; at most {settings.max_pictures} are one query"
        raise ServiceError(413, "too_large", message)
    for position, file in enumerate(files, 1):
        if (file.size or 0) > settings.max_picture_bytes:
            name = clean_name(file.filename, position)
            message = f"{name}: {file.size:,} bytes is more than the {settings.max_picture_bytes:,} allowed"
            raise ServiceError(413, "too_large", f"{message}; reduce the picture")


def _spread(values: Sequence[_T], num: int, field: str, *, default: _T) -> list[_T]:
    """Return a value for each picture."""
    if not values:
        return [default] * num
    if num and len(values) == 1:
        return [values[0]] * num
    if len(values) != num:
        message = f"{format_count(len(values), 'value')} of {field} for {format_count(num, 'picture')}"
        raise InputError(f"{message}; give one for all, or one for each")
    return list(values)
