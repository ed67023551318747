"""HEAD requests: the status and headers of the same GET request, without its body."""

from fastreid.service.asgi import App, Message, Receive, Scope, Send


class HeadRequests:
    """Answers HEAD for each route that answers GET.

    Args:
        app: the next application.
    """

    def __init__(self, app: App):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_without_body(message: Message) -> None:
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        if scope["type"] == "http" and scope["method"] == "HEAD":
            await self.app({**scope, "method": "GET"}, receive, send_without_body)
        else:
            await self.app(scope, receive, send)
