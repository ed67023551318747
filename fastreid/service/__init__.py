"""A collection over HTTP: REST API, page, metrics. It needs the extra `serve`.

import fastreid.index
from fastreid.service import ServiceSettings, create_app

app = create_app(fastreid.index.open("patents.index"), ServiceSettings())
"""

from fastreid.service.create import create_app, serve
from fastreid.service.settings import ServiceSettings

__all__ = ["ServiceSettings", "create_app", "serve"]
