"""``quant market serve`` as a user runs it."""

from __future__ import annotations

import json
import signal
from urllib.parse import urlsplit

import httpx
import pytest
from _quant import PATIENCE_SECONDS

AT = "2026-02-03T10:00:07Z"


@pytest.fixture
def serve(quant):
    """Start serving; end what is left at the end of the test."""
    started = []

    def start(*args: str):
        started.append(quant.start("market", "serve", *args))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_says_where_it_serves_and_ends_quietly_on_a_signal(serve, number):
    process = serve("--seed", "7", "--at", AT, "--synthetic", "5", "--json")
    told = json.loads(process.stdout.readline())
    assert (told["seed"], told["scanner_url"]) == (7, f"{told['url']}/scanner")
    with httpx.Client() as client:
        listed = client.get(f"{told['url']}/api/v3/exchangeInfo").json()["symbols"]
        assert "S0004USDT" in {each["symbol"] for each in listed}
        assert told["symbols"] > len(listed)
        assert client.get(f"{told['url']}/api/v3/time").json() == {"serverTime": 1770112807000}
        scan = client.post(f"{told['scanner_url']}/forex/scan", json={}).json()
        assert scan["totalCount"] == 9
    process.send_signal(number)
    out, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert (process.returncode, out, err) == (0, "", "")


def test_as_text_it_prints_its_address_alone(serve):
    url = serve().stdout.readline().strip()
    assert httpx.get(f"{url}/api/v3/ping").json() == {}


def test_faults_come_from_a_file(serve, quant):
    (quant.root / "faults.json").write_text('{"error_rate": 1.0}')
    url = serve("--faults", "faults.json").stdout.readline().strip()
    assert httpx.get(f"{url}/api/v3/time").status_code >= 500


@pytest.mark.parametrize(
    "args", [("--at", "noon"), ("--at", "2026-02-03T10:00:00"), ("--faults", "nowhere.json")]
)
def test_what_cannot_be_meant_is_refused(quant, args):
    error = quant.json("market", "serve", *args, exits=2)["error"]
    assert error["code"] == "invalid_input"
    assert error["fix"]


def test_a_port_that_is_taken_is_named(serve, quant):
    port = urlsplit(serve().stdout.readline().strip()).port
    error = quant.json("market", "serve", "--port", str(port), exits=2)["error"]
    assert f"port {port}" in error["message"]
    assert "--port 0" in error["fix"]
