"""Probes, metrics, the description of the routes, and the files of the page."""

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response

from fastreid.service.metrics import CONTENT_TYPE
from fastreid.service.requests import CurrentService, is_known, make_etag
from fastreid.service.schemas import StatusResponse
from fastreid.service.static_files import StaticFile, load_static_files, render_routes

router = APIRouter(tags=["status"])


@router.get("/healthz", response_model=StatusResponse)
async def get_health() -> dict[str, str]:
    """Return success as long as the process runs."""
    return {"status": "ok"}


@router.get("/readyz", response_model=StatusResponse)
async def get_readiness(service: CurrentService) -> dict[str, str]:
    """Return success if searches are possible."""
    service.check_ready()
    return {"status": "ready"}


@router.get("/metrics", response_class=Response)
async def get_metrics(service: CurrentService) -> Response:
    """Return the metrics in the format of Prometheus."""
    return Response(service.metrics.render(), headers={"Content-Type": CONTENT_TYPE})


@router.get("/docs", response_class=HTMLResponse)
async def get_docs(request: Request) -> HTMLResponse:
    """Return a page that lists the routes; it needs no other server."""
    description: dict[str, Any] = request.app.openapi()
    return HTMLResponse(render_routes(description))


@router.get("/openapi.json", response_class=JSONResponse, include_in_schema=False)
async def get_openapi(request: Request) -> JSONResponse:
    """Return the routes in the format of OpenAPI."""
    return JSONResponse(request.app.openapi())


def build_page_router() -> APIRouter:
    """Return a route for each file of the page; no text of a client becomes a path."""
    pages = APIRouter(include_in_schema=False)
    for name, file in load_static_files().items():
        for path in (f"/{name}", "/") if name == "index.html" else (f"/{name}",):
            pages.add_api_route(path, _make_endpoint(file))
    return pages


def _make_endpoint(file: StaticFile) -> Callable[[Request], Awaitable[Response]]:
    etag = make_etag(file.content)

    async def get_file(request: Request) -> Response:
        headers = {"Cache-Control": "no-cache", "ETag": etag}
        if is_known(request, etag):
            return Response(status_code=304, headers=headers)
        return Response(file.content, media_type=file.media_type, headers=headers)

    return get_file
