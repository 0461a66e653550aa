"""The conformance pipeline: 10M one-minute bars of 200 symbols, beside hand-written expressions."""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from _measure import Row, alternate, milliseconds, peak_memory
from _rivals import dataframely, great_expectations, ordered, pandera

from quant_sdk.conformance import ConformancePipeline, run_folder
from quant_sdk.conformance.completeness import completeness
from quant_sdk.conformance.making import venue_calendars
from quant_sdk.conformance.steps import steps_of
from quant_sdk.conformance.work import Window
from quant_sdk.lakehouse.fingerprint import fingerprint, incremental, merge
from quant_sdk.lakehouse.timeframe import Timeframe
from quant_sdk.seamless.intervals import difference

if TYPE_CHECKING:
    from collections.abc import Callable

SYMBOLS, BARS = 200, 50_000
STEP = 60_000_000
FIRST = 1_600_000_020_000_000
ROUNDS = 5
FOLDER_FILES, FOLDER_BARS = 20, 2_000_000
MILLION = 1_000_000


def rows() -> list[Row]:
    frame = bars(SYMBOLS, BARS)
    pipeline = ConformancePipeline()
    assert pipeline.run(frame, node="bench").report.flags == 0
    return [
        _beside_hand_written(pipeline, frame),
        *_beside_others(pipeline, frame),
        _flawed(frame),
        _gaps(frame),
        _difference(),
        *_fingerprints(frame),
        *_memory(frame),
    ]


def _beside_hand_written(pipeline: ConformancePipeline, frame: pl.DataFrame) -> Row:
    subject, floor = alternate(
        lambda: pipeline.run(frame, node="bench"), lambda: by_hand(frame), ROUNDS
    )
    return Row(
        name=f"{frame.height / 1e6:.0f}M sorted bars, all rules, report and all",
        measured=milliseconds(subject),
        floor=f"{milliseconds(floor)}: the same counts, expressions fused by hand",
        value=subject / floor,
        target=2.0,
    )


def by_hand(frame: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Count what the rules count, in two queries: one over rows, one by series."""
    bars = frame.lazy()
    ts, close, volume = pl.col("ts"), pl.col("close"), pl.col("volume")
    prices = [pl.col(name) for name in ("open", "high", "low", "close")]
    step = ts - ts.shift(1)
    within = pl.col("within")
    begins = pl.arg_where(close.ne_missing(close.shift(1)) | ~within)
    counts = (
        bars.with_columns(
            within=(pl.col("symbol") == pl.col("symbol").shift(1)).fill_null(value=False)
        )
        .select(
            timestamp_missing=ts.is_null().sum(),
            off_grid=(ts.dt.timestamp("us") % STEP != 0).sum(),
            non_finite=pl.any_horizontal(
                *(~price.is_finite().fill_null(value=False) for price in prices),
                ~volume.is_finite().fill_null(value=True),
            ).sum(),
            non_positive_price=pl.any_horizontal(price <= 0 for price in prices).sum(),
            negative_volume=(volume < 0).sum(),
            ohlc_order=(~ordered()).sum(),
            duplicates=(within & (step == pl.duration())).sum(),
            out_of_order=(within & (step < pl.duration())).sum(),
            gaps=(within & (step > pl.duration(microseconds=STEP))).sum(),
            return_spike=(within & (close / close.shift(1) - 1 > 5)).sum(),
            flat_close=(begins.append(pl.len()).diff() >= 10).sum(),
        )
        .collect(engine="streaming")
    )
    series = (
        bars.group_by("symbol")
        .agg(
            rows=pl.len(),
            first=ts.min(),
            last=ts.max(),
            highest=volume.max(),
            limit=volume.mean() + 10 * volume.std(),
        )
        .collect(engine="streaming")
    )
    return counts, series


def _beside_others(pipeline: ConformancePipeline, frame: pl.DataFrame) -> list[Row]:
    found = [
        _rival(pipeline, frame, "pandera", pandera, 0.1),
        _rival(pipeline, frame, "dataframely", dataframely, 1.0),
        _rival(pipeline, frame.head(MILLION), "Great Expectations", great_expectations, 1.0),
    ]
    return [row for row in found if row is not None]


def _rival(
    pipeline: ConformancePipeline,
    frame: pl.DataFrame,
    name: str,
    make: Callable[[pl.DataFrame], Callable[[], object]],
    target: float,
) -> Row | None:
    try:
        rival = make(frame)
    except ImportError:
        print(f"{name} is not installed: pip install 'quant-stage-sdk[bench]'", file=sys.stderr)
        return None
    subject, floor = alternate(lambda: pipeline.run(frame, node="bench"), rival, ROUNDS)
    return Row(
        name=f"{frame.height / 1e6:.0f}M sorted bars, all rules",
        measured=milliseconds(subject),
        floor=f"{milliseconds(floor)}: {name} with equivalent checks",
        value=subject / floor,
        target=target,
    )


def _flawed(frame: pl.DataFrame) -> Row:
    """Displace half of 0.1 % of the rows, and spoil the other half."""
    flawed, count = spoiled(frame)
    partial = ConformancePipeline.partial_ok(True)
    report = partial.run(flawed, node="bench").report
    assert report.quarantined == count, report.flagged

    def bare() -> object:
        flawed.sort("symbol", "ts")
        return partial.run(frame, node="bench")

    subject, beside = alternate(lambda: partial.run(flawed, node="bench"), bare, ROUNDS)
    return Row(
        name="the same, 0.1 % of the rows displaced or flawed",
        measured=milliseconds(subject),
        floor=f"{milliseconds(beside)}: a bare sort by symbol and ts, and the sorted pipeline",
        value=subject / beside,
        target=1.5,
    )


def spoiled(frame: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    source = np.random.default_rng(5)
    chosen = source.choice(frame.height, frame.height // 1000, replace=False)
    moved, bad = np.split(chosen, 2)
    order = np.arange(frame.height)
    order[np.sort(moved)] = moved
    mask = np.zeros(frame.height, dtype=bool)
    mask[bad] = True
    low = pl.when(pl.Series(mask)).then(-1.0).otherwise("low")
    return frame.with_columns(low=low)[order], len(bad)


def _gaps(frame: pl.DataFrame) -> Row:
    """Find every gap of every series, from the columns alone."""
    frame = frame.filter(pl.int_range(pl.len()) % 10_007 != 0)
    timeframe, calendar_of = Timeframe.parse("1m"), venue_calendars()

    def detect() -> object:
        steps = steps_of(frame["ts"], frame["symbol"], timeframe)
        return completeness(frame["ts"], steps, timeframe, window=Window(), calendar_of=calendar_of)

    assert detect().gaps.height == sum(
        1 for row in range(0, SYMBOLS * BARS, 10_007) if 0 < row % BARS < BARS - 1
    )
    seconds = _median(detect) * 100 * MILLION / frame.height
    return Row(
        name="gap detection alone, 100M rows",
        measured=f"{frame.height / 1e6:.0f}M rows",
        floor="100M rows a second",
        value=seconds,
        target=1.0,
        unit=" s",
    )


def _difference() -> Row:
    spans = [(10 * n, 10 * n + 8) for n in range(10_000)]
    cut = [(10 * n + 2, 10 * n + 4) for n in range(10_000)]
    assert len(list(difference(spans, cut))) == 20_000
    return Row(
        name="difference of 10,000 and 10,000 coverage fragments",
        measured=milliseconds(found := _median(lambda: list(difference(spans, cut)))),
        floor="50 ms",
        value=found * 1e3,
        target=50.0,
        unit=" ms",
    )


def _fingerprints(frame: pl.DataFrame) -> list[Row]:
    whole = _median(lambda: fingerprint(frame))
    size = frame.height // 20
    parts = {str(place): frame.slice(place * size, size) for place in range(20)}
    known = incremental(parts, {})
    assert merge(*known.values()).equals(fingerprint(frame))
    del known["7"]
    again, all_of_it = alternate(
        lambda: merge(*incremental(parts, known).values()), lambda: fingerprint(frame), ROUNDS
    )
    return [
        Row(
            name="fingerprint of a frame, 10M rows",
            measured=milliseconds(whole),
            floor="10M rows a second",
            value=whole * 10 * MILLION / frame.height,
            target=1.0,
            unit=" s",
        ),
        Row(
            name="the same, after one partition of 20 changed",
            measured=milliseconds(again),
            floor=f"{milliseconds(all_of_it)}: the whole of it",
            value=again / all_of_it,
            target=0.5,
        ),
    ]


def _memory(frame: pl.DataFrame) -> list[Row]:
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        size = frame.estimated_size()
        here = str(Path(__file__).parent)
        bare = peak_memory([__file__, "nothing", name], here)
        taken = peak_memory([__file__, "frame", name], here) - bare
        folder = home / "folder"
        folder.mkdir()
        held = _fill(folder)
        streamed = peak_memory([__file__, "folder", str(folder)], here) - bare
    return [
        Row(
            name="peak memory of the pipeline, its frame included",
            measured=f"{taken / 2**20:.0f} MiB",
            floor=f"{size / 2**20:.0f} MiB: the frame",
            value=taken / size,
            target=2.0,
        ),
        Row(
            name=f"peak memory of a folder of {FOLDER_FILES * FOLDER_BARS / 1e6:.0f}M bars",
            measured=f"{streamed / 2**20:.0f} MiB",
            floor=f"{held / 2**20:.0f} MiB: what it holds",
            value=streamed / held,
            target=0.5,
        ),
    ]


def _fill(folder: Path) -> int:
    """Write files of 40 symbols each; return the bytes they take in memory."""
    held = 0
    for place in range(FOLDER_FILES):
        part = bars(40, FOLDER_BARS // 40, prefix=f"F{place:02d}")
        part.write_parquet(folder / f"{place:02d}.parquet", compression="lz4")
        held += part.estimated_size()
    return held


def bars(symbols: int, count: int, prefix: str = "S") -> pl.DataFrame:
    source = np.random.default_rng(1)
    close = np.exp(np.cumsum(source.normal(0, 0.0005, (symbols, count)), axis=1))
    close = np.round(100 * close, 4)
    opening = np.concatenate([close[:, :1], close[:, :-1]], axis=1)
    names = pl.Series([f"BINANCE:{prefix}{place:03d}USDT" for place in range(symbols)])
    return pl.DataFrame(
        {
            "symbol": names.gather(np.repeat(np.arange(symbols), count)),
            "timeframe": pl.repeat("1m", symbols * count, eager=True),
            "ts": pl.Series(np.tile(FIRST // STEP * STEP + np.arange(count) * STEP, symbols)),
            "open": opening.ravel(),
            "high": np.maximum(opening, close).ravel() + 0.01,
            "low": np.minimum(opening, close).ravel() - 0.01,
            "close": close.ravel(),
            "volume": source.uniform(1, 1000, symbols * count),
        }
    ).with_columns(pl.col("ts").cast(pl.Datetime("us", "UTC")))


def _median(call: Callable[[], object], rounds: int = ROUNDS) -> float:
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def child(what: str, home: str) -> None:
    """Do one thing in a process of its own, whose memory is measured."""
    pipeline = ConformancePipeline()
    if what == "frame":
        # A series at a time, so that making the frame takes no more than the frame.
        frame = pl.concat([bars(1, BARS, prefix=f"S{place:03d}") for place in range(SYMBOLS)])
        assert pipeline.run(frame, node="bench").report.flags == 0
    elif what == "folder":
        report = run_folder(pipeline, Path(home), node="bench", most_rows=MILLION)
        assert report.rows_out == FOLDER_FILES * FOLDER_BARS


if __name__ == "__main__":
    child(*sys.argv[1:3])
