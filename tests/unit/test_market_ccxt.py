"""The synthetic exchange, asked by the real client."""

from __future__ import annotations

import threading
import time
from collections import Counter
from contextlib import contextmanager
from datetime import UTC, datetime

import ccxt
import httpx
import polars as pl
import pytest

from quant_sdk.errors import InvalidInput
from quant_sdk.market.faults import Correction, Delisting, Faults, Halt, Storm
from quant_sdk.market.listing import standard_listing
from quant_sdk.market.market import Market
from quant_sdk.market.server import MarketServer

NOW = datetime(2026, 2, 3, 10, 0, 7, tzinfo=UTC)
DAY = 86_400_000
BTC, ETH = "BINANCE:BTCUSDT", "BINANCE:ETHUSDT"


def us(*parts: int) -> int:
    return int(datetime(*parts, tzinfo=UTC).timestamp()) * 1_000_000


@contextmanager
def asked(server: MarketServer, **settings):
    """ccxt's own class for Binance, pointed at the server."""
    client = ccxt.binance(
        {"enableRateLimit": False, "options": {"fetchMarkets": {"types": ["spot"]}}, **settings}
    )
    client.urls["api"]["public"] = f"{server.url}/api/v3"
    try:
        yield client
    finally:
        client.session.close()


@contextmanager
def venue(faults: Faults | None = None, listing=None, **settings):
    """A server and the client that asks it, markets loaded before anything goes wrong."""
    market = Market(7, now=lambda: NOW, faults=faults, listing=listing)
    with MarketServer(market, **settings) as server, asked(server) as client:
        with MarketServer(Market(7, now=lambda: NOW, listing=listing)) as calm:
            client.urls["api"]["public"] = f"{calm.url}/api/v3"
            client.load_markets()
        client.session.close()
        client.urls["api"]["public"] = f"{server.url}/api/v3"
        yield market, server, client


def frame(rows: list[list[float]]) -> pl.DataFrame:
    """What came over the wire, as the truth is given."""
    schema = ("ts", "open", "high", "low", "close", "volume")
    found = pl.DataFrame(rows, schema=dict.fromkeys(schema, pl.Float64), orient="row")
    moments = pl.col("ts").cast(pl.Int64).cast(pl.Datetime("ms", "UTC")).dt.cast_time_unit("us")
    return found.with_columns(moments)


def test_markets_load_with_ticks_lots_and_fees():
    with venue() as (market, server, client):
        client.markets = None
        found = client.load_markets()
        assert server.requests == {"/api/v3/exchangeInfo": 1}
        assert len(found) == sum(each.exchange == "BINANCE" for each in market.listing)
        for each in market.listing:
            if each.exchange != "BINANCE":
                continue
            loaded = client.markets_by_id[each.id][0]
            assert (loaded["base"], loaded["quote"]) == (each.base, each.quote)
            assert loaded["precision"]["price"] == each.tick
            assert loaded["precision"]["amount"] == each.lot
            assert loaded["limits"]["cost"]["min"] == each.min_notional
            assert (loaded["maker"], loaded["taker"]) == (each.maker, each.taker)
            assert loaded["active"]


def test_the_time_is_the_market_s():
    with venue() as (_, _, client):
        assert client.fetch_time() == int(NOW.timestamp() * 1000)


@pytest.mark.parametrize("symbol", ["BTC/USDT", "SHIB/USDT", "ETH/BTC", "USDC/USDT"])
@pytest.mark.parametrize("timeframe", ["1s", "1m", "1h", "1d", "1w", "1M"])
def test_what_comes_over_the_wire_is_the_truth_to_the_last_bit(symbol, timeframe):
    with venue() as (market, _, client):
        start = us(2026, 2, 3, 9, 50) if timeframe == "1s" else us(2026, 2, 2)
        start = us(2023, 1, 1) if timeframe in {"1d", "1w", "1M"} else start
        rows = client.fetch_ohlcv(symbol, timeframe, start // 1000, 1000)
        name = f"BINANCE:{symbol.replace('/', '')}"
        truth = market.bars(name, timeframe, start, us(2027, 1, 1))[:1000]
        assert frame(rows).equals(truth)
        assert truth.height > 10


def test_pages_follow_each_other_to_the_unclosed_bar():
    with venue() as (market, _, client):
        start, rows = us(2025, 6, 1) // 1000, []
        while page := client.fetch_ohlcv("BTC/USDT", "1h", start, 1000):
            rows += page
            start = page[-1][0] + 1
        assert frame(rows).equals(market.bars(BTC, "1h", us(2025, 6, 1), us(2027, 1, 1)))
        assert rows[-1][0] == us(2026, 2, 3, 10) // 1000


def test_start_and_end_are_inclusive_and_the_newest_come_without_them():
    with venue() as (_, _, client):
        first = us(2026, 1, 1) // 1000
        until = {"until": first + 3 * DAY}
        assert [row[0] for row in client.fetch_ohlcv("BTC/USDT", "1d", first, 9, until)] == [
            first + number * DAY for number in range(4)
        ]
        newest = client.fetch_ohlcv("BTC/USDT", "1d", None, 2)
        assert [row[0] for row in newest] == [us(2026, 2, 2) // 1000, us(2026, 2, 3) // 1000]
        assert client.fetch_ohlcv("BTC/USDT", "1d", us(2026, 2, 4) // 1000, 5) == []


def test_a_page_holds_500_bars_by_default_and_1000_at_most():
    with venue() as (_, server, client):
        since = us(2020, 1, 1) // 1000
        assert len(client.fetch_ohlcv("BTC/USDT", "1d", since)) == 500
        target = f"{server.url}/api/v3/klines?symbol=BTCUSDT&interval=1d&startTime={since}"
        assert len(httpx.get(f"{target}&limit=5000").json()) == 1000


def test_a_page_asked_again_is_the_same_and_the_unclosed_bar_is_not_remembered():
    moment = [NOW]
    with MarketServer(Market(7, now=lambda: moment[0])) as server, asked(server) as client:
        closed = [client.fetch_ohlcv("BTC/USDT", "1h", us(2026, 1, 1) // 1000, 10) for _ in "ab"]
        assert closed[0] == closed[1]
        early = client.fetch_ohlcv("BTC/USDT", "1h", us(2026, 2, 3, 9) // 1000, 10)
        moment[0] = NOW.replace(minute=30)
        late = client.fetch_ohlcv("BTC/USDT", "1h", us(2026, 2, 3, 9) // 1000, 10)
        assert early[0] == late[0]
        assert early[1] != late[1]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("interval=1d", -1102),
        ("symbol=BTCUSDT", -1102),
        ("symbol=NIXUSDT&interval=1d", -1121),
        ("symbol=BTCUSDT&interval=7m", -1120),
        ("symbol=BTCUSDT&interval=1d&limit=x", -1100),
        ("symbol=BTCUSDT&interval=1d&startTime=-5", -1100),
    ],
)
def test_a_wrong_request_is_refused_in_the_exchange_s_words(query, code):
    with MarketServer(Market(now=lambda: NOW)) as server:
        answer = httpx.get(f"{server.url}/api/v3/klines?{query}")
        assert (answer.status_code, answer.json()["code"]) == (400, code)


def test_an_unknown_path_is_not_found():
    with MarketServer(Market(now=lambda: NOW)) as server:
        assert httpx.get(f"{server.url}/api/v3/account").status_code == 404
        assert httpx.get(f"{server.url}/else").status_code == 404
        assert httpx.get(f"{server.url}/api/v3/ping").json() == {}


def fetched(client, symbol="BTC/USDT", tries=20, start=None):
    """Ask until an answer comes; return it and what was met on the way."""
    met = []
    for _ in range(tries):
        try:
            since = (start or us(2026, 1, 1)) // 1000
            return client.fetch_ohlcv(symbol, "1d", since, 20), met
        except ccxt.BaseError as error:
            met.append(error)
    raise AssertionError(met)


def test_errors_pass_and_come_again_for_the_same_requests():
    runs = []
    for _ in range(2):
        with venue(Faults(seed=3, error_rate=0.5)) as (market, _, client):
            met = []
            for month in range(1, 13):
                rows, errors = fetched(client, start=us(2025, month, 1))
                assert frame(rows).equals(
                    market.bars(BTC, "1d", us(2025, month, 1), us(2025, month, 21))
                )
                met += [type(error).__name__ for error in errors]
        runs.append(met)
    assert runs[0] == runs[1]
    assert 4 <= len(runs[0]) <= 40
    assert set(runs[0]) == {"ExchangeNotAvailable"}


def test_torn_answers_are_errors_or_to_ccxt_empty_and_never_a_part():
    with venue(Faults(torn_rate=0.5)) as (market, server, client):
        truth = market.bars(BTC, "1d", us(2026, 1, 1), us(2026, 1, 21))
        seen = Counter()
        for _ in range(24):
            try:
                rows = client.fetch_ohlcv("BTC/USDT", "1d", us(2026, 1, 1) // 1000, 20)
            except ccxt.NetworkError:
                seen["error"] += 1
                continue
            # ccxt takes a body that is no JSON for an empty list.
            assert rows == [] or frame(rows).equals(truth)
            seen["whole" if rows else "empty"] += 1
        assert min(seen[kind] for kind in ("error", "whole", "empty")) > 0
        assert server.requests["/api/v3/klines"] == 24


def test_a_storm_refuses_in_a_row_and_names_the_time():
    storm = Storm(every=3, length=2, retry_after=4)
    with venue(Faults(storm=storm)) as (_, _, client):
        outcomes = []
        for _ in range(7):
            try:
                fetched(client, tries=1)
            except AssertionError as error:
                [refused] = error.args[0]
                assert isinstance(refused, ccxt.DDoSProtection)
                assert client.last_response_headers["Retry-After"] == "4"
                outcomes.append("refused")
            else:
                outcomes.append("served")
        assert outcomes == [
            "served",
            "served",
            "refused",
            "refused",
            "served",
            "refused",
            "refused",
        ]


def test_the_rate_limit_refuses_what_comes_too_fast():
    moment = [100.0]
    faults = Faults(requests_per_second=5)
    with venue(faults, monotonic=lambda: moment[0]) as (_, _, client):
        for _ in range(5):
            client.fetch_time()
        with pytest.raises(ccxt.DDoSProtection):
            client.fetch_time()
        assert client.last_response_headers["Retry-After"] == "1"
        moment[0] += 0.21
        client.fetch_time()
        with pytest.raises(ccxt.DDoSProtection):
            client.fetch_time()


def test_a_venue_that_is_down_comes_back():
    with venue(Faults(down=(2, 4))) as (_, _, client):
        client.fetch_time()
        rows, met = fetched(client)
        assert [type(error) for error in met] == [ccxt.ExchangeNotAvailable] * 3
        assert len(rows) == 20


def test_a_venue_is_dark_by_the_market_s_clock():
    moment = [us(2026, 2, 3)]
    faults = Faults(dark=((us(2026, 2, 3), us(2026, 2, 3, 1)),))
    market = Market(now=lambda: datetime.fromtimestamp(moment[0] / 1e6, UTC), faults=faults)
    with MarketServer(market) as server:
        assert httpx.get(f"{server.url}/api/v3/time").status_code == 503
        moment[0] = us(2026, 2, 3, 1)
        assert httpx.get(f"{server.url}/api/v3/time").status_code == 200


def test_an_outage_hides_the_bars_in_it_only():
    faults = Faults(outages=((us(2025, 3, 1), us(2025, 3, 2)),))
    with venue(faults) as (_, _, client):
        assert len(client.fetch_ohlcv("BTC/USDT", "1d", us(2025, 2, 1) // 1000, 28)) == 28
        assert len(client.fetch_ohlcv("BTC/USDT", "1d", us(2025, 3, 2) // 1000, 28)) == 28
        for since, limit in (((2025, 2, 1), 29), ((2025, 3, 1), 1)):
            with pytest.raises(ccxt.OperationFailed):
                client.fetch_ohlcv("BTC/USDT", "1d", us(*since) // 1000, limit)
        assert len(client.fetch_ohlcv("BTC/USDT", "1d", None, 100)) == 100


def test_a_halt_leaves_bars_out_and_pages_stay_full():
    halt = Halt(start=us(2025, 3, 1), end=us(2025, 9, 1))
    with venue(Faults(halts=(halt,))) as (market, _, client):
        rows = client.fetch_ohlcv("BTC/USDT", "1d", us(2025, 2, 1) // 1000, 50)
        assert len(rows) == 50
        assert rows[28][0] == us(2025, 9, 1) // 1000
        assert frame(rows).equals(market.bars(BTC, "1d", us(2025, 2, 1), us(2026, 1, 1))[:50])


def test_a_symbol_is_delisted_in_mid_run():
    with venue(Faults(delistings={ETH: Delisting(after_requests=2)})) as (market, server, client):
        for _ in range(2):
            fetched(client, "ETH/USDT", tries=1)
        with pytest.raises(ccxt.BadSymbol):
            client.fetch_ohlcv("ETH/USDT", "1d")
        assert client.fetch_ohlcv("BTC/USDT", "1d")
        client.markets = None
        assert "ETH/USDT" not in client.load_markets()
        assert not market.is_listed(ETH)
        scan = httpx.post(f"{server.scanner_url}/crypto/scan", json={"range": [0, 500]}).json()
        found = {row["s"] for row in scan["data"]}
        assert BTC in found
        assert ETH not in found


def test_a_corrected_past_is_served_after_its_request():
    change = Correction(start=us(2026, 1, 3), end=us(2026, 1, 5), factor=0.9, after_requests=1)
    with venue(Faults(corrections={BTC: change})) as (market, _, client):
        before, _ = fetched(client)
        after, _ = fetched(client)
        changed = [old[0] for old, new in zip(before, after, strict=True) if old != new]
        assert changed == [us(2026, 1, day) // 1000 for day in (3, 4)]
        assert frame(after).equals(market.bars(BTC, "1d", us(2026, 1, 1), us(2026, 1, 21)))


def test_slow_answers_come_late_and_do_not_hold_up_the_end():
    with venue(Faults(slow_rate=1.0, slow_seconds=60.0)) as (_, server, client):
        client.timeout = 50
        begun = time.monotonic()
        with pytest.raises(ccxt.RequestTimeout):
            client.fetch_time()
        server.close()
        assert time.monotonic() - begun < 10


def test_a_careless_venue_repeats_the_credentials_in_its_errors():
    faults = Faults(error_rate=1.0, echo_credentials=True)
    with venue(faults) as (_, _, client):
        client.headers = {"X-MBX-APIKEY": "planted-secret"}
        with pytest.raises(ccxt.ExchangeNotAvailable, match="planted-secret"):
            client.fetch_ohlcv("BTC/USDT", "1d", params={"signature": "other"})
    with MarketServer(Market(faults=Faults(echo_credentials=True))) as server:
        refused = httpx.get(f"{server.url}/api/v3/klines?apiKey=secret", headers={"X-K": "planted"})
        assert refused.json()["code"] == -1102
        assert refused.json()["echo"]["headers"]["X-K"] == "planted"
        assert "secret" in refused.json()["echo"]["target"]


def test_faults_may_spare_some_paths():
    faults = Faults(error_rate=1.0, paths=("/scanner",))
    with MarketServer(Market(faults=faults)) as server:
        assert httpx.get(f"{server.url}/api/v3/time").status_code == 200
        assert httpx.post(f"{server.scanner_url}/crypto/scan", json={}).status_code >= 500


def test_a_server_starts_again_on_its_port_and_goes_on_counting():
    server = MarketServer(Market(now=lambda: NOW))
    with httpx.Client() as client:
        with server:
            url = server.url
            client.get(f"{url}/api/v3/time")
        with pytest.raises(httpx.ConnectError):
            client.get(f"{url}/api/v3/time")
        with server:
            assert server.url == url
            assert client.get(f"{url}/api/v3/time").status_code == 200
    assert server.requests == {"/api/v3/time": 2}


def test_it_serves_this_machine_only():
    for host in ("0.0.0.0", "example.org", ""):
        with pytest.raises(InvalidInput):
            MarketServer(Market(), host=host)


def test_it_asks_no_resolver(monkeypatch):
    def asked_for(*_):
        raise AssertionError("a resolver was asked")

    monkeypatch.setattr("socket.getfqdn", asked_for)
    with MarketServer(Market(now=lambda: NOW)) as server:
        assert httpx.get(f"{server.url}/api/v3/ping").status_code == 200


def test_it_ends_while_clients_hold_connections_open():
    with httpx.Client() as idle:
        with MarketServer(Market(now=lambda: NOW)) as server:
            idle.get(f"{server.url}/api/v3/ping")
            answering = [each for each in threading.enumerate() if "process_request" in each.name]
            assert answering
        assert not any(each.is_alive() for each in answering)


def test_ten_thousand_symbols_are_listed():
    listing = standard_listing(synthetic=10_000, known=False)
    with MarketServer(Market(now=lambda: NOW, listing=listing)) as server:
        listed = httpx.get(f"{server.url}/api/v3/exchangeInfo", timeout=30).json()["symbols"]
        assert len({each["symbol"] for each in listed}) == 10_000
        page = f"{server.url}/api/v3/klines?symbol=S9999USDT&interval=1d&limit=3"
        assert len(httpx.get(page).json()) == 3


def test_many_threads_are_answered_alike():
    from concurrent.futures import ThreadPoolExecutor

    with MarketServer(Market(7, now=lambda: NOW)) as server, httpx.Client() as client:
        pages = [
            f"{server.url}/api/v3/klines?symbol={name}USDT&interval=1h&limit=50&startTime={start}"
            for name in ("BTC", "ETH", "SOL")
            for start in range(1_760_000_400_000, 1_760_000_400_000 + 5 * DAY, DAY)
        ]
        with ThreadPoolExecutor(8) as pool:
            seen = list(pool.map(lambda page: client.get(page).content, pages * 4))
        assert all(seen[i] == seen[i % len(pages)] for i in range(len(seen)))
        assert server.requests["/api/v3/klines"] == len(pages) * 4
