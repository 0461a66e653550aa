"""Make the synthetic legacy inputs under ``data/demo`` and what a migration must find in them.

Prices are a seeded random walk in whole ticks, made with ``+`` and ``*`` alone, so that every
platform draws the same numbers. ``FLAWS`` says what each planted flaw does to the counts, and
``expected.json`` is summed from it: from what was planted, never by running the product.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import json
import random
from collections import Counter
from dataclasses import KW_ONLY, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SEED = 20240301
NEW_YORK = ZoneInfo("America/New_York")
SECONDS = {"1m": 60, "5m": 300, "15m": 900, "1h": 3600, "1d": 86400}
TORN_AT = 0.6  # the share of its bytes that a torn file keeps
COLUMNS = ("open", "high", "low", "close", "volume")


@dataclass(kw_only=True)
class Row:
    """One row of a legacy file; ``ts`` is the bar's opening time in epoch seconds, UTC."""

    ts: int | None
    open: float
    high: float
    low: float
    close: float
    volume: float


@dataclass(frozen=True, kw_only=True)
class Flaw:
    """What one planted flaw means, and what it does to the counts, per unit.

    ``rows``, ``bars``, ``missing`` and ``identical`` are added to the file's totals;
    ``quarantined`` rows fall to the rule that bears the flaw's name.
    """

    meaning: str
    rows: int = 0
    bars: int = 0
    missing: int = 0
    identical: int = 0
    quarantined: int = 0


FLAWS = {
    "outage": Flaw(meaning="the bars are not in the file", rows=-1, bars=-1, missing=1),
    "identical_duplicate": Flaw(
        meaning="rows repeated at the end of the file, as a re-download leaves them",
        rows=1,
        identical=1,
    ),
    "duplicate_conflict": Flaw(
        meaning="one timestamp, two different closes: both rows are quarantined",
        rows=1,
        bars=-1,
        quarantined=2,
    ),
    "return_spike": Flaw(meaning="close at eight times its value", bars=-1, quarantined=1),
    "ohlc_order": Flaw(meaning="high and low exchanged", bars=-1, quarantined=1),
    "non_positive_price": Flaw(meaning="low is 0", bars=-1, quarantined=1),
    "non_finite": Flaw(meaning="close is NaN", bars=-1, quarantined=1),
    "negative_volume": Flaw(meaning="volume with a minus sign", bars=-1, quarantined=1),
    "off_grid": Flaw(
        meaning="an extra row 37 seconds after the bar's opening time", rows=1, quarantined=1
    ),
    "timestamp_missing": Flaw(meaning="an extra row without a timestamp", rows=1, quarantined=1),
    "volume_spike": Flaw(meaning="volume at forty times its value (a note, no quarantine)"),
    "flat_closes": Flaw(meaning="bars that repeat the close before them (a note, no quarantine)"),
}


@dataclass(frozen=True)
class Planted:
    """A flaw at bar number ``at`` of the series, over ``count`` bars."""

    flaw: str
    _: KW_ONLY
    at: int
    count: int = 1


@dataclass(frozen=True)
class Series:
    """One legacy file: where it stands, what it holds, and what is wrong with it."""

    path: str
    symbol: str
    timeframe: str
    start: datetime
    _: KW_ONLY
    bars: int
    price: float
    decimals: int
    sigma: float
    volume: float
    planted: tuple[Planted, ...] = ()
    fx_hours: bool = False
    torn: bool = False


MARCH = datetime(2024, 3, 1, tzinfo=UTC)

# fmt: off
SERIES = (
    Series("lakehouse_v1/BINANCE_BTCUSDT_1h.parquet", "BINANCE:BTCUSDT", "1h", MARCH, bars=720,
           price=61500, decimals=2, sigma=0.006, volume=900,
           planted=(Planted("outage", at=300, count=6),
                    Planted("identical_duplicate", at=500, count=4))),
    Series("lakehouse_v1/BINANCE_ETHUSDT_1h.parquet", "BINANCE:ETHUSDT", "1h", MARCH, bars=600,
           price=3400, decimals=2, sigma=0.007, volume=6500,
           planted=(Planted("duplicate_conflict", at=210), Planted("off_grid", at=420))),
    Series("lakehouse_v1/BINANCE_SOLUSDT_1d.parquet", "BINANCE:SOLUSDT", "1d",
           datetime(2023, 1, 1, tzinfo=UTC), bars=420,
           price=24, decimals=2, sigma=0.03, volume=2_000_000,
           planted=(Planted("outage", at=75, count=2), Planted("return_spike", at=250))),
    Series("lakehouse_v1/BINANCE_XRPUSDT_1h.parquet", "BINANCE:XRPUSDT", "1h", MARCH, bars=300,
           price=0.59, decimals=4, sigma=0.008, volume=900_000, torn=True),
    Series("lakehouse_v1/COINBASE_ADAUSD_1h.parquet", "COINBASE:ADAUSD", "1h", MARCH, bars=480,
           price=0.66, decimals=4, sigma=0.008, volume=400_000,
           planted=(Planted("ohlc_order", at=90), Planted("non_positive_price", at=333))),
    Series("lakehouse_v1/KRAKEN_DOGEUSD_1h.parquet", "KRAKEN:DOGEUSD", "1h", MARCH, bars=480,
           price=0.12, decimals=5, sigma=0.009, volume=2_500_000,
           planted=(Planted("volume_spike", at=120), Planted("flat_closes", at=260, count=24))),
    Series("pairs/ADA_BTC-5m.feather", "BINANCE:ADABTC", "5m", MARCH, bars=576,
           price=0.0000107, decimals=8, sigma=0.002, volume=60_000,
           planted=(Planted("outage", at=101, count=9), Planted("outage", at=400))),
    Series("pairs/DASH_BTC-5m.json.gz", "BINANCE:DASHBTC", "5m", MARCH, bars=576,
           price=0.000498, decimals=6, sigma=0.002, volume=80,
           planted=(Planted("negative_volume", at=48), Planted("outage", at=230, count=3),
                    Planted("identical_duplicate", at=560))),
    Series("pairs/ETH_BTC-5m.feather", "BINANCE:ETHBTC", "5m", MARCH, bars=576,
           price=0.0547, decimals=5, sigma=0.001, volume=40),
    Series("pairs/LTC_BTC-5m.parquet", "BINANCE:LTCBTC", "5m", MARCH, bars=576,
           price=0.001312, decimals=6, sigma=0.0015, volume=120,
           planted=(Planted("non_finite", at=144),
                    Planted("identical_duplicate", at=300, count=2))),
    Series("csv/eurusd-m1-2024.csv.gz", "FXCM:EURUSD", "1m",
           datetime(2024, 3, 8, 15, tzinfo=UTC), bars=800,
           price=1.0942, decimals=5, sigma=0.00008, volume=0, fx_hours=True,
           planted=(Planted("outage", at=150, count=7), Planted("identical_duplicate", at=640))),
    Series("csv/okx-solbtc-m15.csv", "OKX:SOLBTC", "15m", MARCH, bars=480,
           price=0.002043, decimals=6, sigma=0.003, volume=300,
           planted=(Planted("timestamp_missing", at=96), Planted("outage", at=350, count=4))),
)
# fmt: on


# -- the walk ---------------------------------------------------------------------------------


def normal(draw: random.Random) -> float:
    """Return a nearly normal number from twelve uniform ones: no libm, so no last-bit surprises."""
    return sum(draw.random() for _ in range(12)) - 6.0


def fx_open(ts: int) -> bool:
    """Tell whether FX trades at ``ts``: closed Friday 17:00 to Sunday 17:00 in New York."""
    local = datetime.fromtimestamp(ts, NEW_YORK)
    week_hour = local.weekday() * 24 + local.hour
    return not 4 * 24 + 17 <= week_hour < 6 * 24 + 17


def grid(series: Series) -> Iterator[int]:
    """Yield the opening times of the series' bars, epoch seconds, with its market's hours."""
    ts, left = int(series.start.timestamp()), series.bars
    while left:
        if not series.fx_hours or fx_open(ts):
            yield ts
            left -= 1
        ts += SECONDS[series.timeframe]


def walk(series: Series) -> list[Row]:
    """Return the series without its flaws, each price a whole number of ticks."""
    draw = random.Random(f"{SEED}:{series.path}")  # noqa: S311  a walk, no secret
    scale = 10**series.decimals
    rows, price = [], series.price
    last = round(price * scale)
    for ts in grid(series):
        price *= 1 + series.sigma * normal(draw)
        first, last = last, max(2, round(price * scale))
        reach = price * scale * series.sigma / 2
        high = max(first, last) + round(reach * draw.random())
        low = max(1, min(first, last) - round(reach * draw.random()))
        ticks = (first / scale, high / scale, low / scale, last / scale)
        volume = round(series.volume * (0.25 + draw.random() + draw.random()), 3)
        rows.append(Row(ts=ts, **dict(zip(COLUMNS, (*ticks, volume), strict=True))))
    return rows


# -- the flaws --------------------------------------------------------------------------------


def _twist(row: Row, flaw: str, *, decimals: int) -> None:
    """Spoil one bar in place, by exactly one rule."""
    tick = 10**-decimals
    match flaw:
        case "return_spike":
            row.close = round(row.close * 8, decimals)
            row.high = max(row.high, row.close)
        case "ohlc_order":
            row.high, row.low = row.low, round(row.high + tick, decimals)
        case "non_positive_price":
            row.low = 0.0
        case "non_finite":
            row.close = float("nan")
        case "negative_volume":
            row.volume = -row.volume
        case "volume_spike":
            row.volume = round(row.volume * 40, 3)


def _flatten(rows: list[Row], planted: Planted) -> None:
    close = rows[planted.at - 1].close
    for row in rows[planted.at : planted.at + planted.count]:
        row.open = row.high = row.low = row.close = close


def _extra(row: Row, flaw: str, *, decimals: int) -> Row:
    """Return the row that is inserted behind ``row``."""
    if row.ts is None:
        raise ValueError("an extra row is made from a bar with a timestamp")
    if flaw == "duplicate_conflict":
        row.high = round(row.high + 3 * 10**-decimals, decimals)
        return replace(row, close=row.low if row.close != row.low else row.high)
    return replace(row, ts=row.ts + 37 if flaw == "off_grid" else None)


def plant(series: Series) -> list[Row]:
    """Return the rows of the file, flaws and all, in the file's order."""
    rows = walk(series)
    before: list[Row] = list(rows)
    dropped: set[int] = set()
    extras: dict[int, Row] = {}
    appended: list[Row] = []
    for planted in series.planted:
        reach = range(planted.at, planted.at + planted.count)
        match planted.flaw:
            case "outage":
                dropped.update(reach)
            case "identical_duplicate":
                appended += [before[at] for at in reach]
            case "flat_closes":
                _flatten(rows, planted)
            case "duplicate_conflict" | "off_grid" | "timestamp_missing":
                extras[planted.at] = _extra(
                    rows[planted.at], planted.flaw, decimals=series.decimals
                )
            case flaw:
                _twist(rows[planted.at], flaw, decimals=series.decimals)
    out: list[Row] = []
    for at, row in enumerate(rows):
        out += [] if at in dropped else [row]
        out += [extras[at]] if at in extras else []
    return out + appended


# -- the layouts ------------------------------------------------------------------------------


def _arrays(rows: list[Row]) -> dict[str, pa.Array]:
    return {
        name: pa.array([getattr(row, name) for row in rows], type=pa.float64()) for name in COLUMNS
    }


def _dates(rows: list[Row], unit: str) -> pa.Array:
    per_second = {"ms": 10**3, "ns": 10**9}[unit]
    stamps = [None if row.ts is None else row.ts * per_second for row in rows]
    return pa.array(stamps, type=pa.timestamp(unit, tz="UTC"))


def flat_parquet(series: Series, rows: list[Row]) -> bytes:
    """Write the flat layout: ``timestamp`` in int64 seconds and five float columns."""
    stamps = pa.array([row.ts for row in rows], type=pa.int64())
    table = pa.table({"timestamp": stamps, **_arrays(rows)})
    sink = pa.BufferOutputStream()
    if not series.torn:
        pq.write_table(table, sink, compression="zstd")
        return bytes(sink.getvalue())
    # Plain pages: what is left of a torn file is then the same for every version of the codecs.
    pq.write_table(table, sink, compression="none", use_dictionary=False, write_statistics=False)
    whole = bytes(sink.getvalue())
    return whole[: int(len(whole) * TORN_AT)]


def pair_parquet(_: Series, rows: list[Row]) -> bytes:
    """Write a pair file in Parquet: ``date`` in UTC milliseconds."""
    sink = pa.BufferOutputStream()
    table = pa.table({"date": _dates(rows, "ms"), **_arrays(rows)})
    pq.write_table(table, sink, compression="zstd")
    return bytes(sink.getvalue())


def pair_feather(_: Series, rows: list[Row]) -> bytes:
    """Write a pair file in Feather (the Arrow file format): ``date`` in UTC nanoseconds."""
    table = pa.table({"date": _dates(rows, "ns"), **_arrays(rows)})
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_file(sink, table.schema, options=options) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def _gzip(content: bytes) -> bytes:
    """Compress without a name or a time in the header, so that equal content is equal bytes."""
    sink = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=sink, mtime=0) as packed:
        packed.write(content)
    return sink.getvalue()


def pair_json(_: Series, rows: list[Row]) -> bytes:
    """Write a pair file in JSON: a list of ``[epoch_ms, open, high, low, close, volume]``."""
    records = [
        [None if row.ts is None else row.ts * 1000, *(getattr(row, name) for name in COLUMNS)]
        for row in rows
    ]
    return _gzip(json.dumps(records, separators=(",", ":")).encode())


def _csv(header: tuple[str, ...], records: Iterator[list[str]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(records)
    return text.getvalue().encode()


def _prices(series: Series, row: Row) -> list[str]:
    return [f"{getattr(row, name):.{series.decimals}f}" for name in COLUMNS[:4]]


def fx_csv(series: Series, rows: list[Row]) -> bytes:
    """Write the FX layout: local New York time with its offset, no volume."""
    records = (
        [
            "" if row.ts is None else datetime.fromtimestamp(row.ts, NEW_YORK).isoformat(sep=" "),
            *_prices(series, row),
        ]
        for row in rows
    )
    return _gzip(_csv(("timestamp", *COLUMNS[:4]), records))


def epoch_csv(series: Series, rows: list[Row]) -> bytes:
    """Write a CSV with epochs in milliseconds in a column called ``time``."""
    records = (
        ["" if row.ts is None else str(row.ts * 1000), *_prices(series, row), f"{row.volume:.3f}"]
        for row in rows
    )
    return _csv(("time", *COLUMNS), records)


WRITERS: tuple[tuple[str, str, Callable[[Series, list[Row]], bytes]], ...] = (
    ("lakehouse_v1/", ".parquet", flat_parquet),
    ("pairs/", ".feather", pair_feather),
    ("pairs/", ".parquet", pair_parquet),
    ("pairs/", ".json.gz", pair_json),
    ("csv/", ".csv.gz", fx_csv),
    ("csv/", ".csv", epoch_csv),
)


def encode(series: Series) -> bytes:
    """Return the file's bytes in the layout its path names."""
    for folder, suffix, writer in WRITERS:
        if series.path.startswith(folder) and series.path.endswith(suffix):
            return writer(series, plant(series))
    raise ValueError(f"no writer for {series.path}")


# -- what a migration must find ---------------------------------------------------------------


def expect(series: Series) -> dict[str, object]:
    """Return the counts a migration must report, summed from what was planted."""
    answer: dict[str, object] = {"symbol": series.symbol, "timeframe": series.timeframe}
    if series.torn:
        return {**answer, "torn": True}
    totals: Counter[str] = Counter(rows=series.bars, bars=series.bars)
    quarantined: Counter[str] = Counter()
    for planted in series.planted:
        flaw = FLAWS[planted.flaw]
        for name in ("rows", "bars", "missing", "identical"):
            totals[name] += getattr(flaw, name) * planted.count
        if flaw.quarantined:
            quarantined[planted.flaw] += flaw.quarantined * planted.count
    return {
        **answer,
        "rows": totals["rows"],
        "bars": totals["bars"],
        "quarantined": dict(sorted(quarantined.items())),
        "identical_duplicates": totals["identical"],
        "gaps": sum(planted.flaw == "outage" for planted in series.planted),
        "missing": totals["missing"],
    }


def expected_json() -> bytes:
    """Return ``expected.json``; its keys are paths relative to ``data/``."""
    document = {
        "synthetic": True,
        "generator": "scripts/make_demo.py",
        "seed": SEED,
        "sources": {f"demo/{series.path}": expect(series) for series in SERIES},
    }
    return (json.dumps(document, indent=2) + "\n").encode()


README = """\
# Synthetic demo inputs

**Synthetic: nothing here was ever traded.** The files look like what legacy pipelines leave
behind, in three layouts, with the flaws such files have. Venue and symbol names are there for
their form only; the prices are a seeded random walk. Do not draw conclusions from them.

Regenerate with `python scripts/make_demo.py` (or `make demo`); this page is generated too.

- `lakehouse_v1/`: `{{EXCHANGE}}_{{SYMBOL}}_{{timeframe}}.parquet`, `timestamp` in int64 seconds.
- `pairs/`: `{{BASE}}_{{QUOTE}}-{{timeframe}}` of Binance, as `.feather` and `.parquet` (`date` in
  UTC) and as `.json.gz` (lists that begin with epoch milliseconds).
- `csv/`: EURUSD of FXCM with local New York time and offset, no volume, closed from Friday 17:00
  to Sunday 17:00 (summer time begins in that gap); SOLBTC of OKX with epoch milliseconds in
  the column `time`.

## What is planted where

`at` counts the bars of the flawless series from 0.

| file | flaw | at | bars |
|---|---|---|---|
{planted}

## What the flaws are

A flaw that bears the name of a quarantine rule is caught by that rule and by no other.

| flaw | meaning |
|---|---|
{flaws}
| torn | the file ends after {torn:.0%} of its bytes |

## `expected.json`

What a migration must find, per file: `rows` in the file = `bars` + all `quarantined` +
`identical_duplicates`. `gaps` counts the runs of bars for which the file has no row at all,
`missing` the bars in them; a quarantined row keeps its place on the grid and makes no gap.
"""


def readme() -> bytes:
    """Return the README of the demo folder."""
    planted = [
        f"| `{series.path}` | {item.flaw} | {item.at} | {item.count} |"
        for series in SERIES
        for item in series.planted
    ]
    planted += [f"| `{series.path}` | torn | | |" for series in SERIES if series.torn]
    planted += [
        f"| `{series.path}` | none | | |"
        for series in SERIES
        if not series.torn and not series.planted
    ]
    flaws = [f"| {name} | {flaw.meaning} |" for name, flaw in FLAWS.items()]
    return README.format(planted="\n".join(planted), flaws="\n".join(flaws), torn=TORN_AT).encode()


def files() -> dict[str, bytes]:
    """Return the whole demo folder: content by path."""
    return {
        **{series.path: encode(series) for series in SERIES},
        "expected.json": expected_json(),
        "README.md": readme(),
    }


def main() -> None:
    """Write the demo folder."""
    default = Path(__file__).resolve().parent.parent / "data" / "demo"
    parser = argparse.ArgumentParser(description="Write the synthetic demo inputs.")
    parser.add_argument("--out", type=Path, default=default, help="folder to write into")
    out: Path = parser.parse_args().out
    for name, content in files().items():
        target = out / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        print(f"{len(content):>8} {name}")


if __name__ == "__main__":
    main()
