"""The synthetic scanner, asked over HTTP."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import httpx
import pytest

from quant_sdk.market.listing import standard_listing
from quant_sdk.market.market import Market
from quant_sdk.market.server import MarketServer

NOW = datetime(2026, 2, 3, 10, 0, 7, tzinfo=UTC)
LATEST = 1_770_112_800_000_000
COLUMNS = (
    "name", "close", "open", "high", "low", "volume", "change", "Value.Traded", "market_cap_calc",
    "exchange", "type", "subtype", "description", "currency", "base_currency", "minmov",
    "pricescale", "Recommend.All", "Recommend.MA", "Recommend.Other", "RSI", "ADX", "ATR",
    "Volatility.D", "Volatility.W", "Volatility.M", "Perf.W", "Perf.1M", "Perf.3M", "Perf.6M",
    "Perf.Y", "SMA50", "SMA200", "EMA50", "MACD.macd", "MACD.signal", "Mom", "RSI|60", "RSI|240",
    "Recommend.All|1W", "close|15",
)  # fmt: skip


@pytest.fixture(scope="module")
def server():
    with MarketServer(Market(7, now=lambda: NOW)) as running:
        yield running


@pytest.fixture
def scan(server):
    """Ask; return the rows as (symbol, columns by name)."""

    def ask(market="crypto", **query):
        columns = query.setdefault("columns", ["name"])
        query.setdefault("range", [0, 1000])
        answer = httpx.post(f"{server.scanner_url}/{market}/scan", json=query)
        assert answer.status_code == 200, answer.text
        rows = answer.json()["data"]
        return [(row["s"], dict(zip(columns, row["d"], strict=True))) for row in rows]

    return ask


def kept(scan, left, operation, right, **query):
    filters = [{"left": left, "operation": operation, "right": right}]
    return scan(filter=filters, columns=[left], **query)


def test_every_column_has_a_value_of_its_kind_for_every_pair(scan):
    texts = {"name", "exchange", "type", "subtype", "description", "currency", "base_currency"}
    rows = scan(columns=list(COLUMNS))
    assert len(rows) == sum(each.exchange == "BINANCE" for each in standard_listing())
    for symbol, row in rows:
        assert symbol == f"{row['exchange']}:{row['name']}"
        assert {name for name, value in row.items() if isinstance(value, str)} == texts
        assert all(isinstance(value, (str, int, float)) for value in row.values())
        assert row["low"] <= min(row["open"], row["close"])
        assert row["high"] >= max(row["open"], row["close"])
        assert all(0 <= row[name] <= 100 for name in ("RSI", "ADX", "RSI|60"))
        assert all(-1 <= row[name] <= 1 for name in ("Recommend.All", "Recommend.All|1W"))
        assert row["Recommend.All"] == pytest.approx(
            (row["Recommend.MA"] + row["Recommend.Other"]) / 2
        )


def test_the_close_is_the_price_of_the_bars(scan, server):
    for symbol, row in scan(columns=["close", "close|240", "Perf.W"])[:10]:
        bar = server.market.bars(symbol, "1m", LATEST - 60_000_000, LATEST)
        assert row["close"] == row["close|240"] == bar["close"][0]
        week = server.market.bars(symbol, "1m", LATEST - 7 * 86_400_000_000, LATEST)
        change = 100 * (row["close"] / week["open"][0] - 1)
        assert row["Perf.W"] == pytest.approx(change, abs=1e-4)


def test_the_average_is_that_of_the_last_closes(scan, server):
    [(symbol, row)] = scan(columns=["SMA50"], symbols={"tickers": ["BINANCE:BTCUSDT"]})
    days = server.market.bars(symbol, "1d", LATEST - 50 * 86_400_000_000, LATEST)
    assert row["SMA50"] == pytest.approx(days["close"][-50:].mean(), rel=1e-4)


def test_fx_has_no_volume_and_no_market_cap(scan):
    rows = scan("forex", columns=["volume", "market_cap_calc", "Value.Traded", "ADX", "type"])
    assert {symbol.partition(":")[0] for symbol, _ in rows} == {"FXCM"}
    for _, row in rows:
        assert (row["volume"], row["market_cap_calc"], row["Value.Traded"]) == (None, None, None)
        assert row["type"] == "forex"
        assert row["ADX"] > 0


@pytest.mark.parametrize(
    ("operation", "right", "holds"),
    [
        ("greater", 50, lambda value: value > 50),
        ("egreater", 50, lambda value: value >= 50),
        ("less", 50, lambda value: value < 50),
        ("eless", 50, lambda value: value <= 50),
        ("in_range", [40, 60], lambda value: 40 <= value <= 60),
        ("not_in_range", [40, 60], lambda value: not 40 <= value <= 60),
    ],
)
def test_a_filter_keeps_what_holds(scan, operation, right, holds):
    every = scan(columns=["RSI"])
    expected = [row for row in every if holds(row[1]["RSI"])]
    assert 0 < len(expected) < len(every)
    assert kept(scan, "RSI", operation, right) == expected


def test_texts_are_equal_in_a_list_or_part_of_another(scan):
    assert [row["name"] for _, row in kept(scan, "name", "equal", "BTCUSDT")] == ["BTCUSDT"]
    assert "BTCUSDT" not in {row["name"] for _, row in kept(scan, "name", "nequal", "BTCUSDT")}
    two = kept(scan, "name", "in_range", ["BTCUSDT", "ETHUSDT", "NIX"])
    assert {row["name"] for _, row in two} == {"BTCUSDT", "ETHUSDT"}
    rest = kept(scan, "currency", "not_in_range", ["USDT", "USDC"])
    assert {row["currency"] for _, row in rest} == {"FDUSD", "BTC", "ETH"}
    found = {row["description"] for _, row in kept(scan, "description", "match", "coin")}
    assert {"Bitcoin / TetherUS", "USD Coin / TetherUS"} <= found
    assert not any("Ethereum" in each for each in found)


def test_a_column_is_compared_with_another(scan):
    rows = scan(
        filter=[{"left": "close", "operation": "greater", "right": "SMA50"}],
        columns=["close", "SMA50"],
    )
    every = scan(columns=["close", "SMA50"])
    assert rows == [row for row in every if row[1]["close"] > row[1]["SMA50"]]
    assert 0 < len(rows) < len(every)


def test_filters_hold_together(scan):
    rows = scan(
        filter=[
            {"left": "exchange", "operation": "in_range", "right": ["BINANCE"]},
            {"left": "Value.Traded", "operation": "greater", "right": 5_000_000},
            {"left": "base_currency", "operation": "equal", "right": "BTC"},
        ],
    )
    assert {row["name"] for _, row in rows} == {"BTCUSDT", "BTCUSDC", "BTCFDUSD"}


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_rows_are_sorted_and_nulls_come_last(scan, order):
    rows = scan(
        "global",
        markets=["crypto", "forex"],
        columns=["Value.Traded"],
        sort={"sortBy": "Value.Traded", "sortOrder": order},
    )
    values = [row["Value.Traded"] for _, row in rows]
    known = [value for value in values if value is not None]
    assert known == sorted(known, reverse=order == "desc")
    assert values == known + [None] * 9


def test_a_range_is_a_page_and_the_count_is_of_all(server):
    def page(first, last):
        query = {"range": [first, last], "sort": {"sortBy": "name", "sortOrder": "asc"}}
        return httpx.post(f"{server.scanner_url}/crypto/scan", json=query).json()

    whole = page(0, 1000)
    parts = page(0, 7)["data"] + page(7, 1000)["data"]
    assert parts == whole["data"]
    assert page(0, 7)["totalCount"] == whole["totalCount"] == len(parts)
    assert page(500, 600)["data"] == []


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ({"columns": ["name", "nix"]}, 'Unknown field "nix"'),
        ({"columns": ["RSI|7"]}, 'Unknown field "RSI|7"'),
        ({"filter": [{"left": "nix", "operation": "less", "right": 1}]}, 'Unknown field "nix"'),
        ({"filter": [{"left": "RSI", "operation": "under", "right": 1}]}, "Unknown operation"),
        ({"filter": [{"left": "RSI", "operation": "less", "right": "x"}]}, "Cannot compare"),
        ({"filter": [{"left": "RSI", "operation": "in_range", "right": 3}]}, "wants a list"),
        ({"filter": ["RSI"]}, "Wrong filter"),
        ({"sort": {"sortBy": "RSI", "sortOrder": "up"}}, "Unknown sort order"),
        ({"range": [0]}, "Wrong range"),
        ({"columns": "name"}, "Wrong type"),
        ([], "not an object"),
    ],
)
def test_what_the_scanner_does_not_understand_is_a_400_with_a_reason(server, query, told):
    answer = httpx.post(f"{server.scanner_url}/crypto/scan", json=query)
    assert answer.status_code == 400
    assert told in answer.json()["error"]
    assert answer.json()["data"] is None


def test_a_body_that_is_no_json_and_a_market_that_is_none_are_refused(server):
    assert httpx.post(f"{server.scanner_url}/crypto/scan", content=b"{").status_code == 400
    assert httpx.post(f"{server.scanner_url}/moon/scan", json={}).status_code == 404
    assert httpx.get(f"{server.scanner_url}/crypto/scan").status_code == 404


def test_values_are_the_same_within_a_minute_and_move_with_the_next():
    moment = [NOW]
    with MarketServer(Market(7, now=lambda: moment[0])) as server, httpx.Client() as client:

        def ask():
            query = {"columns": ["close"], "range": [0, 20]}
            return client.post(f"{server.scanner_url}/crypto/scan", json=query).json()["data"]

        first = ask()
        moment[0] += timedelta(seconds=40)
        assert ask() == first
        moment[0] += timedelta(seconds=20)
        assert ask() != first


def test_two_thousand_symbols_are_scanned():
    listing = standard_listing(synthetic=2_000, known=False)
    with MarketServer(Market(7, now=lambda: NOW, listing=listing)) as server:
        query = {"columns": ["close", "RSI"], "range": [0, 3000]}
        answer = httpx.post(f"{server.scanner_url}/crypto/scan", json=query, timeout=60).json()
    assert answer["totalCount"] == len(answer["data"]) == 2_000
