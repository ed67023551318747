"""The entry points of the service, which import the packages of the extra `serve` when they are called."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from fastreid.service.settings import ServiceSettings, check_packages

if TYPE_CHECKING:
    from fastapi import FastAPI

    from fastreid.index import Collection


def create_app(
    collection: "Collection", settings: ServiceSettings, *, log: Callable[[str], object] | None = None
) -> "FastAPI":
    """Return the ASGI application that serves a collection, for a server of your choice.

    Args:
        collection: the collection; its model is loaded when the application starts.
        settings: access and limits.
        log: called with each line of the access log; None: no log.

    Raises:
        EnvironmentSetupError: a package of the extra `serve` is not installed.
    """
    check_packages()
    from fastreid.service.app import build_app

    return build_app(collection, settings, log=log, on_failure=lambda: None)


def serve(collection: "Collection", settings: ServiceSettings, *, has_access_log: bool = True) -> None:
    """Serve a collection until SIGTERM or Ctrl-C; running requests are answered first.

    Args:
        collection: the collection.
        settings: address, access and limits.
        has_access_log: print a line of JSON per request.

    Raises:
        InputError: the certificate cannot be used.
        EnvironmentSetupError: a package of the extra `serve` is not installed, or the address cannot be used.
        WeightsError: the model cannot be loaded.
    """
    check_packages()
    from fastreid.service.server import run_server

    run_server(collection, settings, has_access_log=has_access_log)
