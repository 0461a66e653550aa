from __future__ import annotations

import logging
import pickle
import sys
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import ccxt
import orjson
import polars as pl
import pytest

from quant_registry.errors import (
    InvalidInput,
    MissingExtra,
    SourceError,
    SourceRefused,
    UnknownName,
    UnknownSymbol,
    VenueBusy,
)
from quant_sdk.market.faults import Correction, Delisting, Faults, Storm
from quant_sdk.market.market import Market
from quant_sdk.market.server import MarketServer
from quant_sdk.sources._exchange_client import Client
from quant_sdk.sources.calls import Caller
from quant_sdk.sources.credentials import Credentials
from quant_sdk.sources.exchanges import CcxtBars
from quant_sdk.sources.fetch import fetch_bars
from quant_sdk.sources.http_answers import retry_after
from quant_sdk.sources.limits import VenueLimit
from quant_sdk.sources.markets import MarketIndex
from quant_sdk.sources.protocol import BarQuery
from quant_sdk.testing import FakeClock

NOW = datetime(2026, 2, 3, 10, 30, tzinfo=UTC)
BTC = "BINANCE:BTCUSDT"
PLANTED = "planted-secret-4711"


def us(*date):
    return int(datetime(*date, tzinfo=UTC).timestamp()) * 1_000_000


NOW_US = us(2026, 2, 3, 10, 30)
START, END = us(2026, 1, 1), us(2026, 1, 11)


def query(symbol=BTC, timeframe="1h", start=START, end=END):
    return BarQuery(symbol=symbol, timeframe=timeframe, start=start, end=end)


@pytest.fixture
def serve():
    """Start a market with faults; give its server and a source that is pointed at it."""
    opened = []

    def start(faults=None, **options):
        server = MarketServer(Market(seed=3, now=lambda: NOW, faults=faults))
        server.start()
        source = CcxtBars(base_url=server.url, **options)
        opened.extend([server, source])
        return server, source

    yield start
    for each in reversed(opened):
        each.close()


class Raw:
    """A venue that lists BTC/USDT and answers a request for bars with what a test says."""

    def __init__(self) -> None:
        self.status, self.headers, self.body = 200, {}, b"[]"
        self.seen: list[str] = []
        self.told: list[str] = []
        raw = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                raw.seen.append(self.path)
                raw.told.append(f"{self.path} {self.headers}")
                status, headers, body = raw.status, raw.headers, raw.body
                if "exchangeInfo" in self.path:
                    status, headers, body = 200, {}, _LISTED
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


_LISTED = b"""{"symbols": [{"symbol": "BTCUSDT", "status": "TRADING", "baseAsset": "BTC",
"quoteAsset": "USDT", "isSpotTradingAllowed": true, "filters": [], "permissions": ["SPOT"]}]}"""


@pytest.fixture
def raw():
    venue = Raw()
    yield venue
    venue.close()


@pytest.fixture
def source(raw):
    with CcxtBars(base_url=raw.url, timeout=5.0) as bars:
        yield bars


def ask(source, **options):
    return source.transform_data(source.extract(source.transform_query(query(**options))))


def patient(tmp_path, rate=float("inf")):
    clock = FakeClock(NOW)
    limit = VenueLimit(tmp_path / "limits", "BINANCE", lambda: rate, clock)
    return Caller(limit, lambda seconds: clock.advance(seconds) or True)


def truth(server, symbol=BTC, timeframe="1h", start=START, end=END):
    return server.market.bars(symbol, timeframe, start, end).drop("volume")


def fetch(source, caller, **options):
    return fetch_bars(source, query(**options), now_us=NOW_US, caller=caller)


def test_bars_come_as_the_market_has_them(serve):
    server, source = serve()
    bars = ask(source)
    assert bars.drop("volume").equals(truth(server))
    assert bars.schema == {
        "ts": pl.Datetime("us", "UTC"),
        **dict.fromkeys(("open", "high", "low", "close", "volume"), pl.Float64()),
    }


@pytest.mark.parametrize("timeframe", ["1m", "1h", "1d", "1w", "1M"])
def test_pages_join_to_the_whole_history(serve, tmp_path, timeframe):
    server, source = serve()
    span = {"timeframe": timeframe, "start": us(2025, 12, 27), "end": us(2026, 2, 3)}
    if timeframe in {"1d", "1w", "1M"}:
        span["start"] = us(2018, 1, 1)
    fetched = fetch(source, patient(tmp_path), **span)
    assert fetched.holes == ()
    length = timeframe.replace("M", "mo")
    closed = truth(server, **span).filter(pl.col("ts").dt.offset_by(length) <= NOW)
    assert fetched.bars.drop("volume").equals(closed)


def test_rows_are_read_as_ccxt_reads_them(serve):
    server, source = serve()
    plain = ccxt.binance({"enableRateLimit": False, "has": {"fetchCurrencies": False}})
    plain.options["fetchMarkets"]["types"] = ["spot"]
    plain.urls["api"]["public"] = f"{server.url}/api/v3"
    request = source.transform_query(query())
    rows = plain.fetch_ohlcv("BTC/USDT", "1h", request["since"], request["limit"])
    assert len(rows) == 240
    assert source.extract(request) == rows
    plain.close()


@pytest.mark.parametrize("value", ["", None])
def test_a_row_that_lacks_a_number_has_a_null_there(raw, source, value):
    row = [us(2026, 1, 1) // 1000, "1", value, "0.5", "1.5", value]
    raw.body = orjson.dumps([row])
    bars = ask(source)
    assert bars["high"].to_list() == bars["volume"].to_list() == [None]
    assert bars["close"].to_list() == [1.5]


def test_the_first_page_is_asked_for_in_ccxts_words(serve):
    _, source = serve()
    request = source.transform_query(query())
    assert request == {
        "name": BTC,
        "symbol": "BTC/USDT",
        "timeframe": "1h",
        "since": us(2026, 1, 1) // 1000,
        "limit": 240,
    }
    wide = source.transform_query(query(timeframe="1m"))
    assert wide["limit"] == source.capabilities.page_size == 1000


def test_capabilities_are_those_that_ccxt_declares(serve):
    _, source = serve()
    found = source.capabilities
    assert found.since_inclusive
    assert found.lookback == 2
    assert found.max_requests_per_second == pytest.approx(20.0)
    assert {"1m", "1h", "1d", "1w", "1M"} <= set(found.timeframes)
    assert (source.id, source.venue) == ("ccxt:binance", "BINANCE")


def test_a_request_that_costs_more_lowers_the_rate(raw):
    client = Client("binance", "BINANCE", base_url=raw.url, credentials=Credentials(), timeout=1.0)
    client.api.throttle(2.5)
    assert client.cost == 2.5
    client.close()


def test_an_unknown_symbol_is_answered_with_the_nearest(serve):
    _, source = serve()
    with pytest.raises(UnknownSymbol) as caught:
        source.transform_query(query(symbol="BINANCE:BTCUSD"))
    assert BTC in caught.value.fix


def test_a_timeframe_that_the_venue_lacks_is_refused(serve):
    _, source = serve()
    with pytest.raises(InvalidInput, match="no bars of 7m"):
        source.transform_query(query(timeframe="7m"))


def test_the_list_of_markets_is_loaded_once_for_all_threads(serve):
    server, source = serve()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: ask(source), range(40)))
    assert all(answer.equals(answers[0]) for answer in answers)
    assert server.requests == {"/api/v3/exchangeInfo": 1, "/api/v3/klines": 40}


def test_only_spot_markets_are_asked_for(serve):
    server, source = serve()
    source.load()
    assert list(server.requests) == ["/api/v3/exchangeInfo"]
    assert {each.kind for each in source.markets()} == {"spot"}


def test_facts_of_the_markets_are_those_of_the_venue(serve):
    server, source = serve()
    found = {each.symbol: each for each in source.markets()}
    listed = server.market.listing.get(BTC)
    btc = found[BTC]
    assert (btc.base, btc.quote, btc.active) == ("BTC", "USDT", True)
    assert btc.tick_size == listed.tick
    assert btc.min_notional == listed.min_notional
    assert btc.maker_fee == btc.taker_fee == 0.001
    assert list(found) == sorted(found)


def test_a_delisted_symbol_is_unknown_from_then_on(serve, tmp_path):
    _, source = serve(Faults(delistings={BTC: Delisting(after_requests=2)}))
    fetched = fetch(source, patient(tmp_path), timeframe="1m")
    assert fetched.bars.height == 2000
    (hole,) = fetched.holes
    assert hole.cause == "unknown_symbol"
    assert hole.start == us(2026, 1, 1) + 2000 * 60_000_000
    assert hole.end == us(2026, 1, 11)


def test_a_storm_of_refusals_is_waited_out(serve, tmp_path):
    _, source = serve(Faults(storm=Storm(every=5, length=3, retry_after=2)))
    fetched = fetch(source, patient(tmp_path), timeframe="1m")
    assert fetched.holes == ()
    assert fetched.bars.height == 14_400
    assert fetched.requests > 15


def test_retry_after_is_told(serve):
    _, source = serve(Faults(down=None, storm=Storm(every=2, length=1, retry_after=17)))
    source.load()
    request = source.transform_query(query())
    with pytest.raises(VenueBusy) as caught:
        [source.extract(request) for _ in range(3)]
    assert caught.value.retry_after == 17.0


@pytest.mark.parametrize(
    "faults",
    [
        Faults(seed=1, error_rate=0.3, paths=("/api/v3/klines",)),
        Faults(seed=1, torn_rate=0.3, paths=("/api/v3/klines",)),
        Faults(seed=2, error_rate=0.1, torn_rate=0.1, storm=Storm(every=7, length=2)),
    ],
)
def test_a_faulty_venue_gives_the_same_bars_in_the_end(serve, tmp_path, faults):
    server, source = serve(faults)
    caller = patient(tmp_path)
    caller(source.load)
    fetched = fetch(source, caller, timeframe="1m")
    assert fetched.holes == ()
    assert fetched.requests > 15
    assert fetched.bars.drop("volume").equals(truth(server, timeframe="1m"))


def test_an_outage_is_a_hole_of_whole_pages_with_its_cause(serve, tmp_path):
    day = 86_400_000_000
    start = us(2026, 1, 1)
    outage = (start + 3 * day, start + 4 * day)
    _, source = serve(Faults(outages=(outage,)))
    fetched = fetch(source, patient(tmp_path), timeframe="1m")
    (hole,) = fetched.holes
    assert hole.cause == "fetch_failed"
    assert hole.detail == "source_error: BINANCE failed: OperationFailed (HTTP 503)"
    assert hole.start <= outage[0] < outage[1] <= hole.end
    assert fetched.bars.height == 14_400 - (hole.end - hole.start) // 60_000_000


def test_a_correction_of_the_venue_is_seen(serve):
    correction = Correction(start=us(2026, 1, 5), factor=1.5, after_requests=1)
    _, source = serve(Faults(corrections={BTC: correction}))
    before, after = ask(source), ask(source)
    changed = after.filter(after["close"] != before["close"])
    assert changed["ts"].min() == datetime(2026, 1, 5, tzinfo=UTC)


def test_an_empty_list_is_an_empty_answer(raw, source):
    raw.body = b" [ ]\n"
    assert ask(source).is_empty()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"   ",
        b"{}",
        b"null",
        b'"text"',
        b"42",
        b"<html><body>maintenance</body></html>",
        b'[[1767225600000,"1","2","0.5","1.5","10"',
        b'[[1767225600000,"1","2","0.5","1.5","10"],[17672',
        b"[",
        b'{"data": {}}',
        b'{"data": null}',
        b"[[]]",
        b'[["soon","1","2","0.5","1.5","10"]]',
        b'[[99999999999999999,"1","2","0.5","1.5","10"]]',
        b"\xff\xfe\x00",
    ],
)
def test_an_answer_of_another_form_is_an_error_and_never_an_empty_one(raw, source, body):
    raw.body = body
    with pytest.raises(SourceError) as caught:
        ask(source)
    assert caught.value.retryable


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, SourceRefused),
        (401, SourceRefused),
        (403, SourceRefused),
        (404, SourceRefused),
        (408, SourceError),
        (418, VenueBusy),
        (429, VenueBusy),
        (451, SourceRefused),
        (500, SourceError),
        (502, SourceError),
        (503, SourceError),
        (504, SourceError),
        (599, SourceError),
    ],
)
@pytest.mark.parametrize("body", [b"", b"<html>no</html>", b'{"code": -1, "msg": "no"}'])
def test_each_refusal_becomes_an_error_of_ours(raw, source, status, error, body):
    raw.status, raw.body = status, body
    with pytest.raises(SourceError) as caught:
        ask(source)
    assert type(caught.value) is error
    assert f"HTTP {status}" in caught.value.message
    assert "BINANCE" in caught.value.message


def test_a_venue_that_is_away_says_how_long_to_wait(raw, source):
    raw.status, raw.body = 503, b"<html>no</html>"
    with pytest.raises(SourceError) as caught:
        ask(source)
    assert caught.value.retry_after is None
    raw.headers = {"Retry-After": "12"}
    with pytest.raises(SourceError) as caught:
        ask(source)
    assert type(caught.value) is SourceError
    assert caught.value.retry_after == 12.0


def test_an_invalid_symbol_is_an_unknown_one(raw, source):
    raw.status, raw.body = 400, b'{"code": -1121, "msg": "Invalid symbol."}'
    with pytest.raises(UnknownSymbol, match=BTC):
        ask(source)


def test_a_client_follows_nobody_to_another_address(raw, source):
    raw.status, raw.headers = 302, {"Location": f"{raw.url}/elsewhere"}
    with pytest.raises(SourceRefused):
        ask(source)
    assert not any("elsewhere" in path for path in raw.seen)


def test_a_venue_that_is_not_there_is_a_failure_that_may_pass(raw):
    with CcxtBars(base_url=raw.url) as source:
        source.load()
        raw._server.server_close()
        source.close()
        raw._server.shutdown()
        with pytest.raises(SourceError) as caught:
            ask(source)
    assert type(caught.value) is SourceError
    assert caught.value.retryable


def test_a_venue_that_does_not_answer_is_left_after_a_while(serve):
    _, source = serve(
        Faults(slow_rate=1.0, slow_seconds=30.0, paths=("/api/v3/klines",)), timeout=0.05
    )
    source.load()
    with pytest.raises(SourceError, match="RequestTimeout"):
        ask(source)


def test_a_market_that_lists_nothing_is_refused(raw):
    with CcxtBars("kraken", "KRAKEN", base_url=raw.url) as source, pytest.raises(SourceError):
        source.load()


@pytest.mark.parametrize("status", [200, 400, 401, 429, 500])
def test_a_secret_appears_in_no_error_and_no_log(raw, caplog, status):
    caplog.set_level(logging.DEBUG)
    keys = Credentials(api_key=PLANTED, secret=PLANTED, password=PLANTED)
    with CcxtBars(base_url=raw.url, credentials=keys) as source:
        raw.status, raw.body = status, f'{{"code": -2015, "msg": "{PLANTED}"}}'.encode()
        source.load()
        with pytest.raises(SourceError) as caught:
            source.extract({**source.transform_query(query()), "timeframe": "1h"})
    error = caught.value
    told = [repr(error), str(error.to_dict()), repr(error.facts), repr(vars(source))]
    told += traceback.format_exception(error)
    assert PLANTED not in "".join(told)
    assert PLANTED.encode() not in pickle.dumps(error)
    assert PLANTED not in caplog.text
    assert error.__context__ is None


def test_a_venue_that_needs_no_key_never_sees_one(raw):
    keys = Credentials(api_key=PLANTED, secret=PLANTED)
    with CcxtBars(base_url=raw.url, credentials=keys) as source:
        assert ask(source).is_empty()
        raw.status = 401
        with pytest.raises(SourceRefused):
            ask(source)
    assert raw.told
    assert not any(PLANTED in told for told in raw.told)


def test_a_venue_that_wants_a_key_gets_it(raw):
    keys = Credentials(api_key=PLANTED, secret=PLANTED)
    for credentials in (Credentials(), keys):
        with (
            CcxtBars("alpaca", "ALPACA", base_url=raw.url, credentials=credentials) as source,
            pytest.raises(SourceError),
        ):
            source.load()
    assert [PLANTED in told for told in raw.told] == [True]


def test_every_address_of_every_exchange_is_replaced():
    base = "http://127.0.0.1:9"

    def addresses(tree):
        if isinstance(tree, dict):
            return [leaf for each in tree.values() for leaf in addresses(each)]
        return [tree] if isinstance(tree, str) else []

    checked = 0
    for exchange in ccxt.exchanges:
        try:
            client = Client(
                exchange, exchange.upper(), base_url=base, credentials=Credentials(), timeout=1.0
            )
        except InvalidInput:
            assert getattr(ccxt, exchange)().has.get("fetchOHLCV") is not True
            continue
        found = addresses(client.api.urls["api"])
        assert found, exchange
        assert all(each.startswith(f"{base}/") or each == base for each in found), exchange
        client.close()
        checked += 1
    assert checked > 50


def test_every_exchange_declares_capabilities():
    for exchange in ccxt.exchanges:
        try:
            source = CcxtBars(exchange, "X")
        except InvalidInput:
            continue
        found = source.capabilities
        assert found.page_size >= 1, exchange
        assert found.max_requests_per_second > 0, exchange
        assert found.timeframes, exchange
        source.close()


def test_a_prefix_of_the_address_is_kept(raw):
    with CcxtBars(base_url=f"{raw.url}/prefix/") as source:
        ask(source)
    assert all(path.startswith("/prefix/api/v3/") for path in raw.seen)


def test_only_a_venues_own_address_is_reached_through_a_proxy(raw):
    for base_url, trusted in ((raw.url, False), (None, True)):
        client = Client(
            "binance", "BINANCE", base_url=base_url, credentials=Credentials(), timeout=1.0
        )
        assert client.api.session.trust_env is trusted
        client.close()


def test_an_unknown_exchange_is_answered_with_the_nearest():
    with pytest.raises(UnknownName) as caught:
        CcxtBars("binanse")
    assert "binance" in caught.value.fix


def test_without_ccxt_the_answer_is_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ccxt", None)
    with pytest.raises(MissingExtra) as caught:
        CcxtBars()
    assert caught.value.fix == "pip install 'quant-stage-sdk[exchanges]'"


def test_rows_without_volume_or_with_more_columns_are_bars(source):
    rows = [
        [1000, 1.0, 2.0, 0.5, 1.5],
        [2000, 1.0, 2.0, 0.5, 1.5, None],
        [3000, 1.0, 2.0, 0.5, 1.5, 7.0, "more"],
        [4000, 1, 2, None, float("nan"), 7],
    ]
    bars = source.transform_data(rows)
    assert bars["volume"].to_list() == [None, None, 7.0, 7.0]
    assert bars["close"].to_list() == [1.5, 1.5, 1.5, None]
    assert bars["low"].to_list() == [0.5, 0.5, 0.5, None]
    assert bars["ts"].to_physical().to_list() == [1_000_000, 2_000_000, 3_000_000, 4_000_000]


def test_a_page_is_transformed_well_under_a_millisecond(source):
    rows = [[1767225600000 + 60_000 * row, 1.0, 2.0, 0.5, 1.5, 10.0] for row in range(500)]

    def seconds() -> float:
        began = time.perf_counter()
        for _ in range(20):
            source.transform_data(rows)
        return (time.perf_counter() - began) / 20

    assert min(seconds() for _ in range(20)) < 500e-6


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "3"}, 3.0),
        ({"Retry-After": " 0.5 "}, 0.5),
        ({"Retry-After": "-1"}, 0.0),
        ({"Retry-After": "1e9"}, 86_400.0),
        ({"Retry-After": "-inf"}, None),
        ({"Retry-After": "inf"}, None),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "soon"}, None),
        (
            {
                "Retry-After": "Wed, 21 Oct 2015 07:28:30 GMT",
                "Date": "Wed, 21 Oct 2015 07:28:00 GMT",
            },
            30.0,
        ),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:30 GMT"}, None),
    ],
)
def test_retry_after_is_seconds_or_a_date(headers, seconds):
    assert retry_after(headers) == seconds


def market(unified, ident, **more):
    base, _, quote = unified.partition(":")[0].partition("/")
    standard = {"symbol": unified, "id": ident, "base": base, "quote": quote}
    return {**standard, "type": "spot", "spot": True, "swap": False, "active": True, **more}


def test_spot_comes_before_contracts_and_a_perpetual_has_its_own_name():
    swap = {"type": "swap", "spot": False, "swap": True}
    index = MarketIndex(
        "X",
        [
            market("BTC/USDT:USDT", "BTCUSDT", **swap),
            market("BTC/USDT", "BTC-USDT"),
            market("ETH/USDT:USDT", "ETHUSDT", **swap),
        ],
    )
    assert index.get("X:BTCUSDT") == "BTC/USDT"
    assert index.get("X:BTCUSDT.P") == "BTC/USDT:USDT"
    assert index.get("X:ETHUSDT") == "ETH/USDT:USDT"
    assert "X:ADAUSDT" not in index


def test_the_venues_own_name_comes_before_a_pair_that_ccxt_renamed():
    index = MarketIndex("X", [market("HOT/BTC", "HOLOBTC"), market("Hydro/BTC", "HOTBTC")])
    assert index.get("X:HOTBTC") == "Hydro/BTC"
    assert index.get("X:HOLOBTC") == "HOT/BTC"
    assert {each.symbol for each in index.facts()} == {"X:HOLOBTC", "X:HYDROBTC"}


def test_each_market_is_found_again_under_the_symbol_of_its_facts():
    markets = [
        market("BTC/USD", "XXBTZUSD"),
        market("BTC/EUR", "XBT_EUR", active=False),
        market("A/BC", "A-BC"),
        market("AB/C", "AB-C"),
        market("ETH/BTC", "$$$"),
        market("", ""),
    ]
    index = MarketIndex("X", markets)
    found = {each.symbol: each for each in index.facts()}
    assert set(found) <= set(index)
    assert index.get("X:BTCUSD") == index.get("X:XXBTZUSD") == "BTC/USD"
    assert found["X:BTCEUR"].active is False
    assert index.get("X:ABC") == "A/BC"
    assert "X:ETHBTC" in found


def test_precision_is_a_step_whatever_form_the_venue_gives_it_in():
    listed = [market("BTC/USD", "BTCUSD", precision={"price": 2, "amount": 5}, created=1000)]
    for mode, step in ((4, 2.0), (2, 0.01), (3, None)):
        (facts,) = MarketIndex("X", listed, mode).facts()
        assert facts.tick_size == (pytest.approx(step) if step else None)
    assert facts.listed_at == datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)
    assert facts.min_notional is None
