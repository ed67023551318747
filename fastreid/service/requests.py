"""What several routes share: the service of a request, checks of forms, and drawings as JSON."""

import hashlib
import os
from collections.abc import Iterable
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import Depends, Request
from fastapi.responses import Response
from python_multipart.multipart import parse_options_header

from fastreid.index import Collection, Hit
from fastreid.index.columns import SYSTEM_COLUMNS, Row
from fastreid.index.filter_syntax import parse_filter
from fastreid.index.filters import list_columns
from fastreid.index.manifest import Source
from fastreid.index.sources import LIST_SUFFIXES
from fastreid.service.errors import ServiceError
from fastreid.service.schemas import ErrorBody
from fastreid.service.service import Service
from fastreid.utils.errors import InputError

PREFIX = "/api/v1"
ERRORS: dict[int | str, dict[str, Any]] = {"4XX": {"model": ErrorBody}, "5XX": {"model": ErrorBody}}
PATH_COLUMNS = frozenset({"path", "source"})  # whose values are paths of the server
CACHED = {"Cache-Control": "private, max-age=3600"}
_FORM_TYPES = (b"multipart/form-data", b"application/x-www-form-urlencoded")


def list_fields(request: Request) -> list[str]:
    """Return the fields that the form or the query of a request may have."""
    dependant = getattr(request.scope.get("route"), "dependant", None)
    params = [*dependant.body_params, *dependant.query_params] if dependant else []
    models = [param.field_info.annotation for param in params]
    return [name for model in models for name in getattr(model, "model_fields", {})]


def get_service(request: Request) -> Service:
    """Return the service of the application."""
    service: Service = request.app.state.service
    return service


CurrentService = Annotated[Service, Depends(get_service)]


def check_form(request: Request) -> None:
    """Check that the body of a request is a form.

    Raises:
        ServiceError: it has another type.
    """
    kind, _ = parse_options_header(request.headers.get("content-type", ""))
    if kind not in _FORM_TYPES:
        message = f"the body must be {_FORM_TYPES[0].decode()} or {_FORM_TYPES[1].decode()}"
        raise ServiceError(415, "unsupported_type", message)


CheckedForm = Depends(check_form)


def check_columns(collection: Collection, *, where: str = "", within: tuple[str, str] | None = None) -> None:
    """Check that a request does not compare columns with paths of the server, of which it could find out the folders.

    Args:
        collection: the collection.
        where: filter; "": none.
        within: column and text; None: none.

    Raises:
        InputError: the filter is invalid, or it or `within` uses such a column.
    """
    used = list_columns(parse_filter(where, collection.columns())) if where else set[str]()
    hidden = sorted((used | {within[0] if within else ""}) & PATH_COLUMNS)
    if hidden:
        raise InputError(
            f"the column {hidden[0]} has paths of the server, which requests cannot compare; use id, patent or another "
            "column of the metadata"
        )


def describe_hit(hit: Hit, sources: Iterable[Source]) -> dict[str, Any]:
    """Return a result of a search as a drawing of the API, with its score."""
    path = shorten_path(hit.path, [source.path for source in sources])
    return {**hit.to_json(), "path": path, **make_links(hit.id)}


def shorten_path(path: str, sources: Iterable[str]) -> str:
    """Return the path of a file from the folder that contains its source, or its name if it is below none.

    The folders of the server above a source are not shown to clients.

    Args:
        path: absolute path of the file.
        sources: paths of the sources: folders, files and lists.
    """
    for source in sorted(sources, key=len, reverse=True):  # the innermost one
        folder = os.path.dirname(source)
        if path == source or path.startswith(os.path.join(source, "")):
            return os.path.relpath(path, folder)
    for source in sources:  # a list, with the images below its folder
        if path.startswith(os.path.join(os.path.dirname(source), "")) and source.endswith(LIST_SUFFIXES):
            return os.path.relpath(path, os.path.dirname(source))
    return os.path.basename(path)


def describe_drawing(row: Row, sources: Iterable[Source]) -> dict[str, Any]:
    """Return a row of the collection as a drawing of the API."""
    metadata = {
        name: value if isinstance(value, (int, float)) else str(value)
        for name, value in row.items()
        if value is not None and name != "patent" and name not in SYSTEM_COLUMNS
    }
    path = shorten_path(str(row.get("path") or ""), [source.path for source in sources])
    fields = {"id": row["id"], "patent": row.get("patent"), "path": path, "page": row.get("page") or 1}
    return {**fields, "metadata": metadata, **make_links(str(row["id"]))}


def answer_file(request: Request, content: bytes, media_type: str, *, etag: str = "") -> Response:
    """Return a file, or the status 304 if the client has it.

    Args:
        request: may have the header If-None-Match.
        content: the file.
        media_type: of the file.
        etag: identifies the content; "": a digest of it.
    """
    etag = etag or make_etag(hashlib.sha256(content).hexdigest())
    headers = {**CACHED, "ETag": etag}
    if is_known(request, etag):
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=media_type, headers=headers)


def make_etag(*parts: object) -> str:
    """Return the tag of a content that depends on these parts."""
    return f'"{hashlib.sha256(repr(parts).encode()).hexdigest()[:32]}"'


def is_known(request: Request, etag: str) -> bool:
    """Return whether the header If-None-Match has a tag."""
    known = [tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")]
    return etag in known or known == ["*"]


def make_links(name: str) -> dict[str, str]:
    """Return the addresses of the images of a drawing, relative to that of the server."""
    base = f"{PREFIX[1:]}/drawings/{quote(name, safe='')}"
    return {"thumbnail": f"{base}/thumbnail", "image": f"{base}/image"}
