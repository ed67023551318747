"""Errors of the service as JSON: {"error": {"code", "message"}} with a status."""

import math
from typing import Any

from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from fastreid.utils.errors import EnvironmentSetupError, FastreidError, InputError, StorageError
from fastreid.utils.text import escape_unprintable

CODES = {400: "invalid_input", 404: "not_found", 405: "method_not_allowed", 413: "too_large"}
MESSAGES = {404: "there is no such route; GET /docs lists them", 405: "this route has no such method; see GET /docs"}
INTERNAL = "a fault of the server; its log has the reason"


class ServiceError(HTTPException):
    """An answer other than success.

    Args:
        status: of HTTP.
        code: for programs.
        message: for people.
        retry_after_s: seconds after which the client may try again; None: never.
    """

    def __init__(self, status: int, code: str, message: str, *, retry_after_s: float | None = None):
        headers = {} if retry_after_s is None else {"Retry-After": str(max(1, math.ceil(retry_after_s)))}
        if status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        super().__init__(status, message, headers or None)
        self.code = code


def make_response(error: Exception, *, hidden: str = "") -> JSONResponse:
    """Return the response of an error.

    Args:
        error: any error; one that is none of the service or the package becomes "internal" without its message.
        hidden: folder of the collection, of which messages show only the name.
    """
    found = convert_error(error)
    message = escape_unprintable(
        str(found.detail).replace(hidden, hidden.rpartition("/")[2]) if hidden else found.detail
    )
    content = {"error": {"code": found.code, "message": message}}
    return JSONResponse(content, status_code=found.status_code, headers=found.headers)


def convert_error(error: Exception) -> ServiceError:
    """Return the error of the service for an error of the package, of FastAPI, or a bug."""
    if isinstance(error, ServiceError):
        return error
    if isinstance(error, InputError):
        return ServiceError(400, "invalid_input", str(error))
    if isinstance(error, (StorageError, EnvironmentSetupError)):
        return ServiceError(503, "unavailable", str(error), retry_after_s=5)
    if isinstance(error, FastreidError):
        return ServiceError(500, "internal", str(error))
    if isinstance(error, RequestValidationError):
        return ServiceError(422, "invalid_request", describe_faults(error.errors()))
    if isinstance(error, HTTPException):
        status = error.status_code
        return ServiceError(status, CODES.get(status, "invalid_request"), MESSAGES.get(status, str(error.detail)))
    return ServiceError(500, "internal", INTERNAL)


def describe_faults(faults: Any) -> str:
    """Return the faults of fields that pydantic found, on one line."""
    return "; ".join(
        f"{'.'.join(map(str, fault['loc'][1:])) or 'the request'}: {fault['msg']}" for fault in list(faults)[:5]
    )
