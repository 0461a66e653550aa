"""The second stage: rows in the order of time, one a bar; what is there, and what is missing.

The rows are divided here, once, by all rules that are asked of rows: what a bar is worth is known
only when it is known which rows make it. The third stage tells what the rules found.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from quant_sdk.conformance import daily
from quant_sdk.conformance.completeness import Completeness, completeness
from quant_sdk.conformance.divide import divide
from quant_sdk.conformance.events import KEY_CONFLICT, divide_events
from quant_sdk.conformance.holes import never_came
from quant_sdk.conformance.report import FLAGS, SeriesRollup
from quant_sdk.conformance.rule import Asked
from quant_sdk.conformance.selection import none, places
from quant_sdk.lakehouse.coverage import opens_of
from quant_sdk.lakehouse.specs import UTC_MICROS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from quant_sdk.conformance.divided import Divided
    from quant_sdk.conformance.work import Part, Work

MOST_GAPS: Final = 10
"""The gaps of a series that a report names, the longest first."""

_TIME: Final = "%Y-%m-%dT%H:%M:%S%.fZ"


def temporal_rollup(work: Work) -> None:
    """Divide the rows of each part, and roll up its series."""
    for part in work.parts:
        _divide(work, part)
    if work.setting.kind == "bars":
        _bars(work)
    else:
        work.series = tuple(_events(work))


def _divide(work: Work, part: Part) -> None:
    setting = work.setting
    asked = Asked(timeframe=part.timeframe, thresholds=setting.thresholds)
    raw = part.rows.frame()
    if part.timeframe is None:
        part.divided = divide_events(raw, setting.schema.key, asked, setting.rules)
        again = part.divided.refused.filter(pl.col("rule") == KEY_CONFLICT)
        if again.height:
            told = f"{again.height} rows share their key with one that has other values"
            work.find(KEY_CONFLICT, "block", ", ".join(setting.schema.key), told)
        return
    hole = partial(never_came, timeframe=part.timeframe, calendar_of=setting.calendar_of)
    part.divided = divide(raw, asked, setting.rules, hole, part.steps)


def _bars(work: Work) -> None:
    found = [(part, _complete(work, part)) for part in work.parts]
    work.series = tuple(
        sorted(
            (each for part, complete in found for each in _rollups(part, complete)),
            key=lambda each: (each.symbol, each.timeframe),
        )
    )
    span = daily.span_of((part.timeframe, complete) for part, complete in found)  # type: ignore[misc]
    cells = [
        daily.by_day(complete, part.timeframe, span)  # type: ignore[arg-type]
        for part, complete in found
    ]
    work.daily = daily.entries([*cells, *_flags(work, span)], span)


def _times(part: Part) -> pl.Series:
    assert part.divided is not None  # noqa: S101  this stage divides
    return part.divided.selection.column("ts")


def _complete(work: Work, part: Part) -> Completeness:
    assert part.divided is not None  # noqa: S101
    assert part.timeframe is not None  # noqa: S101  bars have one
    refused = part.divided.selection.raw["symbol"].gather(part.divided.refused["at"]).unique()
    return completeness(
        _times(part),
        part.divided.steps,
        part.timeframe,
        window=work.window,
        calendar_of=work.setting.calendar_of,
        also=refused,
    )


def _rollups(part: Part, found: Completeness) -> Iterator[SeriesRollup]:
    """Yield the rollup of each series of a part."""
    assert part.divided is not None  # noqa: S101
    assert part.timeframe is not None  # noqa: S101
    counts = _counts(part)
    gaps, most = _named_gaps(found, part)
    times = found.series.with_columns(
        _opening(found.series[name], part).alias(name) for name in ("first", "last")
    )
    for row in times.iter_rows(named=True):
        symbol = row["symbol"]
        yield SeriesRollup(
            symbol=symbol,
            timeframe=part.timeframe.text,
            calendar=row["calendar"],
            first=row["first"],
            last=row["last"],
            expected=row["present"] - row["outside"] + row["missing"],
            present=row["present"],
            missing=row["missing"],
            verified_empty=row["verified_empty"],
            outside=row["outside"],
            behind=row["behind"],
            gap_count=most.get(symbol, 0),
            gaps=gaps.get(symbol, ()),
            misaligned=counts["misaligned"].get(symbol, 0),
            out_of_order=counts["out_of_order"].get(symbol, 0),
            identical_duplicates=counts["identical_duplicates"].get(symbol, 0),
            conflicting_duplicates=counts["conflicting_duplicates"].get(symbol, 0),
        )


def _counts(part: Part) -> Mapping[str, Mapping[str, int]]:
    """Return what was found of the rows of each series."""
    assert part.divided is not None  # noqa: S101
    divided = part.divided
    found = {
        "misaligned": [_refused(divided, "off_grid")],
        "conflicting_duplicates": [_refused(divided, "duplicate_conflict")],
        "identical_duplicates": [divided.twins, _refused(divided, "identical_duplicate")],
        "out_of_order": [
            divided.marks.get("out_of_order", none()),
            _refused(divided, "out_of_order"),
        ],
    }
    symbol = divided.selection.raw["symbol"]
    return {
        name: dict(symbol.gather(places(*at)).value_counts().iter_rows())
        for name, at in found.items()
    }


def _refused(divided: Divided, rule: str) -> pl.Series:
    return divided.refused.filter(pl.col("rule") == rule)["at"]


def _named_gaps(
    found: Completeness, part: Part
) -> tuple[dict[str, tuple[dict[str, Any], ...]], dict[str, int]]:
    """Return the longest gaps of each series, and how many it has."""
    if found.gaps.is_empty():
        return {}, {}
    longest = found.gaps.with_columns(missing=pl.col("end") - pl.col("start")).with_columns(
        count=pl.len().over("symbol"),
        place=pl.col("missing").rank("ordinal", descending=True).over("symbol"),
    )
    named = longest.filter(pl.col("place") <= MOST_GAPS).sort("symbol", "place")
    opens = {name: _opening(named[name], part) for name in ("start", "end")}
    gaps: dict[str, list[dict[str, Any]]] = {}
    for symbol, start, end, missing in (
        named.with_columns(**opens).select("symbol", "start", "end", "missing").iter_rows()
    ):
        gaps.setdefault(symbol, []).append({"start": start, "end": end, "missing": missing})
    counts = dict(longest.select("symbol", "count").unique().iter_rows())
    return {symbol: tuple(own) for symbol, own in gaps.items()}, counts


def _opening(slots: pl.Series, part: Part) -> pl.Series:
    """Return slots as text; null stays null."""
    assert part.timeframe is not None  # noqa: S101
    known = slots.is_not_null()
    opens = opens_of(slots.fill_null(0), part.timeframe).cast(UTC_MICROS).dt.to_string(_TIME)
    return pl.select(pl.when(known).then(opens)).to_series()


def _flags(work: Work, span: int) -> Iterator[pl.DataFrame]:
    """Yield the flags of rows by day."""
    graver = {rule.id for rule in work.setting.rules if rule.severity in FLAGS}
    for part in work.parts:
        assert part.divided is not None  # noqa: S101
        marks = [at for rule, at in part.divided.marks.items() if rule in graver]
        at = pl.concat([part.divided.refused["at"], *marks])
        rows = part.divided.selection.raw.select("symbol", "timeframe", "ts")[at]
        yield daily.flags_by_day(rows, span)


def _events(work: Work) -> Iterator[SeriesRollup]:
    """Yield the rollup of each symbol, for rows that lie on no grid."""
    if "ts" not in work.frame.columns or "symbol" not in work.frame.columns:
        return
    for part in work.parts:
        assert part.divided is not None  # noqa: S101
        divided = part.divided
        frame = divided.selection.frame().select("symbol", "ts")
        found = frame.group_by("symbol").agg(
            first=pl.col("ts").min().dt.to_string(_TIME),
            last=pl.col("ts").max().dt.to_string(_TIME),
            present=pl.len(),
        )
        counts = _counts(part)
        for symbol, first, last, present in found.sort("symbol").iter_rows():
            yield SeriesRollup(
                symbol=symbol,
                timeframe="",
                calendar="",
                first=first,
                last=last,
                expected=present,
                present=present,
                missing=0,
                out_of_order=counts["out_of_order"].get(symbol, 0),
                identical_duplicates=counts["identical_duplicates"].get(symbol, 0),
            )
