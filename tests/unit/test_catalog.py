from __future__ import annotations

from datetime import UTC, datetime, timedelta
from multiprocessing import get_context

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_registry.errors import InvalidIdentifier, InvalidInput, OwnershipLost
from quant_registry.run import Commit
from quant_sdk.lakehouse.catalog import (
    EXCHANGE_VERSIONS,
    EXECUTION_VERSIONS,
    SYMBOL_VERSIONS,
    Catalog,
    changed_history,
    diff,
    symbols_at,
    vanished,
)
from quant_sdk.lakehouse.specs import SYMBOLS

START = datetime(2024, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def commit(epoch: int = 1) -> Commit:
    return Commit(batch_id="b", run_id="r", stage_id="t.stage", epoch=epoch, lock_id="l")


def facts(*rows: dict, source: str = "ccxt:x") -> pl.DataFrame:
    exchange = [row["symbol"].partition(":")[0] for row in rows]
    frame = pl.DataFrame(list(rows), infer_schema_length=None)
    return frame.with_columns(pl.Series("exchange", exchange), source=pl.lit(source))


def symbol(name: str, **attributes) -> dict:
    return {"symbol": name, "base": "ADA", "active": True} | attributes


@pytest.fixture
def catalog(tmp_path) -> Catalog:
    return Catalog(tmp_path / "lakehouse", tmp_path / "locks")


@pytest.fixture
def record(catalog):
    def written(rows: pl.DataFrame, day: int = 0, of=SYMBOL_VERSIONS):
        return catalog.record(of, rows, commit(), START + day * DAY)

    return written


def history(catalog, of=SYMBOL_VERSIONS) -> list[dict]:
    return catalog.table(of).scan().sort(of.key, "valid_from").collect().to_dicts()


def test_the_first_facts_open_a_version_that_is_current(record, catalog):
    done = record(facts(symbol("X:ADABTC", quote="BTC")))
    (row,) = history(catalog)
    assert (done.opened, done.closed) == (1, 0)
    assert (row["quote"], row["valid_from"], row["valid_until"]) == ("BTC", START, None)


def test_the_same_facts_make_no_version_of_anything(record, catalog):
    record(facts(symbol("X:ADABTC")))
    before = catalog.table(SYMBOL_VERSIONS).version()
    assert record(facts(symbol("X:ADABTC")), day=1).version == -1
    assert record(facts(symbol("X:ADABTC"), source="another"), day=2).opened == 0
    assert catalog.table(SYMBOL_VERSIONS).version() == before


def test_a_changed_fact_closes_a_version_where_the_next_begins(record, catalog):
    record(facts(symbol("X:ADABTC"), symbol("X:ETHBTC", base="ETH")))
    done = record(facts(symbol("X:ADABTC", description="Cardano")), day=3)
    first, second, other = history(catalog)
    assert (done.opened, done.closed) == (1, 1)
    assert first["valid_until"] == second["valid_from"] == START + 3 * DAY
    assert (first["description"], second["description"]) == (None, "Cardano")
    assert (second["valid_until"], other["symbol"], other["valid_until"]) == (
        None,
        "X:ETHBTC",
        None,
    )


def test_a_fact_that_is_not_told_goes_on_as_it_stood(record, catalog):
    record(facts(symbol("X:ADABTC", description="Cardano", active=False)))
    assert record(facts({"symbol": "X:ADABTC", "description": None}), day=1).opened == 0
    assert record(facts({"symbol": "X:ADABTC"}), day=1).opened == 0
    assert len(history(catalog)) == 1


def test_what_was_known_at_an_instant_is_read_back(record, catalog):
    record(facts(symbol("X:ADABTC", description="one")))
    record(facts(symbol("X:ADABTC", description="two")), day=2)
    table = catalog.table(SYMBOL_VERSIONS)

    def told(at):
        return symbols_at(table, at)["description"].to_list()

    assert told(START - DAY) == []
    assert told(START) == told(START + 2 * DAY - timedelta(microseconds=1)) == ["one"]
    assert told(START + 2 * DAY) == told(None) == ["two"]


def test_a_symbol_that_its_venue_no_longer_lists_is_inactive_and_never_deleted(record, catalog):
    record(facts(symbol("X:ADABTC"), symbol("X:GONE"), symbol("Y:ELSE")))
    gone = vanished(catalog.current(SYMBOL_VERSIONS), ["X:ADABTC"], ["X"])
    assert gone.select("symbol", "active").rows() == [("X:GONE", False)]
    record(gone, day=1)
    assert [row["active"] for row in history(catalog) if row["symbol"] == "X:GONE"] == [True, False]
    assert vanished(catalog.current(SYMBOL_VERSIONS), ["X:ADABTC"], ["X"]).height == 0
    record(facts(symbol("X:GONE")), day=2)
    current = symbols_at(catalog.table(SYMBOL_VERSIONS))
    assert current["active"].all()


def test_a_clock_set_back_never_makes_versions_overlap(record, catalog):
    record(facts(symbol("X:ADABTC", description="one")), day=5)
    record(facts(symbol("X:ADABTC", description="two")), day=1)
    first, second = history(catalog)
    assert (
        first["valid_until"]
        == second["valid_from"]
        == first["valid_from"] + timedelta(microseconds=1)
    )


def test_execution_of_a_symbol_nobody_knows_is_refused_by_name(record, catalog):
    record(facts(symbol("X:ADABTC")))
    steps = facts(
        {"symbol": "X:ADABTC", "tick_size": 0.1}, {"symbol": "X:NOBODY", "tick_size": 0.2}
    )
    done = record(steps, of=EXECUTION_VERSIONS)
    assert (done.opened, done.refused) == (1, ("X:NOBODY",))
    assert [row["symbol"] for row in history(catalog, EXECUTION_VERSIONS)] == ["X:ADABTC"]


def test_a_number_that_is_none_says_nothing(record, catalog):
    record(facts(symbol("X:ADABTC")))
    record(facts({"symbol": "X:ADABTC", "tick_size": 0.1}), of=EXECUTION_VERSIONS)
    again = facts({"symbol": "X:ADABTC", "tick_size": float("nan"), "lot_step": None})
    assert record(again, day=1, of=EXECUTION_VERSIONS).opened == 0


def test_an_exchange_has_versions_too(record, catalog):
    def venue(rate):
        row = {"venue": "X", "timeframes": "1h,1d", "max_requests_per_second": rate, "source": "s"}
        return pl.DataFrame([row])

    record(venue(10.0), of=EXCHANGE_VERSIONS)
    record(venue(10.0), day=1, of=EXCHANGE_VERSIONS)
    record(venue(20.0), day=2, of=EXCHANGE_VERSIONS)
    told = [row["max_requests_per_second"] for row in history(catalog, EXCHANGE_VERSIONS)]
    assert told == [10.0, 20.0]


def test_two_facts_about_one_symbol_are_refused(record):
    with pytest.raises(InvalidInput, match="several facts about X:ADABTC"):
        record(facts(symbol("X:ADABTC"), symbol("X:ADABTC", description="twice")))


def test_an_exchange_that_is_no_name_reaches_no_table(record, catalog):
    rows = pl.DataFrame([{"venue": "X' OR 1=1", "name": "n", "source": "s"}])
    with pytest.raises(InvalidIdentifier):
        record(rows, of=EXCHANGE_VERSIONS)
    assert not catalog.table(EXCHANGE_VERSIONS).exists()


def test_a_lower_epoch_may_not_write(catalog):
    catalog.record(SYMBOL_VERSIONS, facts(symbol("X:ADABTC")), commit(epoch=2), START)
    with pytest.raises(OwnershipLost):
        catalog.record(SYMBOL_VERSIONS, facts(symbol("X:ETHBTC")), commit(epoch=1), START)


def _record_rounds(folder, worker: int) -> None:
    catalog = Catalog(folder / "lakehouse", folder / "locks")
    for number in range(5):
        rows = facts(*(symbol(f"X:S{place}", description=f"{number}") for place in range(4)))
        catalog.record(SYMBOL_VERSIONS, rows, commit(), START + (worker * 5 + number) * DAY)


def test_processes_that_write_at_once_leave_one_current_version_each(tmp_path):
    context = get_context("spawn")
    workers = [context.Process(target=_record_rounds, args=(tmp_path, n)) for n in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
        assert worker.exitcode == 0
    versions = Catalog(tmp_path / "lakehouse", tmp_path / "locks").table(SYMBOL_VERSIONS)
    assert_sound(versions.scan().collect())


def assert_sound(versions: pl.DataFrame) -> None:
    """Check that no versions of a symbol overlap or leave a hole, and that one is current."""
    for _, rows in versions.sort("valid_from").group_by("symbol"):
        begins, ends = rows["valid_from"].to_list(), rows["valid_until"].to_list()
        assert ends[:-1] == begins[1:]
        assert ends[-1] is None
        assert all(begin < end for begin, end in zip(begins, ends[:-1], strict=False))


EVENTS = st.lists(
    st.tuples(
        st.integers(0, 6),
        st.dictionaries(
            st.sampled_from(["X:A", "X:B", "Y:C"]),
            st.tuples(st.sampled_from([None, "one", "two"]), st.sampled_from([None, True, False])),
            min_size=1,
        ),
    ),
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(events=EVENTS)
def test_whatever_comes_versions_never_overlap_and_say_what_was_told(events):
    versions = SYMBOLS.empty
    told: dict[str, dict] = {}
    for day, batch in events:
        rows = facts(
            *(
                {"symbol": name, "description": text, "active": active}
                for name, (text, active) in batch.items()
            )
        )
        current = versions.filter(pl.col("valid_until").is_null())
        changes = diff(SYMBOL_VERSIONS, current, rows, START + day * DAY)
        versions = changed_history(SYMBOL_VERSIONS, versions, changes)
        for name, (text, active) in batch.items():
            known = told.setdefault(name, {"description": None, "active": None})
            known["description"] = text if text is not None else known["description"]
            known["active"] = active if active is not None else known["active"]
        assert_sound(versions)
        again = diff(
            SYMBOL_VERSIONS,
            versions.filter(pl.col("valid_until").is_null()),
            rows,
            START + (day + 1) * DAY,
        )
        assert again.opened.height == again.closed.height == 0
    current = versions.filter(pl.col("valid_until").is_null())
    assert {
        row["symbol"]: {"description": row["description"], "active": row["active"]}
        for row in current.to_dicts()
    } == told


@settings(max_examples=40, deadline=None)
@given(days=st.lists(st.sampled_from(["one", "two", "three"]), min_size=1, max_size=8))
def test_a_history_replays_to_the_facts_of_each_day(days):
    versions = SYMBOLS.empty
    for day, text in enumerate(days):
        current = versions.filter(pl.col("valid_until").is_null())
        rows = facts({"symbol": "X:A", "description": text})
        changes = diff(SYMBOL_VERSIONS, current, rows, START + day * DAY)
        versions = changed_history(SYMBOL_VERSIONS, versions, changes)
    for day, text in enumerate(days):
        at = pl.lit(START + day * DAY)
        valid = versions.filter(
            pl.col("valid_from") <= at,
            pl.col("valid_until").is_null() | (at < pl.col("valid_until")),
        )
        assert valid["description"].to_list() == [text]
