from __future__ import annotations

from datetime import UTC, datetime

import polars as pl
import pytest

from quant_sdk.market.listing import standard_listing
from quant_sdk.market.market import Market
from quant_sdk.market.server import MarketServer
from quant_sdk.sources.scanner.client import ScannerClient
from quant_sdk.sources.scanner.file import ScannerFile
from quant_sdk.sources.scanner.filters import Filter
from quant_sdk.sources.scanner.query import ScanRequest, looked_at, transform_query
from quant_sdk.sources.scanner.selection import FIAT, STABLE_COINS, identified, run_scanner, select
from quant_sdk.sources.scanner.trend import Trend

NOW = datetime(2026, 2, 3, 10, tzinfo=UTC)
PAIRS = (
    ("BINANCE:BTCUSDC", "BTC", "USDC"),
    ("BINANCE:USDCUSDT", "USDC", "USDT"),
    ("BINANCE:BTCUSDT", "BTC", "USDT"),
    ("BINANCE:ETHBTC", "ETH", "BTC"),
    ("BINANCE:EURUSDT", "EUR", "USDT"),
    ("BINANCE:ETHUSDC", "ETH", "USDC"),
    ("OKX:SOLEUR", "SOL", "EUR"),
    ("BINANCE:SOLTRY", "SOL", "TRY"),
)


@pytest.fixture(scope="module")
def client():
    with (
        MarketServer(Market(seed=7, now=lambda: NOW, listing=standard_listing())) as server,
        ScannerClient(server.scanner_url) as opened,
    ):
        yield opened


def scanner(**keys):
    return ScannerFile(name="a", chain=("a.yaml",), **({"markets": ("crypto",)} | keys))


def rows(market="crypto"):
    return pl.DataFrame(
        {
            "symbol": [symbol for symbol, _, _ in PAIRS],
            "market": market,
            "name": [symbol.partition(":")[2] for symbol, _, _ in PAIRS],
            "base": [base for _, base, _ in PAIRS],
            "quote": [quote for _, _, quote in PAIRS],
        }
    )


def kept(market="crypto", **keys):
    return [symbol.partition(":")[2] for symbol in select(rows(market), scanner(**keys))["symbol"]]


def test_without_rules_all_stay_in_their_order():
    assert kept() == [symbol.partition(":")[2] for symbol, _, _ in PAIRS]


def test_stable_bases_are_left_out():
    assert kept(exclude_stable_bases=True) == [
        "BTCUSDC",
        "BTCUSDT",
        "ETHBTC",
        "ETHUSDC",
        "SOLEUR",
        "SOLTRY",
    ]


def test_a_currency_is_a_stable_base_among_coins_only():
    assert "EURUSDT" in kept(market="forex", exclude_stable_bases=True)
    assert "EURUSDT" not in kept(exclude_stable_bases=True)


def test_one_pair_a_base_stays_in_the_first_quote_that_is_there():
    assert kept(quote_priority=("USDT", "USDC", "BTC")) == [
        "USDCUSDT",
        "BTCUSDT",
        "EURUSDT",
        "ETHUSDC",
        "SOLEUR",
    ]


def test_rows_without_a_base_are_each_their_own():
    unknown = rows().with_columns(base=pl.lit(None, pl.String), quote=pl.lit(None, pl.String))
    assert select(unknown, scanner(quote_priority=("USDT",))).height == len(PAIRS)
    assert select(unknown, scanner(exclude_stable_bases=True)).height == len(PAIRS)


def test_the_limit_counts_what_the_rules_leave():
    rules = {"exclude_stable_bases": True, "quote_priority": ("USDT", "USDC")}
    assert kept(limit=2, **rules) == ["BTCUSDT", "ETHUSDC"]


def test_symbol_files_name_symbols_names_or_bases():
    assert kept(symbols=("BINANCE:ETHBTC", "SOLTRY", "EUR")) == ["ETHBTC", "EURUSDT", "SOLTRY"]
    assert kept(symbols=("KRAKEN:ETHBTC",)) == []


def test_a_symbol_of_two_markets_counts_once():
    twice = pl.concat([rows(), rows("forex")])
    assert select(twice, scanner()).height == len(PAIRS)


@pytest.mark.parametrize(
    ("market", "kind", "name", "expected"),
    [
        ("crypto", "swap", "BTCUSDT.P", ("crypto", "BTC", "USDT")),
        ("crypto", "swap", "BTCPERP", ("crypto", None, "USDT")),
        ("america", "stock", "AAPL", ("equity", "AAPL", "USDT")),
        ("america", "fund", "SPY", ("fund", "SPY", "USDT")),
        ("futures", "futures", "ES1!", ("futures", "ES1!", "USDT")),
    ],
)
def test_a_symbol_is_told_apart_by_its_market_and_type(market, kind, name, expected):
    columns = {"symbol": "X:A", "name": name, "type": kind, "currency": "usdt"}
    if market == "crypto":
        columns["base_currency"] = None
    schema = dict.fromkeys(columns, pl.String)
    found = identified(pl.DataFrame([columns], schema=schema), market)
    assert found.select("asset_type", "base", "quote").row(0) == expected


def test_each_market_is_asked_for_itself_and_only_where_it_is_enabled():
    file = scanner(markets=("crypto", "forex", "america"))
    assert [item.market for item in transform_query(file)] == ["crypto", "forex", "america"]
    assert [item.market for item in transform_query(file, ("forex", "bonds"))] == ["forex"]


def test_the_limit_goes_to_the_venue_where_no_rule_comes_after_it():
    assert transform_query(scanner(limit=5))[0].limit == 5
    for rule in (
        {"symbols": ("BTC",)},
        {"exclude_stable_bases": True},
        {"quote_priority": ("USDT",)},
    ):
        assert transform_query(scanner(limit=5, **rule))[0].limit is None


def test_symbols_narrow_the_request_where_they_are_whole():
    whole, mixed = ("NYSE:IBM", "NASDAQ:AAPL"), ("NYSE:IBM", "AAPL")
    assert transform_query(scanner(symbols=whole))[0].symbols == whole
    assert transform_query(scanner(symbols=mixed))[0].symbols == ()
    (american,) = transform_query(scanner(symbols=mixed, markets=("america",)))
    assert american.filters == (Filter(left="name", operation="in_range", right=("IBM", "AAPL")),)


def test_exchanges_and_the_trend_become_filters():
    close = Filter(left="close", operation="greater", right=1)
    rating = Filter(left="Recommend.All|60", operation="egreater", right=0.1)
    trend = Trend(timeframe="1h", direction="long", filters=(rating,))
    file = scanner(exchanges=("OKX",), filters=(close,), trend=trend, sort_by="ADX")
    exchange = Filter(left="exchange", operation="in_range", right=("OKX",))
    assert transform_query(file)[0].filters == (exchange, close, rating)
    assert looked_at(file) == ("ADX", "close", "Recommend.All|60")


def test_only_exported_columns_are_asked_for():
    close = Filter(left="close", operation="greater", right=1)
    quiet = transform_query(scanner(filters=(close,)))[0]
    told = transform_query(scanner(filters=(close,), export_metadata=True))[0]
    assert set(told.columns) - set(quiet.columns) == {"close"}
    assert "base_currency" not in transform_query(scanner(markets=("america",)))[0].columns


def test_a_scanner_finds_on_the_market_what_its_rules_say(client):
    columns = ("base_currency", "currency", "Value.Traded")
    request = ScanRequest(market="crypto", columns=columns, sort_by="Value.Traded")
    best = {}
    for symbol, base, quote, traded in client.scan(request).rows():
        if base not in STABLE_COINS | FIAT:
            rank = ("USDC", "USDT").index(quote) if quote in {"USDC", "USDT"} else 2
            best[base] = min(best.get(base, (9,)), (rank, -traded, symbol))
    expected = [symbol for _, _, symbol in sorted(best.values(), key=lambda item: item[1])]
    file = scanner(
        exchanges=("BINANCE",),
        filters=(Filter(left="type", operation="equal", right="spot"),),
        sort_by="Value.Traded",
        sort_order="desc",
        exclude_stable_bases=True,
        quote_priority=("USDC", "USDT"),
        limit=9,
    )
    found = run_scanner(client, file)
    assert found.rows["symbol"].to_list() == expected[:9]
    assert "BINANCE:BTCUSDC" in expected
    assert (found.requests, found.findings) == (1, ())


def test_two_markets_come_in_one_order_under_one_limit(client):
    file = scanner(markets=("crypto", "forex"), sort_by="ADX", sort_order="desc", limit=12)
    found = run_scanner(client, file)
    every = run_scanner(client, scanner(markets=("crypto", "forex"), sort_by="ADX")).rows
    best = every.sort("ADX", descending=True, nulls_last=True, maintain_order=True).head(12)
    assert sorted(found.rows["ADX"]) == sorted(best["ADX"])
    assert found.rows["ADX"].is_sorted(descending=True)
    assert found.requests == 2


def test_a_scanner_of_no_enabled_market_finds_nothing_and_says_so(client):
    found = run_scanner(client, scanner(), ("forex",))
    assert (found.rows.height, found.requests) == (0, 0)
    assert [item.code for item in found.findings] == ["market_not_enabled"]


def test_the_same_market_gives_the_same_answer(client):
    file = scanner(sort_by="Recommend.All", sort_order="desc", quote_priority=("USDT",))
    assert run_scanner(client, file).rows.equals(run_scanner(client, file).rows)
