"""Planting flaws into a clean frame, at places that are drawn and do not touch each other."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import polars as pl

from quant_registry.errors import InvalidInput, UnknownName
from quant_sdk.lakehouse.timeframe import Timeframe
from quant_sdk.testing.flaws import ALL, AT, BLOCK, Flaw, flaws_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime

_KEYS: Final = {"bars": ("symbol", "timeframe"), "ticks": ("symbol",), "quotes": ("symbol",)}
_WHOLE: Final = 1 << 62
_SIGNS: Final = {"timeframe": "bars", "trade_id": "ticks", "bid": "quotes"}


class UnknownFlaw(UnknownName):
    """There is no flaw of that name."""

    noun = "flaw"
    fix = f"the flaws are {', '.join(flaw.name for flaw in ALL)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Planted:
    """A frame with flaws, and what a check of it must find.

    Attributes:
        frame: the columns of the clean one.
        expected: the exact count of each rule that finds something; every other finds nothing.
        quarantined: rows that must be refused.
        identical_duplicates: rows that must be dropped.
        as_of: against which staleness is counted: the end of the clean frame's last bar; None
            where the frame holds no bars.
        places: of each flaw, the rows of the clean frame where it was planted.
    """

    frame: pl.DataFrame
    expected: Mapping[str, int]
    quarantined: int
    identical_duplicates: int
    as_of: datetime | None
    places: Mapping[str, tuple[int, ...]]

    @property
    def rows_out(self) -> int:
        """Rows that must be left."""
        return self.frame.height - self.quarantined - self.identical_duplicates


def plant(frame: pl.DataFrame, flaws: Mapping[str, int], *, seed: int = 0) -> Planted:
    """Return `frame` with so many of each flaw.

    Args:
        frame: clean bars, ticks or quotes, each series in one piece and in the order of time.
        flaws: name to count; see `quant_sdk.testing.flaws`.
        seed: draws the places; the same one draws the same places.

    Raises:
        UnknownFlaw: there is no such flaw, or none that such a frame can have.
        InvalidInput: the frame is too small for all of them, or not in order.
    """
    kind = _kind(frame)
    known = {flaw.name: flaw for flaw in flaws_of(kind)}
    for name in flaws:
        if name not in known:
            raise UnknownFlaw(name, known)
    wanted = [flaw for flaw in known.values() if flaws.get(flaw.name, 0) > 0]
    places = _places(_series(frame, _KEYS[kind]), wanted, flaws, random.Random(seed))  # noqa: S311 - draws places
    found = frame.with_columns(pl.int_range(pl.len()).cast(pl.Float64).alias(AT))
    counts: Counter[str] = Counter()
    for flaw in wanted:
        found = flaw.plant(found, pl.Series(places[flaw.name], dtype=pl.Float64))
        counts.update({rule: each * flaws[flaw.name] for rule, each in flaw.counts.items()})
    return Planted(
        frame=found.select(frame.columns),
        expected=dict(counts),
        quarantined=sum(flaw.quarantined * flaws[flaw.name] for flaw in wanted),
        identical_duplicates=sum(flaw.identical_duplicates * flaws[flaw.name] for flaw in wanted),
        as_of=_end(frame) if kind == "bars" else None,
        places={name: tuple(rows) for name, rows in places.items()},
    )


def _kind(frame: pl.DataFrame) -> str:
    for column, kind in _SIGNS.items():
        if column in frame.columns:
            return kind
    raise InvalidInput(
        "the frame holds neither bars, ticks nor quotes",
        fix=f"give it one of the columns {', '.join(_SIGNS)}",
    )


def _series(frame: pl.DataFrame, keys: tuple[str, ...]) -> list[tuple[int, int]]:
    """Return the first row of each series and the one after its last."""
    begins = pl.any_horizontal(pl.col(key).ne_missing(pl.col(key).shift(1)) for key in keys)
    starts = frame.select(pl.arg_where(begins | (pl.int_range(pl.len()) == 0))).to_series()
    forward = pl.col("ts") > pl.col("ts").shift(1)
    in_order = frame.select((begins | forward).fill_null(value=True).all()).item()
    if not in_order or frame.select(keys).n_unique() != len(starts):
        raise InvalidInput("the frame is not in order", fix=f"sort it by {', '.join(keys)}, ts")
    ends = [*starts.to_list()[1:], frame.height]
    return list(zip(starts.to_list(), ends, strict=True))


def _places(
    series: list[tuple[int, int]],
    wanted: Iterable[Flaw],
    flaws: Mapping[str, int],
    chance: random.Random,
) -> dict[str, list[int]]:
    """Draw the places of each flaw: the scarcest first, none within another's reach."""
    free = {number: list(_blocks(*ends)) for number, ends in enumerate(series)}
    found: dict[str, list[int]] = {}
    for flaw in sorted(wanted, key=lambda each: -(each.rows_each or _WHOLE)):
        count = flaws[flaw.name]
        if flaw.place == "last":
            offers = [(number, end - 1) for number, (_, end) in enumerate(series)]
        else:
            offers = list(_offers(flaw, series, free, chance))
        if len(offers) < count:
            raise InvalidInput(
                f"the frame has room for {len(offers)} of {flaw.name}, not for {count}",
                fix="give it more series, or longer ones",
            )
        drawn = chance.sample(offers, count)
        if flaw.place != "last":
            for number, place in drawn:
                free[number].remove(place)
        found[flaw.name] = sorted(place for _, place in drawn)
    return found


def _blocks(start: int, end: int) -> Iterator[int]:
    """Yield places of a series that are `BLOCK` rows apart, and from its ends."""
    return iter(range(start + BLOCK, end - 2 * BLOCK, BLOCK))


def _offers(
    flaw: Flaw,
    series: list[tuple[int, int]],
    free: Mapping[int, list[int]],
    chance: random.Random,
) -> Iterator[tuple[int, int]]:
    for number, (start, end) in enumerate(series):
        most = 1 if flaw.rows_each is None else (end - start) // flaw.rows_each
        blocks = free[number]
        for place in chance.sample(blocks, min(most, len(blocks))):
            yield number, place


def _end(frame: pl.DataFrame) -> datetime:
    last = frame.group_by("timeframe").agg(pl.col("ts").max())
    return max(Timeframe.parse(text).end_of(ts) for text, ts in last.iter_rows())
