from __future__ import annotations

import json
import random
import threading
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import cycle

import polars as pl
import pytest

from quant_sdk.errors import InvalidInput, SourceError, SourceRefused, VenueBusy
from quant_sdk.market.faults import Faults, Storm
from quant_sdk.market.listing import standard_listing
from quant_sdk.market.market import Market
from quant_sdk.market.server import MarketServer
from quant_sdk.sources.calls import Caller
from quant_sdk.sources.limits import VenueLimit
from quant_sdk.sources.scanner.client import DEADLINE, ScannerClient
from quant_sdk.sources.scanner.filters import Filter
from quant_sdk.sources.scanner.opening import open_scanner
from quant_sdk.sources.scanner.query import ScanRequest
from quant_sdk.testing import FakeClock

NOW = datetime(2026, 2, 3, 10, tzinfo=UTC)
SECRET = "sessionid=9f31c2planted"
ALL = ScanRequest(market="crypto", columns=("close", "type", "RSI|60"))


class Scripted:
    """A server that answers as it is told: ``(status, body, headers)``, or what a function says."""

    def __init__(self):
        self.replies = []
        self.bodies, self.heads, self.paths = [], [], []
        scripted = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                scripted.bodies.append(body)
                scripted.heads.append(dict(self.headers))
                scripted.paths.append(self.path)
                reply = next(scripted.replies)
                status, content, headers = reply(body) if callable(reply) else reply
                content = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response_only(status)
                for name, value in {"Content-Length": len(content), **headers}.items():
                    self.send_header(name, str(value))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/base/"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def say(self, *replies):
        self.replies = cycle(replies)

    def close(self):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def scripted():
    server = Scripted()
    yield server
    server.close()


@pytest.fixture
def asked(scripted):
    """Return a client of the scripted server, after it was told what to say."""
    clients = []

    def client(*replies, **options):
        scripted.say(*replies)
        clients.append(ScannerClient(scripted.url, **options))
        return clients[-1]

    yield client
    for opened in clients:
        opened.close()


@pytest.fixture
def market():
    servers = []

    def serve(**parts):
        servers.append(MarketServer(Market(seed=7, now=lambda: NOW, **parts)))
        servers[-1].start()
        return servers[-1]

    yield serve
    for server in servers:
        server.close()


def listed(total, width=3, prefix="BINANCE:S"):
    """Answer from a list of `total` symbols, as the range says."""

    def reply(body):
        first, last = body["range"]
        rows = range(min(first, total), min(last, total))
        data = [{"s": f"{prefix}{n:05d}", "d": [n, "spot", None][:width]} for n in rows]
        return 200, {"totalCount": total, "data": data}, {}

    return reply


def page(*rows, total=None):
    return 200, {"totalCount": len(rows) if total is None else total, "data": list(rows)}, {}


def row(symbol, *values):
    return {"s": symbol, "d": list(values)}


def test_a_request_is_put_into_the_scanners_words(asked, scripted):
    request = ScanRequest(
        market="forex",
        columns=("close", "RSI|60"),
        filters=(
            Filter(left="ADX", operation="greater", right=20),
            Filter(left="name", operation="in_range", right=("EURUSD", "GBPUSD")),
            Filter(left="ATR", operation="nempty"),
        ),
        sort_by="ADX",
        sort_order="desc",
        limit=9,
    )
    found = asked(page(row("FXCM:EURUSD", 1.1, 55, 21.5))).scan(request)
    assert scripted.paths == ["/base/forex/scan"]
    assert scripted.bodies == [
        {
            "markets": ["forex"],
            "symbols": {},
            "options": {"lang": "en"},
            "columns": ["close", "RSI|60", "ADX"],
            "filter": [
                {"left": "ADX", "operation": "greater", "right": 20},
                {"left": "name", "operation": "in_range", "right": ["EURUSD", "GBPUSD"]},
                {"left": "ATR", "operation": "nempty"},
            ],
            "sort": {"sortBy": "ADX", "sortOrder": "desc"},
            "range": [0, 9],
        }
    ]
    assert found.rows() == [("FXCM:EURUSD", 1.1, 55.0)]
    assert found.columns == ["symbol", "close", "RSI|60"]


def test_pages_follow_until_all_is_read(asked, scripted):
    found = asked(listed(1_203)).collect(
        ScanRequest(market="crypto", columns=("a", "b", "c"), sort_by="a")
    )
    assert [body["range"] for body in scripted.bodies] == [[0, 500], [500, 1000], [1000, 1500]]
    assert found.rows["a"].to_list() == list(range(1_203))
    assert (found.total, found.requests, found.moved) == (1_203, 3, False)


def test_pages_stop_at_the_limit(asked, scripted):
    request = ScanRequest(market="crypto", columns=("a", "b", "c"), sort_by="a", limit=620)
    assert asked(listed(9_000)).scan(request).height == 620
    assert [body["range"] for body in scripted.bodies] == [[0, 500], [500, 620]]


def test_a_short_page_is_continued_where_it_ended(asked, scripted):
    asked(
        page(row("X:A", 1), row("X:B", 2), total=3),
        page(row("X:C", 3), total=3),
    )
    with ScannerClient(scripted.url) as client:
        found = client.scan(ScanRequest(market="crypto", columns=("name",)))
    assert found["symbol"].to_list() == ["X:A", "X:B", "X:C"]
    assert [body["range"][0] for body in scripted.bodies] == [0, 2]


def test_an_answer_that_makes_no_progress_is_an_error(asked):
    client = asked(page(row("X:A", 1), total=9), page(total=9))
    with pytest.raises(SourceError, match="stopped after 1 of 9 symbols"):
        client.scan(ScanRequest(market="crypto", columns=("name",)))


def test_a_list_that_moves_while_it_is_read_is_told(asked):
    client = asked(
        page(row("X:A", 1), row("X:B", 1), total=3), page(row("X:B", 1), row("X:C", 1), total=4)
    )
    found = client.collect(ScanRequest(market="crypto", columns=("name",)))
    assert found.rows["symbol"].to_list() == ["X:A", "X:B", "X:C"]
    assert found.moved


def test_a_list_that_moves_at_the_same_length_is_told(asked):
    client = asked(
        page(row("X:A", 1), row("X:B", 1), total=4), page(row("X:B", 1), row("X:D", 1), total=4)
    )
    found = client.collect(ScanRequest(market="crypto", columns=("name",)))
    assert found.rows["symbol"].to_list() == ["X:A", "X:B", "X:D"]
    assert (found.total, found.moved) == (4, True)


def test_many_wanted_symbols_go_in_groups_and_come_in_one_order(asked, scripted):
    def reply(body):
        rows = [row(symbol, -int(symbol[3:])) for symbol in body["symbols"]["tickers"]]
        return page(*rows)

    wanted = tuple(f"X:S{n:04d}" for n in range(1_100))
    request = ScanRequest(
        market="crypto", columns=("name",), symbols=wanted, sort_by="name", limit=2
    )
    assert asked(reply).scan(request)["symbol"].to_list() == ["X:S1099", "X:S1098"]
    assert [len(body["symbols"]["tickers"]) for body in scripted.bodies] == [500, 500, 100]


def test_values_keep_their_kind_and_null_is_never_zero(asked):
    client = asked(
        page(
            row("X:A", 1, None, True, "spot", None, ["a"], None),
            row("X:B", 2.5, None, None, None, None, None, "x"),
        )
    )
    columns = ("int", "empty", "flag", "text", "description", "list", "name")
    found = client.scan(ScanRequest(market="crypto", columns=columns))
    assert found.schema == {
        "symbol": pl.String,
        "int": pl.Float64,
        "empty": pl.Float64,
        "flag": pl.Boolean,
        "text": pl.String,
        "description": pl.String,
        "list": pl.String,
        "name": pl.String,
    }
    assert found.rows() == [
        ("X:A", 1.0, None, True, "spot", None, '["a"]', None),
        ("X:B", 2.5, None, None, None, None, None, "x"),
    ]


def test_an_empty_answer_is_an_empty_frame_with_its_columns(asked):
    found = asked(page()).scan(ALL)
    assert (found.height, found.columns) == (0, ["symbol", "close", "type", "RSI|60"])


def test_symbols_that_cannot_be_stored_are_left_out_and_named(asked):
    client = asked(page(row("X:A", 1), row("../etc:x", 1), row("MEXC:\u725bUSDT", 1)))
    found = client.collect(ScanRequest(market="crypto", columns=("name",)))
    assert found.rows["symbol"].to_list() == ["X:A"]
    assert found.refused == ("../etc:x", "MEXC:\u725bUSDT")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b'{"totalCount": 1, "data": [{"s": "X:',
        b"<html>maintenance</html>",
        b"[]",
        b'{"totalCount": "1", "data": []}',
        b'{"totalCount": 0, "error": "no", "data": null}',
        b'{"totalCount": 1, "data": [["X:A", 1]]}',
        b'{"totalCount": 1, "data": [{"s": "X:A", "d": [1]}]}',
        b'{"totalCount": 1, "data": [{"s": 7, "d": [1, 2, 3, 4]}]}',
    ],
)
def test_an_answer_of_another_form_is_an_error_that_may_pass(asked, content):
    with pytest.raises(SourceError) as caught:
        asked((200, content, {})).scan(ALL)
    assert caught.value.retryable
    assert "maintenance" not in caught.value.message


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (500, SourceError),
        (503, SourceError),
        (408, SourceError),
        (400, SourceRefused),
        (401, SourceRefused),
        (404, SourceRefused),
        (302, SourceRefused),
    ],
)
def test_a_status_tells_whether_another_try_makes_sense(asked, status, kind):
    with pytest.raises(SourceError, match=f"answered {status} for crypto") as caught:
        asked((status, {}, {"Location": "http://127.0.0.1:9/"})).scan(ALL)
    assert type(caught.value) is kind
    assert caught.value.retryable is (kind is SourceError)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "0"}, 0.0),
        ({"Retry-After": "1.5"}, 1.5),
        ({"Retry-After": "99999999"}, 86_400.0),
        ({"Retry-After": format_datetime(NOW + timedelta(seconds=90), usegmt=True)}, 90.0),
        ({"Retry-After": format_datetime(NOW - timedelta(hours=1), usegmt=True)}, 0.0),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "9" * 400}, None),
        ({}, None),
    ],
)
def test_a_busy_scanner_says_how_long_to_wait(asked, header, seconds):
    client = asked((429, {}, header), clock=FakeClock(NOW))
    with pytest.raises(VenueBusy) as caught:
        client.scan(ALL)
    waited = caught.value.retry_after
    assert waited == (seconds if seconds is None else pytest.approx(seconds, abs=0.01))


@pytest.mark.parametrize("status", [408, 502, 503])
def test_a_scanner_that_is_away_says_how_long_to_wait(asked, status):
    with pytest.raises(SourceError) as caught:
        asked((status, {}, {"Retry-After": "12"})).scan(ALL)
    assert type(caught.value) is SourceError
    assert caught.value.retry_after == 12.0


def test_a_refusal_names_our_own_words_and_nothing_of_the_servers(asked):
    text = {"error": 'Unknown field "RSI|60", you sent "secret-of-others"'}
    with pytest.raises(SourceRefused) as caught:
        asked((400, text, {})).scan(ALL)
    assert caught.value.message == "tradingview answered 400 for crypto, about RSI|60"


def test_the_cookie_is_sent_and_stays_out_of_every_error(asked, scripted):
    def echo(status, **headers):
        return lambda _: (status, {"headers": scripted.heads[-1]}, headers)

    replies = (echo(400), echo(401), echo(429), echo(502), echo(200), (200, b"{", {}))
    client = asked(*replies, cookie=SECRET)
    for _ in replies:
        with pytest.raises(SourceError) as caught:
            client.scan(ALL)
        told = f"{caught.value!r} {caught.value.fix} {caught.value.facts} {caught.value.__cause__}"
        assert "planted" not in told
    assert {head["Cookie"] for head in scripted.heads} == {SECRET}
    assert "planted" not in repr(client)


@pytest.mark.parametrize("cookie", ["planted\r\nX: y", "planted\u00e9", "planted\n"])
def test_a_cookie_that_is_no_header_is_refused_without_being_shown(cookie):
    with pytest.raises(InvalidInput) as caught:
        ScannerClient("http://127.0.0.1:1", cookie=cookie)
    assert "planted" not in f"{caught.value!r} {caught.value.fix}"


def test_nobody_at_the_address_is_an_error_that_may_pass(scripted):
    scripted.close()
    with (
        ScannerClient(scripted.url) as client,
        pytest.raises(SourceError, match="did not answer for crypto: ConnectError") as caught,
    ):
        client.scan(ALL)
    assert caught.value.retryable


def test_an_answer_without_an_end_is_given_up(asked):
    clock = FakeClock(NOW)

    def slow(_):
        clock.advance(DEADLINE + 1)
        return page(row("X:A", 1, 2, 3, 4))

    with pytest.raises(SourceError, match="ReadError"):
        asked(slow, clock=clock).scan(ALL)


def test_a_cut_connection_is_an_error_that_may_pass(asked):
    with pytest.raises(SourceError, match="RemoteProtocolError"):
        asked((200, b"{}", {"Content-Length": 1_000})).scan(ALL)


def test_a_proxy_of_the_environment_is_not_asked_for_the_loopback(asked, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert asked(page(row("X:A", 1, "spot", 2, "A"))).scan(ALL).height == 1


@pytest.mark.parametrize("columns", [(), ("close", "close"), ("symbol",)])
def test_a_scan_without_columns_or_with_one_twice_is_refused(columns):
    with pytest.raises(InvalidInput):
        ScanRequest(market="crypto", columns=columns)


class Sources:
    def __init__(self, url, *, embedded):
        self.scanner_base_url, self.embedded = url, embedded
        self.scanner_id = "embedded:scanner" if embedded else "tradingview"

    def scanner_caller(self):
        return lambda call: call()


@pytest.mark.parametrize(
    ("secret", "embedded", "sent"),
    [
        ("9f31", False, "sessionid=9f31"),
        ("sessionid=9f31; sessionid_sign=v3", False, "sessionid=9f31; sessionid_sign=v3"),
        ("9f31", True, None),
    ],
)
def test_the_session_goes_to_the_real_scanner_only(asked, scripted, secret, embedded, sent):
    asked(page(row("X:A", 1, "spot", 2, "A")))
    sources = Sources(scripted.url, embedded=embedded)
    with open_scanner(sources, environ={"QUANT_TRADINGVIEW_SECRET": secret}) as client:
        client.scan(ALL)
    assert scripted.heads[0].get("Cookie") == sent


def test_a_run_obeys_its_controls_before_every_page(asked, scripted):
    asked(listed(1_100))
    obeyed = []
    sources = Sources(scripted.url, embedded=True)
    with open_scanner(sources, safe_point=lambda: obeyed.append(len(scripted.bodies))) as client:
        client.scan(ScanRequest(market="crypto", columns=("a", "b", "c"), sort_by="a"))
    assert obeyed == [0, 1, 2]


def test_the_synthetic_market_is_scanned_whole_in_its_order(market):
    server = market(listing=standard_listing(synthetic=1_300, known=False))
    request = ScanRequest(
        market="crypto", columns=("name", "Value.Traded"), sort_by="Value.Traded", sort_order="desc"
    )
    with ScannerClient(server.scanner_url) as client:
        found = client.collect(request)
    assert found.rows.height == 1_300
    assert found.requests == 3
    assert found.rows["Value.Traded"].is_sorted(descending=True)


def test_wanted_symbols_of_the_synthetic_market_come_alone(market):
    wanted = ("BINANCE:ETHUSDT", "BINANCE:BTCUSDT", "BINANCE:NOSUCH")
    with ScannerClient(market().scanner_url) as client:
        found = client.scan(ScanRequest(market="crypto", columns=("close", "ADX"), symbols=wanted))
    assert sorted(found["symbol"]) == ["BINANCE:BTCUSDT", "BINANCE:ETHUSDT"]
    assert found["close"].min() > 0


def test_a_faulty_market_gives_in_the_end_what_a_sound_one_gives(market, tmp_path):
    listing = standard_listing(synthetic=900)
    faults = Faults(
        seed=3, error_rate=0.2, torn_rate=0.2, storm=Storm(every=3, length=2, retry_after=1)
    )
    sound, faulty = market(listing=listing), market(listing=listing, faults=faults)
    request = ScanRequest(market="crypto", columns=("close", "RSI|60"), sort_by="name")
    clock = FakeClock(NOW)
    limit = VenueLimit(tmp_path, "scanner", lambda: 1_000.0, clock)

    def rest(seconds):
        clock.advance(seconds)
        return True

    caller = Caller(limit, rest, uniform=random.Random(1).uniform)
    with (
        ScannerClient(sound.scanner_url) as steady,
        ScannerClient(faulty.scanner_url, caller=caller) as patient,
    ):
        for _ in range(5):
            assert patient.scan(request).equals(steady.scan(request))
    assert sum(faulty.requests.values()) > sum(sound.requests.values())
