"""Invented bars and real ones: a series holds those of one market, never of two."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import polars as pl

from quant_sdk.errors import PrerequisitesNotMet, SourceRefused
from quant_sdk.lakehouse.symbols import split_symbol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from quant_sdk.lakehouse.lakehouse import Lakehouse
    from quant_sdk.seamless import Shard

_EMBEDDED: Final = "embedded:"
_DEMO: Final = "demo/"
INVENTED: Final = (_EMBEDDED, "loopback:", _DEMO)
"""How the sources of the synthetic market begin, those of one served on this machine, and those of
the demo's files."""

_REAL: Final = ""

Series = tuple[str, str]


def refused(
    lakehouse: Lakehouse, shards: Iterable[Shard], id_of: Callable[[str], str]
) -> dict[Series, PrerequisitesNotMet]:
    """Return why bars may not be added to some of the series.

    Args:
        lakehouse: what is held.
        shards: what is to be fetched.
        id_of: gives the source of a venue's bars; raises SourceRefused where there is none.
    """
    wanted = {(shard.symbol, shard.timeframe) for shard in shards}
    venues = {split_symbol(symbol)[0] for symbol, _ in wanted}
    coming = {venue: _named(venue, id_of) for venue in venues}
    found = {}
    for series, sources in _sources(lakehouse, wanted).items():
        source = coming[split_symbol(series[0])[0]]
        others = sorted(each for each in sources if _are_apart(each, source))
        if source and others:
            found[series] = _conflict(series, others, source)
    return found


def invented(bars: pl.LazyFrame) -> list[str]:
    """Return the sources of those bars that were invented, sorted."""
    held = bars.select(pl.col("source").unique()).collect()["source"]
    return sorted(source for source in held if source.startswith(INVENTED))


def world(source: str) -> str:
    """Return the market that a source tells of: empty for the real one, which has many venues."""
    if not source.startswith(INVENTED):
        return _REAL
    kind, _, rest = source.partition(":")
    seed = rest.partition(":")[2]
    return _DEMO if source.startswith(_DEMO) else f"{kind}:{seed}"


def _are_apart(held: str, coming: str) -> bool:
    """Tell whether two sources tell of two markets; the demo's files stand beside any invented."""
    if world(held) == _DEMO:
        return world(coming) == _REAL
    return world(held) != world(coming)


def _named(venue: str, id_of: Callable[[str], str]) -> str:
    try:
        return id_of(venue)
    except SourceRefused:  # its shards say so
        return ""


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


def _conflict(series: Series, held: list[str], source: str) -> PrerequisitesNotMet:
    invented_held = all(each.startswith(INVENTED) for each in held)
    kind = "invented bars" if invented_held else "bars"
    if world(source) == _REAL:
        coming = "no real ones"
    else:
        market = "synthetic market" if source.startswith(_EMBEDDED) else "market"
        coming = f"none of the {market} {source}"
    if invented_held:
        fix = "begin with a clean slate: quant lakehouse wipe; or use another workspace"
    else:
        fix = "set `sources: {market: live}` in quant.yml, or use another workspace"
    return PrerequisitesNotMet(
        f"{' '.join(series)} holds {kind} of {', '.join(held[:3])}: {coming} are added to them",
        fix=fix,
    )
