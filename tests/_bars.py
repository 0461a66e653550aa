"""Bars for tests of conformance: good ones, and what they are held against, slow and obvious."""

from __future__ import annotations

import itertools
import math
import statistics
import struct
from datetime import UTC, datetime

import numpy as np
import polars as pl

from quant_sdk.lakehouse.timeframe import Timeframe

FIRST = datetime(2024, 1, 1, tzinfo=UTC)
START = 1_704_067_200_000_000
VALUES = ("open", "high", "low", "close", "volume")
COLUMNS = ("symbol", "timeframe", "ts", *VALUES)
UTC_MICROS = pl.Datetime("us", "UTC")


def series(
    symbol: str = "BINANCE:ADABTC",
    rows: int = 100,
    timeframe: str = "1m",
    *,
    start: int = START,
    seed: int = 0,
) -> pl.DataFrame:
    """Return good bars of one series, without a gap on the grid."""
    step = Timeframe.parse(timeframe)
    first = step.slot_of(start)
    opens = [step.open_of(slot) for slot in range(first, first + rows)]
    return at(opens, symbol=symbol, timeframe=timeframe, seed=seed)


def at(opens, *, symbol="BINANCE:ADABTC", timeframe="1m", seed=0) -> pl.DataFrame:
    """Return good bars that open at the instants given, in microseconds."""
    source = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(source.normal(0, 0.005, len(opens))))
    opening = np.concatenate([close[:1], close[:-1]])
    return pl.DataFrame(
        {
            "symbol": [symbol] * len(opens),
            "timeframe": [timeframe] * len(opens),
            "ts": pl.Series(list(opens), dtype=pl.Int64).cast(UTC_MICROS),
            "open": opening,
            "high": np.maximum(opening, close) * 1.01,
            "low": np.minimum(opening, close) * 0.99,
            "close": close,
            "volume": source.uniform(1, 1000, len(opens)),
        }
    )


def put(frame: pl.DataFrame, row: int, **values) -> pl.DataFrame:
    """Return the frame with other values in one row."""
    here = pl.int_range(pl.len()) == row
    return frame.with_columns(
        pl.when(here).then(pl.lit(value, dtype=frame.schema[name])).otherwise(name).alias(name)
        for name, value in values.items()
    )


def bits(row):
    return tuple(None if each is None else struct.pack("<d", each) for each in row)


def of_row(ts, values, step: Timeframe) -> str | None:  # noqa: PLR0911  a rule a line
    """Return the rule that a row breaks by itself."""
    o, h, lo, c, v = values
    if ts is None:
        return "timestamp_missing"
    if not step.on_grid(ts):
        return "off_grid"
    if any(x is None or not math.isfinite(x) for x in (o, h, lo, c)):
        return "non_finite"
    if v is not None and not math.isfinite(v):
        return "non_finite"
    if min(o, h, lo, c) <= 0:
        return "non_positive_price"
    if v is not None and v < 0:
        return "negative_volume"
    if not (lo <= min(o, c) and h >= max(o, c) and lo <= h):
        return "ohlc_order"
    return None


def divided(rows, step: Timeframe) -> tuple[dict[int, str], list[int], int]:
    """Return rule by row, kept rows in time order, identical duplicates: of one series.

    Every return is judged, across gaps too. `rows` are ts in microseconds and the values.
    """
    rules = {i: rule for i, row in enumerate(rows) if (rule := of_row(row[0], row[1:], step))}
    by_ts: dict[int, list[int]] = {}
    for i, row in enumerate(rows):
        if i not in rules:
            by_ts.setdefault(row[0], []).append(i)
    kept, duplicates = [], 0
    for ts in sorted(by_ts):
        same = by_ts[ts]
        if len({bits(rows[i][1:]) for i in same}) > 1:
            rules |= dict.fromkeys(same, "duplicate_conflict")
        else:
            kept.append(same[0])
            duplicates += len(same) - 1
    for before, i in itertools.pairwise(kept):
        if rows[i][4] / rows[before][4] - 1 > 5.0:
            rules[i] = "return_spike"
    return rules, [i for i in kept if i not in rules], duplicates


class Slow:
    """What the pipeline finds in bars of a market that never closes, series by series."""

    def __init__(self, frame: pl.DataFrame) -> None:
        self.rules: dict[int, str] = {}
        self.kept: list[tuple[str, str, int]] = []
        self.counts = dict.fromkeys(
            ("out_of_order", "identical_duplicate", "return_after_gap", "volume_spike"), 0
        )
        self.counts |= {"flat_close": 0, "missing_bars": 0}
        self.gaps: dict[tuple[str, str], list[tuple[int, int]]] = {}
        rows = frame.with_columns(pl.col("ts").dt.timestamp("us")).select(COLUMNS).rows()
        groups: dict[tuple[str, str], list[tuple]] = {}
        for place, (symbol, timeframe, ts, *values) in enumerate(rows):
            groups.setdefault((symbol, timeframe), []).append((place, ts, tuple(values)))
        for name, own in sorted(groups.items()):
            self._series(name, own, Timeframe.parse(name[1]))

    def _series(self, name, rows, step) -> None:
        fine, came = [], set()
        for place, ts, values in rows:
            rule = of_row(ts, values, step)
            if rule is None:
                fine.append((place, ts, values))
                continue
            self.rules[place] = rule
            if ts is not None:
                came.add(step.slot_of(ts))
        times = [ts for _, ts, _ in fine]
        self.counts["out_of_order"] += sum(b < a for a, b in itertools.pairwise(times))
        bars = self._bars(fine, came, step)
        bars = self._spikes(bars, came, step)
        self.kept += [(*name, ts) for _, ts, _ in bars]
        self._notes(bars)
        slots = [step.slot_of(ts) for _, ts, _ in bars]
        holes = [(a + 1, b) for a, b in itertools.pairwise(slots) if b > a + 1]
        self.gaps[name] = [(step.open_of(a), step.open_of(b)) for a, b in holes]
        self.counts["missing_bars"] += sum(b - a for a, b in holes)

    def _bars(self, rows, came, step):
        by_time: dict[int, list] = {}
        for row in rows:
            by_time.setdefault(row[1], []).append(row)
        bars = []
        for ts, same in sorted(by_time.items()):
            if len({bits(values) for _, _, values in same}) > 1:
                self.rules |= {place: "duplicate_conflict" for place, _, _ in same}
                came.add(step.slot_of(ts))
            else:
                bars.append(same[0])
                self.counts["identical_duplicate"] += len(same) - 1
        return bars

    def _spikes(self, bars, came, step):
        while True:
            bad, after_gap = set(), 0
            for (_, before, old), (place, ts, new) in itertools.pairwise(bars):
                if not new[3] / old[3] - 1 > 5.0:
                    continue
                between = range(step.slot_of(before) + 1, step.slot_of(ts))
                if all(slot in came for slot in between):
                    bad.add(place)
                else:
                    after_gap += 1
            self.rules |= dict.fromkeys(bad, "return_spike")
            if not bad:
                self.counts["return_after_gap"] += after_gap
                return bars
            bars = [row for row in bars if row[0] not in bad]

    def _notes(self, bars) -> None:
        volumes = [values[4] for _, _, values in bars if values[4] is not None]
        if len(volumes) > 1:
            limit = statistics.fmean(volumes) + 10 * statistics.stdev(volumes)
            self.counts["volume_spike"] += sum(volume > limit for volume in volumes)
        closes = [values[3] for _, _, values in bars]
        runs = [len(list(run)) for _, run in itertools.groupby(closes)]
        self.counts["flat_close"] += sum(length >= 10 for length in runs)
