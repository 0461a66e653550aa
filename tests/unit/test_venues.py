from __future__ import annotations

import math
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from quant_registry.clock import SystemClock
from quant_registry.errors import InvalidInput, SourceError, SourceRefused
from quant_registry.settings import parse_settings
from quant_registry.workspace import Workspace
from quant_sdk.market.faults import Faults
from quant_sdk.market.market import Market
from quant_sdk.market.server import MarketServer
from quant_sdk.sources.fetch import fetch_bars
from quant_sdk.sources.protocol import BarQuery
from quant_sdk.sources.settings import source_settings
from quant_sdk.sources.venues import gives_bars, open_sources
from quant_sdk.testing import FakeClock

BTC = "BINANCE:BTCUSDT"
NOW = datetime(2026, 2, 3, 10, tzinfo=UTC)
DAY = 86_400_000_000


@pytest.fixture
def workspace(tmp_path):
    return Workspace(tmp_path)


@pytest.fixture
def clock():
    return FakeClock(NOW)


@pytest.fixture
def opened(workspace, clock):
    """Open the sources of a workspace whose section is given."""

    def open_them(section="{market: embedded, seed: 5}", **options):
        if section:
            workspace.settings.write_text(f"sources: {section}\n")
        options.setdefault("rest", lambda seconds: clock.advance(seconds) or True)
        return open_sources(workspace, clock=clock, **options)

    return open_them


@pytest.fixture
def server():
    with MarketServer(Market(seed=5, now=lambda: NOW)) as running:
        yield running


def now_us():
    return int(NOW.timestamp()) * 1_000_000


def daily(days=10):
    end = now_us()
    return BarQuery(symbol=BTC, timeframe="1d", start=end - days * DAY, end=end)


def test_the_embedded_market_gives_bars_that_name_it_as_their_source(opened):
    with opened() as sources:
        assert sources.embedded
        assert sources.bars("BINANCE").id == sources.bars_id("BINANCE") == "embedded:binance:5"
    with opened("{market: embedded}") as sources:
        assert sources.bars("BINANCE").id == "embedded:binance"
        assert sources.scanner_id == "embedded:scanner"
        assert sources.scanner_base_url.startswith("http://127.0.0.1:")
        assert sources.scanner_base_url.endswith("/scanner")


def test_the_embedded_market_has_the_prices_of_its_seed_and_the_time_of_the_run(opened):
    market = Market(seed=5, now=lambda: NOW)
    with opened() as sources:
        fetched = fetch_bars(
            sources.bars("BINANCE"),
            daily(),
            now_us=now_us(),
            caller=sources.caller("BINANCE"),
        )
    assert fetched.holes == ()
    truth = market.bars(BTC, "1d", now_us() - 10 * DAY, now_us() - DAY)
    assert fetched.bars.drop("volume").equals(truth.drop("volume"))


def test_the_embedded_market_ends_with_the_run(opened):
    with opened() as sources:
        source = sources.bars("BINANCE")
    with pytest.raises(SourceError):
        source.extract(source.transform_query(daily()))
    source.close()


def test_the_embedded_market_has_no_rate_limit_of_its_own(opened, clock):
    with opened() as sources:
        caller = sources.caller("BINANCE")
        began = clock.monotonic()
        for _ in range(100):
            caller(lambda: None)
        assert clock.monotonic() == began


def test_a_throttle_holds_for_the_embedded_market_too(opened, clock):
    throttle = None
    with opened(throttle=lambda: throttle) as sources:
        for caller in (sources.caller("BINANCE"), sources.scanner_caller()):
            throttle = 2.0
            caller(lambda: None)
            began = clock.monotonic()
            for _ in range(4):
                caller(lambda: None)
            assert clock.monotonic() - began == pytest.approx(2.0)
            throttle = None
            caller(lambda: None)
            assert clock.monotonic() - began == pytest.approx(2.0)


def test_a_venue_that_the_embedded_market_does_not_have_is_refused(opened):
    with opened() as sources, pytest.raises(SourceRefused, match="gives bars of FXCM"):
        sources.bars("FXCM")


def test_live_venues_are_the_default(opened):
    with opened(section="") as sources:
        assert not sources.embedded
        assert sources.scanner_id == "tradingview"
        assert sources.scanner_base_url == "https://scanner.tradingview.com"


def test_a_live_venue_is_reached_at_the_address_of_the_settings(opened, server):
    section = f"{{venues: {{BINANCE: {{base_url: '{server.url}'}}}}}}"
    with opened(section) as sources:
        source = sources.bars("BINANCE")
        assert source.id == "loopback:binance"
        assert source is sources.bars("BINANCE")
        answer = source.extract(source.transform_query(daily()))
    assert source.transform_data(answer).height == 10
    assert server.requests["/api/v3/exchangeInfo"] == 1


def test_a_venue_may_be_any_exchange_of_ccxt(opened, server):
    section = f"{{venues: {{HOUSE: {{exchange: binance, base_url: '{server.url}'}}}}}}"
    with opened(section) as sources:
        assert "HOUSE:BTCUSDT" in {each.symbol for each in sources.bars("HOUSE").markets()}


def test_a_venue_that_nobody_knows_is_refused_with_what_to_write(opened):
    with opened(section="") as sources, pytest.raises(SourceRefused) as caught:
        sources.bars("NOWHERE")
    assert "sources.venues.NOWHERE.exchange" in caught.value.fix


@pytest.mark.parametrize(
    ("section", "given"),
    [
        ("{market: embedded}", {"BINANCE"}),
        ("{market: live}", {"BINANCE", "KRAKEN", "GATEIO"}),
        ("{venues: {FXCM: {exchange: oanda}}}", {"BINANCE", "KRAKEN", "GATEIO"}),
        ("{venues: {FXCM: {exchange: okx}}}", {"BINANCE", "KRAKEN", "GATEIO", "FXCM"}),
    ],
)
def test_which_venues_give_bars_is_known_without_asking_them(section, given):
    settings = source_settings(parse_settings(f"sources: {section}"))
    venues = ("BINANCE", "KRAKEN", "GATEIO", "FXCM", "NYSE")
    assert {venue for venue in venues if gives_bars(settings, venue)} == given


@pytest.mark.parametrize(
    ("configured", "throttle", "expected"),
    [(None, None, 20.0), (8.0, None, 8.0), (8.0, 2.0, 2.0), (8.0, 50.0, 8.0), (None, 4.0, 4.0)],
)
def test_the_slowest_of_venue_and_throttle_counts(
    *, opened, clock, server, configured, throttle, expected
):
    rate = "" if configured is None else f", max_requests_per_second: {configured}"
    section = f"{{venues: {{BINANCE: {{base_url: '{server.url}'{rate}}}}}}}"
    with opened(section, throttle=lambda: throttle) as sources:
        caller = sources.caller("BINANCE")
        caller(lambda: None)
        began = clock.monotonic()
        for _ in range(10):
            caller(lambda: None)
    assert clock.monotonic() - began == pytest.approx(10 / expected)


def test_the_scanner_goes_at_its_own_rate(opened, clock):
    with opened("{scanner: {max_requests_per_second: 4}}") as sources:
        caller = sources.scanner_caller()
        caller(lambda: None)
        began = clock.monotonic()
        caller(lambda: None)
    assert clock.monotonic() - began == pytest.approx(0.25)


def test_one_venue_has_one_caller_and_one_source_for_all_threads(opened):
    with opened() as sources, ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(lambda _: sources.bars("BINANCE"), range(40)))) == 1
        assert len(set(pool.map(lambda _: sources.caller("BINANCE"), range(40)))) == 1


def test_a_list_of_markets_that_fails_is_asked_for_again(workspace, clock):
    faults = Faults(down=(1, 2))
    with MarketServer(Market(seed=5, now=lambda: NOW, faults=faults)) as server:
        workspace.settings.write_text(
            f"sources: {{venues: {{BINANCE: {{base_url: '{server.url}'}}}}}}"
        )
        rest = lambda seconds: clock.advance(seconds) or True  # noqa: E731
        with open_sources(workspace, clock=clock, rest=rest) as sources:
            assert sources.bars("BINANCE").loaded
        assert server.requests["/api/v3/exchangeInfo"] == 3


def test_limits_of_the_live_and_the_embedded_market_are_apart(opened, workspace):
    with opened(throttle=lambda: 1000.0) as sources:
        sources.caller("BINANCE")(lambda: None)
        sources.scanner_caller()(lambda: None)
    found = {file.stem for file in (workspace.artifacts / "limits").glob("*.json")}
    assert found == {"embedded-BINANCE", "embedded-scanner"}


def test_settings_that_are_not_possible_are_refused(opened):
    with pytest.raises(InvalidInput), opened("{market: demo}"):
        pass


def test_the_machines_clock_serves_as_well(workspace):
    workspace.settings.write_text("sources: {market: embedded}\n")
    event = threading.Event()
    rest = lambda seconds: not event.wait(seconds)  # noqa: E731
    with open_sources(
        workspace, clock=SystemClock(), rest=rest, throttle=lambda: math.inf
    ) as sources:
        source = sources.bars("BINANCE")
        now = int(datetime.now(UTC).timestamp() * 1_000_000)
        query = BarQuery(symbol=BTC, timeframe="1m", start=now - 3_600_000_000, end=now)
        fetched = fetch_bars(source, query, now_us=now, caller=sources.caller("BINANCE"))
    assert fetched.bars.height in {59, 60}
    assert fetched.holes == ()
