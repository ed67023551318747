"""GET /api/v1/drawings/{id}, its thumbnail and its page."""

import io
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from PIL import Image

from fastreid.data.image import read_image
from fastreid.index import Collection
from fastreid.index.columns import Row
from fastreid.service.comparison import read_file_state
from fastreid.service.errors import ServiceError
from fastreid.service.requests import (
    CACHED,
    ERRORS,
    PREFIX,
    CurrentService,
    answer_file,
    describe_drawing,
    is_known,
    make_etag,
)
from fastreid.service.schemas import Drawing, ImageQuery, NoQuery
from fastreid.utils.errors import InputError
from fastreid.utils.page_address import join_page_address

router = APIRouter(prefix=PREFIX, tags=["drawings"], responses=ERRORS)
_PNG_START = b"\x89PNG"


def find_row(collection: Collection, name: str) -> Row:
    """Return the metadata of a drawing.

    Raises:
        ServiceError: there is no drawing with this id.
    """
    try:
        return collection.get([name])[0]
    except InputError:
        raise ServiceError(404, "not_found", f"there is no drawing with the id {name!r}; a search returns ids")


def read_thumbnail(collection: Collection, name: str) -> bytes:
    """Return the thumbnail of a drawing.

    Raises:
        ServiceError: there is no such drawing, or it has none.
    """
    content = collection.thumbnail(name)
    if content is None:
        find_row(collection, name)
        raise ServiceError(404, "not_found", f"the drawing {name!r} has no thumbnail; see `fastreid index compact`")
    return content


def render_png(row: Row, longest_px: int) -> bytes:
    """Return the page of a drawing as PNG, gray if it has no color.

    Raises:
        ServiceError: its file cannot be read.
    """
    path, page = str(row.get("path") or ""), int(str(row.get("page") or 1))
    try:
        address = path if page == 1 else join_page_address(path, page - 1)
        pixels = read_image(address, color=True, longest_px=longest_px)
    except InputError:
        message = f"the file of the drawing {row['id']!r} cannot be read; its thumbnail remains"
        raise ServiceError(404, "not_found", message)
    is_gray = bool(np.array_equal(pixels[..., 0], pixels[..., 1]) and np.array_equal(pixels[..., 0], pixels[..., 2]))
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels[..., 0]) if is_gray else pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()


# An id may contain slashes, so the routes with something behind the id come first.
@router.get("/drawings/{name:path}/thumbnail", response_class=Response)
async def get_thumbnail(
    name: str, request: Request, service: CurrentService, _: Annotated[NoQuery, Query()]
) -> Response:
    """Return a small image of a drawing, PNG or JPEG."""
    content = await service.read(read_thumbnail, service.collection, name)
    kind = "image/png" if content.startswith(_PNG_START) else "image/jpeg"
    return answer_file(request, content, kind)


@router.get("/drawings/{name:path}/image", response_class=Response)
async def get_image(
    name: str, request: Request, service: CurrentService, query: Annotated[ImageQuery, Query()]
) -> Response:
    """Return the page of a drawing as PNG."""
    row = await service.read(find_row, service.collection, name)
    state = await service.read(read_file_state, row)
    etag = make_etag(name, query.longest_px, state)
    if state and is_known(request, etag):
        return Response(status_code=304, headers={**CACHED, "ETag": etag})
    content = await service.read(render_png, row, query.longest_px)
    return answer_file(request, content, "image/png", etag=etag if state else "")


@router.get("/drawings/{name:path}", response_model=Drawing)
async def get_drawing(name: str, service: CurrentService, _: Annotated[NoQuery, Query()]) -> dict[str, Any]:
    """Return the metadata of a drawing."""
    return describe_drawing(await service.read(find_row, service.collection, name), service.sources)
