"""Stdio and streamable HTTP: how the protocol reaches the server."""

from __future__ import annotations

import hmac
import socket
import sys
from contextlib import AsyncExitStack, redirect_stdout
from typing import TYPE_CHECKING, Any

import anyio

from quant_cli.mcp.hosts import is_loopback
from quant_sdk.errors import Conflict, InvalidInput

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    from mcp.server import Server

    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    App = Callable[[Message, Receive, Send], Awaitable[None]]

PATH = "/mcp"
_GRACE_SECONDS = 2
_HERE = ("127.0.0.1", "localhost", "[::1]")


def serve_stdio(server: Server[Any]) -> None:
    """Serve one client on stdin and stdout, until stdin ends.

    While it is served, the descriptor of stdout leads to stderr: nothing that a stage, a plugin or
    a library prints can come between the protocol's lines.
    """

    async def serve() -> None:
        from mcp.server.stdio import stdio_server

        async with AsyncExitStack() as stack:
            with redirect_stdout(sys.__stdout__ or sys.stdout):
                read, write = await stack.enter_async_context(stdio_server())
            await server.run(read, write, server.create_initialization_options())

    anyio.run(serve)


def serve_http(
    server: Server[Any],
    host: str,
    port: int,
    *,
    token: str | None,
    announce: Callable[[str], None],
) -> None:
    """Serve clients over HTTP until a signal ends it.

    Args:
        server: the server.
        host: the address to bind.
        port: 0 for any that is free.
        token: what clients must send as ``Authorization: Bearer``; None to ask for nothing.
        announce: told the URL as soon as clients can connect.

    Raises:
        Conflict: the port is taken.
        InvalidInput: the address is none of this machine's.
    """
    import uvicorn

    shown = f"[{host}]" if ":" in host else host
    app: App = server.streamable_http_app(
        streamable_http_path=PATH, host=host, transport_security=_security(host, shown)
    )
    if token is not None:
        app = Bearer(app, token)
    config = uvicorn.Config(
        app,
        lifespan="on",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    with _bound(host, port) as listening:
        announce(f"http://{shown}:{listening.getsockname()[1]}{PATH}")
        uvicorn.Server(config).run(sockets=[listening])


class Bearer:
    """Lets in only requests that carry the token; compares in constant time, and logs nothing.

    Args:
        app: what is guarded.
        token: the token.
    """

    def __init__(self, app: App, token: str) -> None:
        self._app = app
        self._wanted = f"Bearer {token}".encode()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 401."""
        if scope["type"] == "http" and not self._may_enter(scope["headers"]):
            await _refuse(send)
            return
        await self._app(scope, receive, send)

    def _may_enter(self, headers: list[tuple[bytes, bytes]]) -> bool:
        given = b"".join(value for name, value in headers if name == b"authorization")
        return hmac.compare_digest(given, self._wanted)


async def _refuse(send: Send) -> None:
    body = b'{"error":"a token is needed: send Authorization: Bearer"}'
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"www-authenticate", b"Bearer"),
    ]
    await send({"type": "http.response.start", "status": 401, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _security(host: str, shown: str) -> Any:
    """Refuse foreign names and origins on loopback, so that no web page reaches the server."""
    from mcp.server.transport_security import TransportSecuritySettings

    if not is_loopback(host):
        return None
    names = {*_HERE, shown}
    return TransportSecuritySettings(
        allowed_hosts=[f"{name}:*" for name in names],
        allowed_origins=[f"http://{name}:*" for name in names],
    )


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except socket.gaierror as error:
        raise InvalidInput(
            f"{host[:200]!r} is no address of this machine", fix="use --host 127.0.0.1"
        ) from error
    except OSError as error:
        raise Conflict(
            f"{host}:{port} cannot be bound: {error.strerror}",
            fix="choose another --port; 0 takes any that is free",
        ) from error
