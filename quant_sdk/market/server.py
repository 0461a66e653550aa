"""`MarketServer`: the market on this machine's loopback, over HTTP.

``{url}/api/v3/...`` speaks like an exchange, ``POST {url}/scanner/{market}/scan`` like a scanner.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import threading
import time
from collections import Counter
from dataclasses import replace
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import TYPE_CHECKING, Any, Final, Self, cast
from urllib.parse import parse_qsl

import orjson

from quant_registry.errors import InvalidInput
from quant_sdk.market.exchange import PREFIX, Exchange
from quant_sdk.market.faults import Strike, Trouble
from quant_sdk.market.scanner import Scanner
from quant_sdk.market.wire import Answer, answer_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from quant_sdk.market.market import Market

SCANNER: Final = "/scanner"
_LARGEST_BODY: Final = 2**20
_PATIENCE_SECONDS: Final = 5.0


class MarketServer:
    """A market that the real clients can be pointed at by base URL; a context manager.

    It answers in threads of this process. Closed, it may be started again and keeps its port,
    its counts and its place in the faults.

    Args:
        market: what is traded.
        host: a loopback address.
        port: 0 takes any that is free.
        monotonic: seconds, for the rate limit.

    Raises:
        InvalidInput: the host is not a loopback address.
    """

    def __init__(
        self,
        market: Market,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        if not _is_loopback(host):
            raise InvalidInput(
                f"{host[:200]!r} can be reached from other machines",
                fix="serve the synthetic market on 127.0.0.1",
            )
        self.market = market
        self._address = (host, port)
        self._exchange = Exchange(market)
        self._scanner = Scanner(market)
        self._trouble = Trouble(market.faults, market.now, monotonic)
        self._counted: Counter[str] = Counter()
        self._counting = threading.Lock()
        self._listener: _Listener | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """Where the exchange answers: ``http://127.0.0.1:PORT``."""
        host, port = self._address
        return f"http://{f'[{host}]' if ':' in host else host}:{port}"

    @property
    def scanner_url(self) -> str:
        """Where the scanner answers: ``http://127.0.0.1:PORT/scanner``."""
        return f"{self.url}{SCANNER}"

    @property
    def requests(self) -> dict[str, int]:
        """Requests so far, by path."""
        with self._counting:
            return dict(self._counted)

    def start(self) -> None:
        """Listen and answer until `close`; nothing happens where it does already.

        Raises:
            OSError: the port is taken.
        """
        if self._listener is not None:
            return
        echoes = self.market.faults.echo_credentials
        listener = _Listener(self._address, self.answer, echoes=echoes)
        self._address = (self._address[0], listener.server_address[1])
        self._thread = threading.Thread(
            target=listener.serve_forever, args=(0.05,), name="market", daemon=True
        )
        self._thread.start()
        self._listener = listener

    def close(self) -> None:
        """Stop listening and end every connection, those that are being answered too."""
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def answer(self, method: str, target: str, body: bytes) -> tuple[Answer, Strike]:
        """Answer one request, counted; without a network this is all of the server."""
        path, _, query = target.partition("?")
        with self._counting:
            self._counted[path] += 1
        strike = self._trouble.strike(target + body.decode("utf-8", "replace"))
        if strike.status is not None:
            return _refusal(strike), strike
        if method == "POST" and path.startswith(f"{SCANNER}/"):
            return self._scanner.answer(path.removeprefix(SCANNER), body), strike
        if method == "GET" and path.startswith(f"{PREFIX}/"):
            return self._exchange.answer(path, dict(parse_qsl(query))), strike
        return answer_json({"error": f"no {method} of {path[:200]}"}, 404), strike


class _Listener(ThreadingHTTPServer):
    """Threads that are ended with the server, whatever the clients do."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self,
        address: tuple[str, int],
        answer: Callable[[str, str, bytes], tuple[Answer, Strike]],
        *,
        echoes: bool,
    ) -> None:
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        self.answer, self.echoes = answer, echoes
        self.closing = threading.Event()
        self._open: dict[socket.socket, threading.Thread] = {}
        self._guard = threading.Lock()
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        """Bind, and ask no resolver for the host's name as an HTTP server does by default."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = "market", self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer a connection in a thread of its own, and remember both."""
        thread = threading.Thread(
            target=self.process_request_thread, args=(request, client_address), daemon=True
        )
        with self._guard:
            self._open[request] = thread
        thread.start()

    def shutdown_request(self, request: Any) -> None:
        """Forget a connection that has ended."""
        super().shutdown_request(request)
        with self._guard:
            self._open.pop(request, None)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Let a connection that broke be: clients leave as they like."""

    def close(self) -> None:
        """Stop listening, break the connections, wait for their threads."""
        self.shutdown()
        self.server_close()
        self.closing.set()
        with self._guard:
            left = dict(self._open)
        for request in left:
            with contextlib.suppress(OSError):
                request.shutdown(socket.SHUT_RDWR)
        for thread in left.values():
            thread.join(_PATIENCE_SECONDS)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > _LARGEST_BODY:
            self.send_error(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            self.close_connection = True
            return
        self._answer(self.rfile.read(int(length)))

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _answer(self, body: bytes) -> None:
        server = cast("_Listener", self.server)
        answer, strike = server.answer(self.command, self.path, body)
        if strike.delay:
            server.closing.wait(strike.delay)
        if answer.status >= HTTPStatus.BAD_REQUEST and server.echoes:
            answer = self._echoed(answer)
        content, length = answer.body, len(answer.body)
        if strike.tear is not None:
            content = content[: len(content) // 2]
            length = length if strike.tear == "short" else len(content)
            self.close_connection = True
        lines = [
            f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}",
            f"Content-Type: {answer.kind}",
            f"Content-Length: {length}",
            *(f"{name}: {value}" for name, value in answer.headers.items()),
            *(["Connection: close"] if self.close_connection else []),
        ]
        self.wfile.write("\r\n".join([*lines, "", ""]).encode("latin-1") + content)

    def _echoed(self, answer: Answer) -> Answer:
        """Repeat the request in the body, as a careless venue does."""
        told = orjson.dumps({"target": self.path, "headers": dict(self.headers.items())})
        if answer.body.endswith(b"}"):
            return replace(answer, body=answer.body[:-1] + b',"echo":' + told + b"}")
        return replace(answer, body=answer.body + told)


def _refusal(strike: Strike) -> Answer:
    if strike.status == HTTPStatus.TOO_MANY_REQUESTS:
        refused = answer_json({"code": -1003, "msg": "Too many requests."}, strike.status)
        return replace(refused, headers={"Retry-After": str(strike.retry_after)})
    status = strike.status or HTTPStatus.SERVICE_UNAVAILABLE
    text = f"<html><body><h1>{status} {HTTPStatus(status).phrase}</h1></body></html>"
    return Answer(status=status, body=text.encode(), kind="text/html")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
