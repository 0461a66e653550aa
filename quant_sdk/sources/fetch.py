"""Fetches a range of bars page by page, and accounts for every bar that did not come.

The range is counted in slots of the timeframe's grid. When `fetch_bars` returns, each slot of the
range whose bar has closed either holds a bar or lies in exactly one hole, which names its cause.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import polars as pl

from quant_registry.errors import SourceError, SourceRefused, UnknownSymbol
from quant_sdk.lakehouse.specs import UTC_MICROS
from quant_sdk.lakehouse.timeframe import Timeframe
from quant_sdk.sources._beginning import OUT_OF_REACH, settle
from quant_sdk.sources._reach import Reach
from quant_sdk.sources.protocol import BarQuery

if TYPE_CHECKING:
    from collections.abc import Callable

    from quant_sdk.sources.protocol import BarSource

Cause = Literal["verified_empty", "not_listed_yet", "unknown_symbol", "fetch_failed", "no_progress"]

COLUMNS: Final = {
    "ts": UTC_MICROS,
    **dict.fromkeys(("open", "high", "low", "close", "volume"), pl.Float64()),
}
_SHOWN: Final = 200
# Pages in a row after which the rest is given up: refusals do not change, outages last.
_REFUSED_IN_A_ROW: Final = 3
_FAILED_IN_A_ROW: Final = 20
_EMPTY: Final[tuple[Cause, str]] = ("verified_empty", "")


@dataclass(frozen=True, kw_only=True, slots=True)
class Hole:
    """Closed bars that did not come, and why.

    Attributes:
        symbol: ``EXCHANGE:BASEQUOTE``.
        timeframe: such as ``1h``.
        start: opening of the first one, microseconds since the epoch, UTC.
        end: exclusive, on the grid; ``[start, end)``.
        cause: ``verified_empty``: the venue answered and has no bar there. ``not_listed_yet``: the
            same, before its first bar ever. ``unknown_symbol``: it does not list the symbol, or
            not any more. ``fetch_failed``: it could not be asked, after all tries, or does not go
            back so far. ``no_progress``: it answered with other bars than those asked for.
        detail: code and message of the failure, short; empty where there was none.
    """

    symbol: str
    timeframe: str
    start: int
    end: int
    cause: Cause
    detail: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fetched:
    """What a range brought.

    Attributes:
        bars: columns of `BarSource.transform_data`, in the order of the answers: duplicates, bars
            off the grid and impossible values are left to the checks.
        holes: disjoint, in time order.
        requests: calls to the venue, further tries included.
        withheld: bars that came and were not closed yet; they are not in `bars`.
    """

    bars: pl.DataFrame
    holes: tuple[Hole, ...]
    requests: int
    withheld: int


def fetch_bars(
    source: BarSource,
    query: BarQuery,
    *,
    now_us: int,
    caller: Callable[[Callable[[], Any]], Any],
) -> Fetched:
    """Fetch the closed bars of ``[query.start, query.end)``.

    A page that fails becomes a hole, and the next page is asked for. A range without a closed bar
    asks for nothing.

    Args:
        source: who is asked.
        query: what is wanted; the range begins at the first opening on the grid.
        now_us: the present, microseconds since the epoch, UTC: only bars closed by then count.
        caller: makes a call, with retries and at the venue's rate (`quant_sdk.sources.calls`).

    Raises:
        InvalidInput: the timeframe is none, or none of the venue's.
        RunCancelled: the run is to be cancelled; what was fetched is lost.
    """
    return _Fetch(source, query, now_us, caller).run()


class _Fetch:
    """One range, walked from its first slot to its last closed one."""

    def __init__(
        self,
        source: BarSource,
        query: BarQuery,
        now_us: int,
        caller: Callable[[Callable[[], Any]], Any],
    ) -> None:
        self._source = source
        self._query = query
        self._caller = caller
        self._timeframe = Timeframe.parse(query.timeframe)
        self._first = self._timeframe.slot_of(query.start - 1) + 1
        self._open = self._timeframe.slot_of(now_us)
        self._beyond = min(self._timeframe.slot_of(query.end - 1) + 1, self._open)
        self._recent_only = source.capabilities.recent_only
        self._gives_next = source.capabilities.gives_next
        self._frames: list[pl.DataFrame] = []
        self._holes = _Holes()
        self._oldest = self._timeframe.slot_of(0)
        self._reach = Reach(source.capabilities.page_size, self._oldest + 1, self._slots_of)
        self._latest = self._oldest
        self._requests = 0
        self._withheld: set[int] = set()
        self._failed = 0
        self._refused = 0

    def run(self) -> Fetched:
        """Ask page after page; the next one begins where the last one ended."""
        slot = self._first
        while slot < self._beyond:
            slot = self._page(slot)
        settle(
            self._holes.found, self._first, self._beyond, ever=self._first_ever, heeds=self._heeds
        )
        return Fetched(
            bars=_joined(self._frames),
            holes=tuple(self._named(hole) for hole in self._holes.found),
            requests=self._requests,
            withheld=len(self._withheld),
        )

    def _page(self, slot: int) -> int:
        """Ask for the page that begins at `slot`; return the slot that comes next."""
        beyond = min(slot + self._source.capabilities.page_size, self._beyond)
        start = self._timeframe.open_of(slot)
        try:
            answer = self._ask(start, self._query.end)
            return self._take(answer, slot, start, beyond)
        except UnknownSymbol as error:
            self._holes.add(slot, self._beyond, "unknown_symbol", _told(error))
            return self._beyond
        except SourceError as error:
            beyond = self._beyond if self._gives_up(error) else beyond
            self._holes.add(slot, beyond, "fetch_failed", _told(error))
            return beyond

    def _take(self, answer: pl.DataFrame, slot: int, start: int, beyond: int) -> int:
        """Keep what an answer holds of the page, note what it lacks; return the slot after it."""
        self._failed = self._refused = 0
        # Plain numbers: on a page of some hundred rows they are faster than expressions.
        ts: list[int] = answer["ts"].to_physical().to_list()
        if ts and max(ts) < start:
            detail = "every bar of the answer opens before the time asked for"
            self._holes.add(slot, beyond, "no_progress", detail)
            return beyond
        slots = _slots(ts, self._timeframe)
        if slots:
            self._latest = max(self._latest, min(slots))
        present, beyond = self._reached(slots, slot, beyond)
        if self._reach.refuted():
            self._holes = _Holes()
            return self._first  # what was passed over may hold bars
        self._keep(answer, ts, slots, start, beyond)
        self._note_absent(present, slot, beyond)
        return beyond

    def _reached(self, slots: list[int], slot: int, beyond: int) -> tuple[list[int], int]:
        """Return the slots that an answer fills, and the one at which what it tells of ends."""
        if not (self._gives_next or self._recent_only):
            return self._reach.told(slots, slot, beyond)
        present = sorted({at for at in slots if slot <= at < self._beyond})
        if slots:
            return present, min(max(slots) + 1, self._beyond)
        return present, self._beyond if self._gives_next else beyond

    def _keep(
        self, answer: pl.DataFrame, ts: list[int], slots: list[int], start: int, beyond: int
    ) -> None:
        """Keep the closed bars of an answer that open in the range, before the slot `beyond`."""
        end = self._query.end
        wanted = [row for row, at in enumerate(ts) if start <= at < end]
        kept = [row for row in wanted if slots[row] < beyond]
        if len(kept) < len(wanted):
            self._withheld.update(ts[row] for row in wanted if slots[row] >= self._open)
        if kept:
            self._frames.append(answer if len(kept) == len(ts) else answer[kept])

    def _note_absent(self, present: list[int], slot: int, beyond: int) -> None:
        """Note the holes that the slots `present` leave in ``[slot, beyond)``."""
        expected = slot
        for each in [*present, beyond]:
            if each > expected:
                why = self._absent() if expected == slot else _EMPTY
                self._holes.add(expected, each, *why)
            expected = each + 1

    def _ask(self, start: int, end: int) -> pl.DataFrame:
        """Return the bars of the page that begins with the opening `start`.

        An answer that cannot be read fails within the call, so that it is asked for again.
        """
        source, query = self._source, self._query
        since = start if source.capabilities.since_inclusive else start - 1
        request = source.transform_query(
            BarQuery(symbol=query.symbol, timeframe=query.timeframe, start=since, end=end)
        )

        def call() -> pl.DataFrame:
            self._requests += 1
            return source.transform_data(source.extract(request))

        bars: pl.DataFrame = self._caller(call)
        return bars

    def _first_ever(self) -> int | None:
        """Return the slot of the venue's first bar, or None where it does not tell."""
        end = self._timeframe.open_of(self._oldest + 1)
        try:
            bars = self._ask(0, end)
        except SourceError:
            return None
        ts: list[int] = bars["ts"].to_physical().to_list()
        return self._timeframe.slot_of(min(ts)) if ts else None

    def _heeds(self, ever: int) -> bool:
        """Tell whether the venue leaves out its first bar where it is asked for later ones.

        One that gives its newest bars whatever it is asked seems to begin with them.
        """
        if self._gives_next or self._latest > ever:
            return True
        try:
            return min(self._slots_of(ever + 1, ever + 2), default=ever + 1) > ever
        except SourceRefused:  # it has read what it was asked for
            return True
        except SourceError:
            return False

    def _slots_of(self, slot: int, beyond: int) -> list[int]:
        """Return the slots of the bars that the venue gives, asked for ``[slot, beyond)``."""
        start, end = self._timeframe.open_of(slot), self._timeframe.open_of(beyond)
        ts: list[int] = self._ask(start, end)["ts"].to_physical().to_list()
        return _slots(ts, self._timeframe)

    def _absent(self) -> tuple[Cause, str]:
        return ("fetch_failed", OUT_OF_REACH) if self._recent_only else _EMPTY

    def _gives_up(self, error: SourceError) -> bool:
        self._failed += 1
        self._refused = self._refused + 1 if isinstance(error, SourceRefused) else 0
        return self._failed >= _FAILED_IN_A_ROW or self._refused >= _REFUSED_IN_A_ROW

    def _named(self, hole: tuple[int, int, Cause, str]) -> Hole:
        first, beyond, cause, detail = hole
        return Hole(
            symbol=self._query.symbol,
            timeframe=self._query.timeframe,
            start=self._timeframe.open_of(first),
            end=self._timeframe.open_of(beyond),
            cause=cause,
            detail=detail,
        )


class _Holes:
    """Holes of one range, ``[first, beyond)`` in slots, in order."""

    def __init__(self) -> None:
        self.found: list[tuple[int, int, Cause, str]] = []

    def add(self, first: int, beyond: int, cause: Cause, detail: str = "") -> None:
        """Note a hole, joined to the one before where they touch and agree."""
        if beyond <= first:
            return
        if self.found and self.found[-1][1:] == (first, cause, detail):
            first = self.found.pop()[0]
        self.found.append((first, beyond, cause, detail))


def _slots(instants: list[int], timeframe: Timeframe) -> list[int]:
    """Return the slot of each instant, microseconds since the epoch."""
    step, origin = timeframe.micros, timeframe.origin
    if step is None:
        return [timeframe.slot_of(at) for at in instants]
    return [(at - origin) // step for at in instants]


def _joined(frames: list[pl.DataFrame]) -> pl.DataFrame:
    if not frames:
        return pl.DataFrame(schema=COLUMNS)
    return frames[0] if len(frames) == 1 else pl.concat(frames)


def _told(error: SourceError) -> str:
    return " ".join(f"{error.code}: {error.message}".split())[:_SHOWN]
