"""Rows of a frame, chosen and put in order by position; they are copied once, if at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Callable

    Neighbours = list[tuple[pl.Series, pl.Series]]

PLACE: Final = pl.UInt32
"""The dtype of positions."""
BLOCK: Final = 1 << 19
"""Rows that are looked at together: temporaries stay small, and in the cache."""

_T = TypeVar("_T")


class Selection:
    """Some rows of `raw` in some order: those at `index`; None: all as they are."""

    def __init__(self, raw: pl.DataFrame, index: pl.Series | None = None) -> None:
        self.raw = raw
        self._index = index

    @property
    def height(self) -> int:
        """How many rows are chosen."""
        return self.raw.height if self._index is None else self._index.len()

    def column(self, name: str) -> pl.Series:
        """Return a column of the chosen rows."""
        column = self.raw[name]
        return column if self._index is None else column.gather(self._index)

    def rows(self, positions: pl.Series) -> pl.DataFrame:
        """Return the chosen rows at `positions`, in one chunk."""
        return self.raw[self.origin(positions)].rechunk()

    def frame(self) -> pl.DataFrame:
        """Return the chosen rows."""
        return self.raw if self._index is None else self.raw[self._index]

    def origin(self, positions: pl.Series) -> pl.Series:
        """Return where the chosen rows at `positions` are in `raw`."""
        return positions if self._index is None else self._index.gather(positions)

    def without(self, positions: pl.Series) -> Selection:
        """Return the selection less the chosen rows at `positions`."""
        if positions.is_empty():
            return self
        mask = pl.repeat(value=True, n=self.height, eager=True).scatter(positions, values=False)
        kept = mask.arg_true() if self._index is None else self._index.filter(mask)
        return Selection(self.raw, kept)

    def ordered(self, order: pl.Series) -> Selection:
        """Return the selection in the order of `order`, positions among the chosen rows."""
        return Selection(self.raw, self.origin(order))


def places(*parts: pl.Series) -> pl.Series:
    """Return the positions of all parts, each once, ascending; a single part stays as it is."""
    found = [part for part in parts if part.len()]
    if len(found) > 1:
        return pl.concat(found).unique().sort()
    return found[0].cast(PLACE) if found else none()


def by_series(symbol: pl.Series) -> pl.Series:
    """Return the order that puts the rows of each symbol together, as they come."""
    frame = pl.DataFrame({"symbol": symbol})
    order = frame.select(pl.arg_sort_by("symbol", maintain_order=True)).to_series()
    return order.cast(PLACE)


def series_starts(symbol: pl.Series) -> pl.Series:
    """Return where each series begins in a column of symbols."""
    first = pl.Series([] if symbol.is_empty() else [0], dtype=PLACE)
    return places(first, symbol.ne_missing(symbol.shift(1)).arg_true())


def none() -> pl.Series:
    """Return no position."""
    return pl.Series([], dtype=PLACE)


def each_block(height: int, work: Callable[[int], _T]) -> list[_T]:
    """Return what `work` gives for the first row of each block of `BLOCK` rows, in order."""
    return [work(start) for start in range(0, height, BLOCK)]


def each_pair(work: Callable[[int, Neighbours], _T], *columns: pl.Series) -> list[_T]:
    """Return what `work` gives for each block of neighbouring rows, in order; nothing is copied.

    Args:
        work: is given the position of the first row of the block that has a row before it, and of
            each column the values before those rows, and at them.
        columns: of one length.
    """

    def of_block(start: int) -> _T:
        block = [column.slice(start, BLOCK + 1).rechunk() for column in columns]
        size = block[0].len() - 1
        return work(start + 1, [(each.slice(0, size), each.slice(1)) for each in block])

    return each_block(columns[0].len() - 1, of_block)
