"""What several routes share: the service of a request, checks of forms, and drawings as JSON."""

from typing import Annotated, Any
from urllib.parse import quote

from fastapi import Depends, Request
from python_multipart.multipart import parse_options_header

from fastreid.index.columns import SYSTEM_COLUMNS, Row
from fastreid.service.errors import ServiceError
from fastreid.service.schemas import ErrorBody
from fastreid.service.service import Service

PREFIX = "/api/v1"
ERRORS: dict[int | str, dict[str, Any]] = {"4XX": {"model": ErrorBody}, "5XX": {"model": ErrorBody}}
_FORM_TYPES = (b"multipart/form-data", b"application/x-www-form-urlencoded")


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


def describe_drawing(row: Row) -> dict[str, Any]:
    """Return a row of the collection as a drawing of the API."""
    metadata = {
        name: value if isinstance(value, (int, float)) else str(value)
        for name, value in row.items()
        if value is not None and name != "patent" and name not in SYSTEM_COLUMNS
    }
    fields = {"id": row["id"], "patent": row.get("patent"), "path": row.get("path") or "", "page": row.get("page") or 1}
    return {**fields, "metadata": metadata, **make_links(str(row["id"]))}


def make_links(name: str) -> dict[str, str]:
    """Return the addresses of the images of a drawing, relative to that of the server."""
    base = f"{PREFIX[1:]}/drawings/{quote(name, safe='')}"
    return {"thumbnail": f"{base}/thumbnail", "image": f"{base}/image"}
