"""Bars that did not come: when they are asked for again, and what is said of them."""

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

import orjson
import pytest
from _market import SYMBOLS, market_setting, point_at, write_candidates

from quant_sdk.lakehouse.timeframe import to_micros
from quant_sdk.market.server import MarketServer
from quant_sdk.market.wire import answer_json

ADA = "BINANCE:ADAUSDT"
MINUTE_MS = 60_000


class OddServer(MarketServer):
    """Its answers are changed by `odd`: a function of path, query and document."""

    odd = staticmethod(lambda _path, _query, document: document)

    def answer(self, method, target, body):
        answer, strike = super().answer(method, target, body)
        url = urlsplit(target)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        document = self.odd(url.path, query, orjson.loads(answer.body))
        return (document if hasattr(document, "status") else answer_json(document)), strike


@pytest.fixture
def setting(tmp_path):
    with market_setting(tmp_path) as found, OddServer(found.market) as server:
        point_at(found.runner.root, server.url)
        found.server = server
        yield found


def run(setting, stage: str = "data.ingest", **params):
    record = setting.runner.run(stage, candidates="data/candidates.json", **params)
    assert record.state == "succeeded", record.error
    return record.result


def asked(setting) -> int:
    return setting.server.requests["/api/v3/klines"]


def gaps(setting, symbol: str) -> list[tuple[int, str]]:
    found = {item.symbol: item for item in setting.runner.sdk.lakehouse.coverage()}
    return [(gap.missing, gap.cause) for gap in found[symbol].gaps]


def without_ada(path, _query, document):
    if path.endswith("exchangeInfo"):
        listed = [item for item in document["symbols"] if item["symbol"] != "ADAUSDT"]
        return {**document, "symbols": listed}
    return document


@pytest.mark.parametrize("stage", ["data.ingest", "data.repair"])
def test_a_symbol_that_gets_listed_comes_with_all_its_history_an_hour_later(setting, stage):
    write_candidates(setting.runner.root, [SYMBOLS[0], ADA], days=400, timeframe="1d")
    setting.server.odd = without_ada
    assert run(setting)["holes"] == {"unknown_symbol": 400}
    setting.server.odd = OddServer.odd
    before = asked(setting)
    setting.clock.advance(600)
    assert run(setting, stage)["rows"]["bars"] == 0
    assert asked(setting) == before
    setting.clock.advance(3000)
    assert run(setting, stage)["rows"]["bars"] == 400
    assert gaps(setting, ADA) == []


def test_a_range_that_failed_inside_a_series_is_brought_by_the_next_ingest(setting):
    write_candidates(setting.runner.root, [ADA], days=120)
    first = to_micros(datetime(2025, 12, 1, tzinfo=UTC)) // 1000

    def away(path, query, document):
        if path.endswith("klines") and int(query["startTime"]) // 1000 * 1000 > first:
            return answer_json({"code": -1001}, 503)
        return document

    whole = run(setting, depth_days=10)
    assert whole["rows"]["bars"] == 240
    setting.server.odd = away
    assert run(setting)["holes"] == {"fetch_failed": 640}
    assert gaps(setting, ADA) == [(640, "fetch_failed")]
    setting.server.odd = OddServer.odd
    healed = run(setting)
    assert (healed["rows"]["bars"], healed["health_check"]) == (640, "passed")
    assert gaps(setting, ADA) == []
    before = asked(setting)
    assert run(setting)["shards"] == 0
    assert asked(setting) == before


def test_bars_that_stand_off_the_grid_leave_holes_with_their_cause(setting):
    write_candidates(setting.runner.root, [ADA])

    def shifted(path, _query, document):
        if path.endswith("klines"):
            return [[row[0] + MINUTE_MS, *row[1:]] for row in document]
        return document

    setting.server.odd = shifted
    result = run(setting)
    assert (result["rows"]["quarantined"], result["holes"]) == (240, {"quarantined": 240})
    assert gaps(setting, ADA) == [(240, "quarantined")]
    before = asked(setting)
    for stage in ("data.ingest", "data.repair"):
        again = run(setting, stage)
        assert (again["shards"], again["health_check"]) == (0, "degraded")
    assert run(setting, "data.verify")["health_check"] == "degraded"
    assert asked(setting) == before


def test_a_stray_bar_beside_a_good_one_is_refused_and_leaves_no_hole(setting):
    write_candidates(setting.runner.root, [ADA])

    def doubled(path, _query, document):
        if path.endswith("klines"):
            strays = [[row[0] + MINUTE_MS, *row[1:]] for row in document]
            return sorted([*document, *strays])
        return document

    setting.server.odd = doubled
    result = run(setting)
    assert (result["rows"]["bars"], result["rows"]["quarantined"]) == (240, 240)
    assert result["holes"] == {}
    assert gaps(setting, ADA) == []
