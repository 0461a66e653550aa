"""Check the raw bars of many series at once.

One pass tells the series that are good as they stand from those that are not; only the latter are
divided row by row, each by itself, with `check_bars`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import polars as pl

from quant_sdk.conformance.bars import BAR_COLUMNS, FLAT_RUN, SPIKE_SIGMAS, CheckedBars, check_bars
from quant_sdk.conformance.rules import MAX_RETURN, close_return, on_grid

if TYPE_CHECKING:
    from collections.abc import Mapping

    from quant_sdk.lakehouse.timeframe import Timeframe

_REFUSED: Final = ("symbol", "row", *BAR_COLUMNS, "rule", "reason")


def check_many(raw: pl.DataFrame, timeframe: Timeframe) -> CheckedBars:
    """Divide the rows of many series into good bars, quarantined rows and identical duplicates.

    Args:
        raw: symbol (String), row (UInt32), ts (Datetime us UTC, nullable), open, high, low, close,
            volume (Float64, nullable). Any order; sorted by symbol and ts is several times faster.
        timeframe: gives the grid that timestamps must lie on.

    Returns:
        As `check_bars`, with ``symbol`` as the first column of ``bars`` and ``quarantined``;
        ``bars`` is sorted by symbol and ts.
    """
    suspects = _suspects(raw, timeframe)
    if suspects.is_empty():
        good, refused, duplicates = raw, raw.clear(), 0
    else:
        flawed = pl.col("symbol").is_in(suspects.implode())
        good = raw.filter(~flawed)
        parts = raw.filter(flawed).partition_by("symbol", as_dict=True, include_key=False)
        checked = {str(names[0]): check_bars(part, timeframe) for names, part in parts.items()}
        good = pl.concat([good.select("symbol", *BAR_COLUMNS), *_named(checked, "bars")])
        refused = pl.concat(_named(checked, "quarantined"))
        duplicates = sum(item.identical_duplicates for item in checked.values())
    bars = good.select("symbol", *BAR_COLUMNS)
    if not _in_order(bars):
        bars = bars.sort("symbol", "ts")
    return CheckedBars(
        bars=bars,
        quarantined=_as_refused(refused),
        identical_duplicates=duplicates,
        notes=_notes(bars),
        rows_in=raw.height,
    )


def _suspects(raw: pl.DataFrame, timeframe: Timeframe) -> pl.Series:
    """Return the symbols of which some row is not good as it stands, or that come in pieces."""
    starts = _starts()
    within = ~starts.fill_null(value=True)
    good = (
        on_grid(timeframe)
        & _ordered_prices()
        & ((pl.col("volume") >= 0) & (pl.col("volume") < float("inf"))).fill_null(value=True)
        & (~within | (pl.col("ts") > pl.col("ts").shift(1)))
        & ~(within & (close_return() > MAX_RETURN).fill_null(value=False))
    )
    flawed = raw.filter(~good.fill_null(value=False))["symbol"]
    pieces = raw.filter(starts)["symbol"]
    return pl.concat([flawed, pieces.filter(pieces.is_duplicated())]).unique()


def _ordered_prices() -> pl.Expr:
    low, high = pl.col("low"), pl.col("high")
    # NaN sorts above infinity in polars: a finite high that bounds the rest bounds them all.
    good = (low > 0) & (high < float("inf"))
    for name in ("open", "close"):
        good &= (low <= pl.col(name)) & (pl.col(name) <= high)
    return good


def _starts() -> pl.Expr:
    """Mark the first row of each run of one symbol."""
    symbol = pl.col("symbol")
    return (symbol != symbol.shift(1)).fill_null(value=True)


def _in_order(bars: pl.DataFrame) -> bool:
    symbol, ts = pl.col("symbol"), pl.col("ts")
    before = symbol.shift(1)
    forward = (symbol > before) | ((symbol == before) & (ts > ts.shift(1)))
    return bool(bars.select(forward.all()).item())  # null, and so ignored, in the first row


def _notes(bars: pl.DataFrame) -> dict[str, int]:
    """Count volume spikes and runs of equal closes, as `check_bars` does for one series."""
    volume, close = pl.col("volume"), pl.col("close")
    limits = bars.group_by("symbol").agg(
        limit=volume.mean() + SPIKE_SIGMAS * volume.std(), highest=volume.max()
    )
    spiking = limits.filter(pl.col("highest") > pl.col("limit")).select("symbol", "limit")
    spikes = bars.select("symbol", "volume").join(spiking, on="symbol")
    starts = pl.arg_where(_starts() | close.ne_missing(close.shift(1)))
    lengths = starts.append(pl.len()).diff()
    return {
        "volume_spike": spikes.filter(volume > pl.col("limit")).height,
        "flat_close": int(bars.select((lengths >= FLAT_RUN).sum()).item()),
    }


def _named(checked: Mapping[str, CheckedBars], part: str) -> list[pl.DataFrame]:
    return [
        getattr(item, part).select(pl.lit(symbol).alias("symbol"), pl.all())
        for symbol, item in checked.items()
    ]


def _as_refused(rows: pl.DataFrame) -> pl.DataFrame:
    texts = {name: pl.String for name in ("rule", "reason") if name not in rows.columns}
    missing = (pl.lit(None, dtype=dtype).alias(name) for name, dtype in texts.items())
    return rows.with_columns(*missing).select(_REFUSED).sort("row")
