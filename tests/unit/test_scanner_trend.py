from __future__ import annotations

import pytest

from quant_sdk.errors import InvalidInput
from quant_sdk.sources.scanner.fields import Fields
from quant_sdk.sources.scanner.trend import at_timeframe, parse_trend


def filters(**keys):
    trend, findings = parse_trend(Fields({"trend": keys}, "a.yaml"))
    assert findings == []
    return [(item.left, item.operation, item.right) for item in trend.filters]


def test_a_trend_asks_for_a_buy_rating_of_daily_bars():
    assert filters() == [("Recommend.All", "egreater", 0.1)]


def test_a_short_trend_turns_the_bounds_round():
    asked = filters(direction="short", timeframe="4h", min_rating=0.3, adx_min=25)
    assert asked == [("Recommend.All|240", "eless", -0.3), ("ADX|240", "egreater", 25.0)]


def test_momentum_bounds_columns_on_the_side_of_the_trend():
    assert filters(momentum={"Perf.1M": 0, "Perf.W": 1.5})[1:] == [
        ("Perf.1M", "greater", 0),
        ("Perf.W", "greater", 1.5),
    ]
    assert filters(momentum={"Perf.1M": 0}, direction="short")[1:] == [("Perf.1M", "less", 0)]


def test_the_longer_spelling_is_read_too():
    asked = filters(
        timeframe="monthly",
        direction="short",
        recommendation={"enabled": True, "min": -0.2},
        adx={"min": 20},
        momentum={"enabled": True, "horizons": {"Perf.3M": 0.0}},
    )
    assert asked == [
        ("Recommend.All|1M", "eless", -0.2),
        ("ADX|1M", "egreater", 20.0),
        ("Perf.3M", "less", 0.0),
    ]
    off = {"enabled": False}
    assert filters(recommendation=off, adx=off | {"min": 3}, momentum=off) == []


def test_no_trend_is_no_filter():
    assert parse_trend(Fields({}, "a.yaml")) == (None, [])


def test_unknown_keys_of_a_trend_are_reported():
    _, findings = parse_trend(Fields({"trend": {"logic": "OR", "adx_mim": 3}}, "a.yaml"))
    assert [item.place for item in findings] == ["a.yaml: trend: logic", "a.yaml: trend: adx_mim"]
    assert "adx_min" in findings[1].fix


@pytest.mark.parametrize(
    "keys",
    [
        {"timeframe": "3h"},
        {"direction": "up"},
        {"min_rating": "high"},
        {"adx_min": float("nan")},
        {"adx": 20},
        {"momentum": {"Perf.1M": "up"}},
        {"recommendation": {"enabled": "yes"}},
    ],
)
def test_an_impossible_trend_is_refused_at_its_place(keys):
    with pytest.raises(InvalidInput, match=r"a\.yaml: trend"):
        filters(**keys)


def test_minutes_and_months_have_other_suffixes():
    assert at_timeframe("RSI", "1m") == "RSI|1"
    assert at_timeframe("RSI", "1M") == "RSI|1M"
    assert at_timeframe("RSI", "1d") == "RSI"
