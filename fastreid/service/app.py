"""The application: routes, middleware and the handling of errors."""

import contextlib
import socket
from collections.abc import AsyncIterator, Callable

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from fastreid import __version__
from fastreid.index import Collection
from fastreid.service.access_log import AccessLog
from fastreid.service.auth import HostCheck, TokenCheck
from fastreid.service.errors import make_response
from fastreid.service.head import HeadRequests
from fastreid.service.headers import SecurityHeaders
from fastreid.service.limits import RateLimit, RequestLimits
from fastreid.service.metrics import Metrics
from fastreid.service.requests import list_fields
from fastreid.service.routes_changes import router as changes_router
from fastreid.service.routes_collection import router as collection_router
from fastreid.service.routes_compare import router as compare_router
from fastreid.service.routes_drawings import router as drawings_router
from fastreid.service.routes_search import router as search_router
from fastreid.service.routes_status import build_page_router
from fastreid.service.routes_status import router as status_router
from fastreid.service.service import Service
from fastreid.service.settings import LOOPBACK_NAMES, ServiceSettings
from fastreid.utils.errors import FastreidError


def build_app(
    collection: Collection,
    settings: ServiceSettings,
    *,
    log: Callable[[str], object] | None,
    on_failure: Callable[[], None],
) -> FastAPI:
    """Return the application that serves a collection; its state has the `Service`.

    Args:
        collection: the collection; its model is loaded when the application starts.
        settings: access and limits.
        log: called with each line of the access log; None: no log.
        on_failure: called if the model cannot be loaded.
    """
    metrics = Metrics()
    service = Service(collection, settings, metrics)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with service.run(on_failure):
            yield

    app = FastAPI(
        title="fastreid", version=__version__, docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan
    )
    app.state.service = service
    routers = (search_router, compare_router, drawings_router, collection_router, changes_router, status_router)
    for router in (*routers, build_page_router()):
        app.include_router(router)

    async def answer(request: Request, error: Exception) -> JSONResponse:
        return make_response(error, hidden=service.hidden_paths, fields=list_fields(request))

    for kind in (FastreidError, HTTPException, RequestValidationError):
        app.add_exception_handler(kind, answer)
    names = {*LOOPBACK_NAMES, settings.host, socket.gethostname(), *settings.allowed_hosts}
    # The last one is the first to see a request.
    app.add_middleware(HeadRequests)
    app.add_middleware(
        RequestLimits,
        max_concurrent=settings.max_concurrent,
        max_bytes=settings.max_request_bytes,
        request_s=settings.request_s,
    )
    app.add_middleware(TokenCheck, token=settings.token)
    app.add_middleware(RateLimit, requests_per_minute=settings.requests_per_minute)
    app.add_middleware(HostCheck, names=names)
    app.add_middleware(SecurityHeaders)
    app.add_middleware(AccessLog, metrics=metrics, write=log)
    return app
