from __future__ import annotations

import asyncio
import http.client
import socket
import subprocess
import sys
import threading
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from quant_sdk.errors import NetworkForbidden
from quant_sdk.offline import no_network


@pytest.fixture
def listening():
    """A socket that listens on loopback; its address."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()


def test_a_connection_fails_and_the_address_is_named(listening):
    with no_network() as guard, pytest.raises(NetworkForbidden) as caught:
        socket.create_connection(listening)
    name = f"127.0.0.1:{listening[1]}"
    assert caught.value.address == name
    assert name in caught.value.message
    assert guard.attempts == 1
    assert guard.addresses == (name,)


def test_the_network_is_back_after_the_block(listening):
    with no_network() as guard, suppress(NetworkForbidden):
        socket.create_connection(listening)
    socket.create_connection(listening).close()
    assert guard.attempts == 1


def test_the_network_is_back_after_a_block_that_failed(listening):
    with pytest.raises(ValueError, match="boom"), no_network():
        raise ValueError("boom")
    socket.create_connection(listening).close()


def _udp(address):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"x", address)


def _message(address):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendmsg([b"x"], [], 0, address)


def _connect_ex(address):
    with socket.socket() as sock:
        sock.connect_ex(address)


def _connect_six(address):
    with socket.socket(socket.AF_INET6) as sock:
        sock.connect(("::1", address[1]))


def _bind(address):
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))


def _asyncio(address):
    async def connect():
        await asyncio.open_connection(*address)

    asyncio.run(connect())


def _http(address):
    connection = http.client.HTTPConnection(*address)
    try:
        connection.request("GET", "/")
    finally:
        connection.close()


WAYS = {
    "udp": _udp,
    "sendmsg": _message,
    "connect_ex": _connect_ex,
    "ipv6": _connect_six,
    "bind": _bind,
    "asyncio": _asyncio,
    "http": _http,
    "urllib": lambda address: urllib.request.urlopen(f"http://127.0.0.1:{address[1]}"),
    "getaddrinfo": lambda _: socket.getaddrinfo("example.invalid", 443),
    "gethostbyname": lambda _: socket.gethostbyname("example.invalid"),
    "gethostbyname_ex": lambda _: socket.gethostbyname_ex("example.invalid"),
    "gethostbyaddr": lambda _: socket.gethostbyaddr("127.0.0.1"),
    "getnameinfo": lambda _: socket.getnameinfo(("127.0.0.1", 80), 0),
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_out_is_refused(listening, way):
    with no_network() as guard, pytest.raises(NetworkForbidden):
        WAYS[way](listening)
    assert guard.attempts >= 1
    assert all(guard.addresses)


def test_httpx_is_refused_too(listening):
    import httpx

    with no_network() as guard, pytest.raises(NetworkForbidden):
        httpx.get(f"http://127.0.0.1:{listening[1]}", trust_env=False)
    assert guard.addresses[0] == f"127.0.0.1:{listening[1]}"


def test_sockets_of_the_file_system_work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # their paths are short
    with no_network() as guard, socket.socket(socket.AF_UNIX) as server:
        server.bind("here")
        server.listen()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect("here")
            server.accept()[0].close()
        one, other = socket.socketpair()
        one.sendall(b"x")
        assert other.recv(1) == b"x"
        one.close()
        other.close()
    assert guard.attempts == 0


def test_guards_nest_and_the_network_is_back_after_the_outer_one(listening):
    with no_network() as outer:
        with no_network() as inner, suppress(NetworkForbidden):
            socket.create_connection(listening)
        with pytest.raises(NetworkForbidden):
            socket.create_connection(listening)
    socket.create_connection(listening).close()
    assert (outer.attempts, inner.attempts) == (2, 1)


def test_threads_enter_and_leave_as_they_like(listening):
    together = threading.Barrier(8)

    def guarded(_):
        together.wait(30)
        for _ in range(50):
            with no_network(), suppress(NetworkForbidden):
                socket.create_connection(listening)
                raise AssertionError("it was let through")

    with no_network() as guard, ThreadPoolExecutor(8) as pool:
        list(pool.map(guarded, range(8)))
    assert guard.attempts == 400
    assert len(guard.addresses) == 20
    socket.create_connection(listening).close()


def test_an_attempt_that_is_swallowed_is_counted_nevertheless(listening):
    with no_network() as guard:
        with suppress(Exception):
            socket.create_connection(listening)
        with suppress(Exception):
            socket.gethostbyname("example.invalid")
    assert guard.addresses == (f"127.0.0.1:{listening[1]}", "example.invalid")


def test_the_hook_is_installed_only_once_and_only_when_used():
    code = (
        "import sys\n"
        "hooks = []\n"
        "sys.addaudithook(lambda event, _: event == 'sys.addaudithook' and hooks.append(1))\n"
        "from quant_sdk.offline import no_network\n"
        "assert not hooks\n"
        "for _ in range(3):\n"
        "    with no_network():\n"
        "        pass\n"
        "assert len(hooks) == 1, hooks\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
