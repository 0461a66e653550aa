"""Invented bars and real ones: a series holds the one kind or the other, never both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import polars as pl

from quant_sdk.errors import Conflict

if TYPE_CHECKING:
    from collections.abc import Iterable

    from quant_sdk.lakehouse.lakehouse import Lakehouse
    from quant_sdk.seamless import Shard

INVENTED: Final = ("embedded:", "demo/")
"""How the sources of the synthetic market begin, and those of the demo's files."""

Series = tuple[str, str]


def refused(
    lakehouse: Lakehouse, shards: Iterable[Shard], *, embedded: bool
) -> dict[Series, Conflict]:
    """Return why bars may not be added to some of the series.

    Args:
        lakehouse: what is held.
        shards: what is to be fetched.
        embedded: whether it comes from the synthetic market.
    """
    wanted = {(shard.symbol, shard.timeframe) for shard in shards}
    return {
        series: _conflict(series, sources, embedded=embedded)
        for series, sources in _sources(lakehouse, wanted).items()
        if any(source.startswith(INVENTED) != embedded for source in sources)
    }


def invented(bars: pl.LazyFrame) -> list[str]:
    """Return the sources of those bars that were invented, sorted."""
    held = bars.select(pl.col("source").unique()).collect()["source"]
    return sorted(source for source in held if source.startswith(INVENTED))


def _sources(lakehouse: Lakehouse, wanted: set[Series]) -> dict[Series, list[str]]:
    """Return the sources of the bars that the series hold."""
    held = (
        lakehouse.table("bars")
        .scan()
        .filter(
            pl.col("timeframe").is_in({timeframe for _, timeframe in wanted}),
            pl.col("symbol").is_in({symbol for symbol, _ in wanted}),
        )
        .group_by("symbol", "timeframe")
        .agg(pl.col("source").unique())
        .collect()
    )
    return {
        (symbol, timeframe): sources
        for symbol, timeframe, sources in held.iter_rows()
        if (symbol, timeframe) in wanted
    }


def _conflict(series: Series, sources: Iterable[str], *, embedded: bool) -> Conflict:
    name = " ".join(series)
    held = ", ".join(sorted(sources)[:3])
    if embedded:
        return Conflict(
            f"{name} holds bars of {held}: none of the synthetic market are added to it",
            fix="set `sources: {market: live}` in quant.yml, or use another workspace",
        )
    return Conflict(
        f"{name} holds invented bars of {held}: no real ones are added to them",
        fix="begin with a clean slate: quant lakehouse wipe; or use another workspace",
    )
