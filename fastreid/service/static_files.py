"""The files of the page, and the list of the routes as HTML."""

import html
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
}


@dataclass(frozen=True)
class StaticFile:
    """A file of the page.

    Args:
        content: its bytes.
        media_type: of HTTP.
    """

    content: bytes
    media_type: str


def load_static_files() -> dict[str, StaticFile]:
    """Return the files of the page by name."""
    files = {}
    for entry in resources.files("fastreid.service").joinpath("static").iterdir():
        suffix = f".{entry.name.rpartition('.')[2]}"
        if entry.is_file() and suffix in MEDIA_TYPES:
            files[entry.name] = StaticFile(entry.read_bytes(), MEDIA_TYPES[suffix])
    return files


def render_routes(description: Mapping[str, Any]) -> str:
    """Return a page of HTML that lists the routes.

    Args:
        description: of OpenAPI.
    """
    rows = [
        f"<tr><td>{html.escape(method.upper())}</td><td><code>{html.escape(path)}</code></td>"
        f"<td>{html.escape(' '.join(operation.get('description', '').split()))}</td>"
        f"<td>{html.escape(_list_fields(description, operation))}</td></tr>"
        for path, operations in description["paths"].items()
        for method, operation in operations.items()
    ]
    title = html.escape(description["info"]["title"])
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title></head>\n<body>'
        f'<h1>{title}</h1>\n<p><a href="openapi.json">OpenAPI description</a>, <a href="./">search page</a></p>\n'
        "<table><thead><tr><th>method</th><th>route</th><th>answer</th><th>fields</th></tr></thead>\n<tbody>"
        + "\n".join(rows)
        + "</tbody></table></body></html>\n"
    )


def _list_fields(description: Mapping[str, Any], operation: Mapping[str, Any]) -> str:
    """Return the parameters of a route and the fields of its form, with their types."""
    fields = [(item["name"], item.get("schema", {})) for item in operation.get("parameters", [])]
    for content in operation.get("requestBody", {}).get("content", {}).values():
        name = content["schema"].get("$ref", "").rpartition("/")[2]
        fields += description["components"]["schemas"].get(name, {}).get("properties", {}).items()
    return ", ".join(f"{name} ({schema.get('type', 'text')})" for name, schema in fields)
