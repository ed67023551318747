"""Errors of the service as JSON: {"error": {"code", "message"}} with a status."""

import itertools
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from fastreid.utils.errors import EnvironmentSetupError, FastreidError, InputError, StorageError, suggest_and_list
from fastreid.utils.text import escape_unprintable

CODES = {400: "invalid_input", 404: "not_found", 405: "method_not_allowed", 413: "too_large"}
MESSAGES = {404: "there is no such route; GET /docs lists them", 405: "this route has no such method; see GET /docs"}
INTERNAL = "a fault of the server; its log has the reason"
MAX_FIELDS_SHOWN, MAX_SHOWN_CHARACTERS = 5, 80
# Kinds of faults of pydantic -> what is allowed instead of the value.
_ALLOWED = {
    ("int_parsing", "int_parsing_size", "int_from_float", "int_type"): "is not allowed; give an integer",
    ("float_parsing", "float_type", "finite_number"): "is not allowed; give a finite number",
    ("bool_parsing", "bool_type"): "is not allowed; give true or false",
    ("string_type",): "is not allowed; give a text",
    ("value_error",): "is not allowed; give a file",  # of `UploadFile`
    ("greater_than_equal",): "is too small; allowed is at least {ge}",
    ("less_than_equal",): "is too large; allowed is at most {le}",
    ("string_too_long",): "is too long; allowed are {max_length:,} characters",
    ("too_long",): "is too long; allowed are {max_length:,} values",
    ("literal_error",): "is unknown; allowed is {expected}",
}


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


def make_response(error: Exception, *, hidden: Iterable[str] = (), fields: Iterable[str] = ()) -> JSONResponse:
    """Return the response of an error.

    Args:
        error: any error; one that is none of the service or the package becomes "internal" without its message.
        hidden: paths of the server, of which messages show only the last part.
        fields: that the request may have.
    """
    found = convert_error(error, fields=fields)
    message = escape_unprintable(hide_folders(str(found.detail), hidden))
    content = {"error": {"code": found.code, "message": message}}
    return JSONResponse(content, status_code=found.status_code, headers=found.headers)


def hide_folders(text: str, paths: Iterable[str]) -> str:
    """Return a text that shows only the last part of some paths of the server."""
    for path in sorted({path.rstrip("/") for path in paths}, key=len, reverse=True):  # the innermost ones first
        if name := os.path.basename(path):
            text = text.replace(path, name)
    return text


def convert_error(error: Exception, *, fields: Iterable[str] = ()) -> ServiceError:
    """Return the error of the service for an error of the package, of FastAPI, or a bug; `fields`: of the request."""
    if isinstance(error, ServiceError):
        return error
    if isinstance(error, InputError):
        return ServiceError(400, "invalid_input", str(error))
    if isinstance(error, (StorageError, EnvironmentSetupError)):
        return ServiceError(503, "unavailable", str(error), retry_after_s=5)
    if isinstance(error, FastreidError):
        return ServiceError(500, "internal", str(error))
    if isinstance(error, RequestValidationError):
        return ServiceError(422, "invalid_request", describe_faults(error.errors(), fields=fields))
    if isinstance(error, HTTPException):
        status = error.status_code
        return ServiceError(status, CODES.get(status, "invalid_request"), MESSAGES.get(status, str(error.detail)))
    return ServiceError(500, "internal", INTERNAL)


def describe_faults(faults: Iterable[Mapping[str, Any]], *, fields: Iterable[str] = ()) -> str:
    """Return the faults of fields that pydantic found, on one line: the field, its value, and what is allowed.

    Args:
        faults: as pydantic returns them.
        fields: that the request may have.
    """
    fields = list(fields)
    return "; ".join(_describe_fault(fault, fields) for fault in itertools.islice(faults, MAX_FIELDS_SHOWN))


def _describe_fault(fault: Mapping[str, Any], fields: Sequence[str]) -> str:
    place = [str(part) for part in fault["loc"][1:]]
    field = place[0] if place else "the request"
    kind, limits, value = str(fault["type"]), fault.get("ctx") or {}, fault.get("input")
    if kind == "extra_forbidden":
        hint = suggest_and_list(field, fields) if fields else ""
        return f"the field {field[:MAX_SHOWN_CHARACTERS]!r} is unknown.{hint}"
    if kind == "missing":
        return f"{field}: is missing; give a value"
    name = f"{field}: {_describe_value(value)}"
    for kinds, template in _ALLOWED.items():
        if kind in kinds:
            return f"{name} {template.format(**limits)}"
    return f"{name} is invalid ({fault['msg']})"


def _describe_value(value: Any) -> str:
    """Return a value as a message shows it: short, and files and long texts by their kind."""
    if isinstance(value, str):
        length = f"a text of {len(value):,} characters"
        return repr(value) if len(value) <= MAX_SHOWN_CHARACTERS else length
    if isinstance(value, (list, tuple)):
        return f"a list of {len(value)} values"
    return repr(value) if isinstance(value, (int, float, bool)) or value is None else "a file"
