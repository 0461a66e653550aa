from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_registry.errors import InvalidInput
from quant_registry.run import Commit
from quant_sdk.features import FeatureStore, read, rows_of, scanner_columns
from quant_sdk.lakehouse.specs import FEATURES, SYMBOLS
from quant_sdk.lakehouse.table import Table
from quant_sdk.market.listing import standard_listing
from quant_sdk.market.market import Market
from quant_sdk.market.scanner import Scanner
from quant_sdk.market.technicals import SUFFIXES as MARKET_SUFFIXES
from quant_sdk.sources.scanner.client import ScannerClient
from quant_sdk.sources.scanner.query import ScanRequest

AT = datetime(2026, 2, 3, 10, 17, 30, tzinfo=UTC)


def commit() -> Commit:
    return Commit(batch_id="b", run_id="r", stage_id="t.stage", epoch=1, lock_id="l")


def answer(**columns) -> pl.DataFrame:
    return pl.DataFrame({"symbol": ["X:ADABTC", "X:ETHBTC"]} | columns)


def test_each_timeframe_is_asked_for_in_the_scanners_words():
    hourly, daily = scanner_columns(["1h"]), scanner_columns(["1d"])
    assert "RSI|60" in hourly
    assert "Recommend.All|60" in hourly
    assert not any(name.startswith(("Perf", "Volatility")) for name in hourly)
    assert {"RSI", "Perf.W", "Volatility.D"} <= set(daily)
    assert scanner_columns(["1h", "1d"]) == hourly + daily
    with pytest.raises(InvalidInput, match="7h"):
        scanner_columns(["7h"])


def test_every_column_that_is_asked_for_is_one_of_the_scanners(monkeypatch):
    market = Scanner(Market(now=lambda: AT))
    monkeypatch.setattr(
        ScannerClient,
        "extract",
        lambda _, name, body: _loads(market.answer(f"/{name}/scan", _dumps(body))),
    )
    timeframes = ["1m", "5m", "15m", "30m", "1h", "2h", "4h", "1d", "1w", "1M"]
    assert set(timeframes) == set(MARKET_SUFFIXES.values())
    with ScannerClient("http://127.0.0.1:1", id="embedded:scanner") as client:
        request = ScanRequest(market="crypto", columns=scanner_columns(timeframes))
        rows = rows_of(client.scan(request), timeframes, at=AT, source=client.id)
    listed = {each.symbol for each in standard_listing() if each.kind == "crypto"}
    assert rows.height == len(listed) * len(timeframes)
    told = rows.filter(pl.col("symbol") == "BINANCE:BTCUSDT")
    assert told["rsi_14"].is_between(0, 100).all()
    assert told["recommend_all"].is_between(-1, 1).all()
    assert told["sma_200"].null_count() == 0
    assert told["perf_week"].null_count() == len(timeframes) - 1


def _dumps(body):
    import orjson

    return orjson.dumps(body)


def _loads(answer):
    import orjson

    assert answer.status == 200, answer.body
    return orjson.loads(answer.body)


def test_a_row_belongs_to_the_bar_that_is_open_and_is_known_when_the_scanner_was_asked():
    found = rows_of(
        answer(**{"RSI|60": [40.0, 50.0], "RSI": [60.0, 70.0], "RSI|1M": [1.0, 2.0]}),
        ["1h", "1d", "1M"],
        at=AT,
        source="s",
    )
    first = found.filter(pl.col("symbol") == "X:ADABTC")
    assert first.select("timeframe", "ts", "bucket", "rsi_14").rows() == [
        ("1h", datetime(2026, 2, 3, 10, tzinfo=UTC), "2026-02", 40.0),
        ("1d", datetime(2026, 2, 3, tzinfo=UTC), "2026", 60.0),
        ("1M", datetime(2026, 2, 1, tzinfo=UTC), "2026", 1.0),
    ]
    assert found["known_at"].unique().to_list() == [AT]
    assert found["inputs"].null_count() == found.height
    assert found.schema == pl.Schema(FEATURES.columns)


def test_percent_becomes_a_fraction_and_what_is_no_number_is_null_and_not_zero():
    found = rows_of(
        answer(
            **{
                "Perf.W": [12.5, None],
                "RSI": [float("nan"), 30.0],
                "ADX": ["12.5", "none"],
                "ATR": [float("inf"), 0.0],
            }
        ),
        ["1d"],
        at=AT,
        source="s",
    )
    assert found.select("perf_week", "rsi_14", "adx_14", "atr_14").rows() == [
        (0.125, None, 12.5, None),
        (None, 30.0, None, 0.0),
    ]
    assert found["macd"].null_count() == 2


def test_a_symbol_of_which_nothing_is_known_has_no_row():
    found = rows_of(answer(**{"RSI|60": [None, 50.0]}), ["1h"], at=AT, source="s")
    assert found["symbol"].to_list() == ["X:ETHBTC"]
    assert rows_of(answer(), ["1h", "1d"], at=AT, source="s").equals(FEATURES.empty)


def test_a_naive_instant_is_refused():
    with pytest.raises(InvalidInput, match="naive"):
        rows_of(answer(), ["1h"], at=datetime(2026, 2, 3), source="s")  # noqa: DTZ001


@pytest.fixture
def house(tmp_path):
    path = tmp_path / "lakehouse"
    rows = [
        {"symbol": name, "exchange": "X", "source": "t", "valid_from": AT}
        for name in ("X:ADABTC", "X:ETHBTC")
    ]
    Table(path, SYMBOLS).append(pl.DataFrame(rows, schema=SYMBOLS.columns), commit(), {})
    return path


def put(house, rsi: float, at: datetime, source: str = "s"):
    store = FeatureStore(house, house.parent / "locks")
    return store.put(rows_of(answer(RSI=[rsi, 50.0]), ["1d"], at=at, source=source), commit())


def told(house, **wanted) -> list[float]:
    return read(house, timeframe="1d", symbol="X:ADABTC", **wanted)["rsi_14"].to_list()


def test_a_later_scan_of_the_same_bar_takes_its_place_and_an_equal_one_changes_nothing(house):
    assert put(house, 40.0, AT).added == 2
    before = Table(house, FEATURES).version()
    same = put(house, 40.0, AT + timedelta(hours=1))
    assert (same.unchanged, same.version) == (2, -1)
    assert Table(house, FEATURES).version() == before
    later = put(house, 41.0, AT + timedelta(hours=2))
    assert (later.added, later.replaced, later.unchanged) == (0, 1, 1)
    assert told(house) == [41.0]
    assert told(house, known_by=AT + timedelta(hours=1)) == []
    assert put(house, 44.0, AT + timedelta(hours=1)).version == -1
    assert told(house) == [41.0]


def test_another_day_and_another_source_have_rows_of_their_own(house):
    put(house, 40.0, AT)
    put(house, 42.0, AT + timedelta(days=1))
    put(house, 90.0, AT, source="other")
    assert told(house, source="s") == [40.0, 42.0]
    assert told(house, source="other") == [90.0]
    put(house, 41.0, AT + timedelta(hours=1))
    assert told(house) == [90.0, 41.0, 42.0]


def test_rows_of_a_symbol_nobody_knows_are_refused_by_name(house):
    rows = rows_of(answer(RSI=[1.0, 2.0]), ["1d"], at=AT, source="s")
    strange = rows.with_columns(symbol=pl.col("symbol").str.replace("X:ETH", "X:NOBODY"))
    done = FeatureStore(house, house.parent / "locks").put(strange, commit())
    assert (done.added, done.refused) == (1, ("X:NOBODYBTC",))


@settings(max_examples=10, deadline=None)
@given(
    scans=st.lists(
        st.tuples(st.integers(0, 60), st.sampled_from([10.0, 20.0, 30.0])), min_size=1, max_size=6
    )
)
def test_after_any_scans_a_bar_has_one_row_and_it_is_the_newest_that_differed(
    scans, tmp_path_factory
):
    house = tmp_path_factory.mktemp("any") / "lakehouse"
    rows = [{"symbol": "X:ADABTC", "exchange": "X", "source": "t", "valid_from": AT}]
    Table(house, SYMBOLS).append(pl.DataFrame(rows, schema=SYMBOLS.columns), commit(), {})
    newest: dict[datetime, tuple[datetime, float]] = {}
    for hour, rsi in scans:
        at = AT + timedelta(hours=hour)
        day = at.replace(hour=0, minute=0, second=0)
        put(house, rsi, at)
        if day not in newest or (at >= newest[day][0] and rsi != newest[day][1]):
            newest[day] = (at, rsi)
    assert told(house) == [newest[day][1] for day in sorted(newest)]
