"""`Market`: what is listed and traded, as it stands now; the truth that the servers speak of."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import numpy as np

from quant_sdk.lakehouse.timeframe import Timeframe
from quant_sdk.market.faults import Delisting, Faults
from quant_sdk.market.listing import standard_listing
from quant_sdk.market.prices import Bars, bars, walk_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import polars as pl
    from numpy.typing import NDArray

    from quant_sdk.market.faults import Correction
    from quant_sdk.market.listing import Instrument, Listing
    from quant_sdk.market.prices import Floats, Instants, Walk

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_MONTH: Final = 31 * 86_400_000_000
_EDGES: Final = 2
"""A bar has two edges, at least."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """Which bars are wanted: those opening in ``[start, end)``, microseconds since the epoch.

    At most `limit` of them: the oldest, or the newest.
    """

    start: int
    end: int
    limit: int | None = None
    newest: bool = False


class Market:
    """A synthetic market: prices are a function of the seed, the symbol and the instant.

    Safe to share by threads. What it answers depends on `now` (the unclosed bar), and, where the
    faults say so, on how many requests for a symbol's bars were answered.

    Args:
        seed: of the prices.
        now: the market's clock, aware; default: the machine's.
        listing: what is listed; default: the well-known pairs.
        faults: what goes wrong; default: nothing.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        now: Callable[[], datetime] | None = None,
        listing: Listing | None = None,
        faults: Faults | None = None,
    ) -> None:
        self.seed = seed
        self.listing = standard_listing() if listing is None else listing
        self.faults = faults or Faults()
        self._clock = now or _machine_time
        self._walks: dict[str, Walk] = {}
        self._asked: Counter[str] = Counter()
        self._lock = threading.Lock()

    def now(self) -> int:
        """Return the market's time, microseconds since the epoch."""
        return (self._clock() - _EPOCH) // _MICROSECOND

    def count(self, symbol: str) -> None:
        """Note an answered request for a symbol's bars; delistings and corrections wait for it."""
        with self._lock:
            self._asked[symbol] += 1

    def is_listed(self, symbol: str) -> bool:
        """Tell whether a symbol is traded now."""
        gone = self.faults.delistings.get(symbol, Delisting())
        worn_out = gone.after_requests is not None and self._asked[symbol] >= gone.after_requests
        past = gone.at is not None and self.now() >= gone.at
        return symbol in self.listing and not worn_out and not past

    def listed(self) -> Iterator[Instrument]:
        """Yield what is traded now, in the listing's order."""
        concerned = self.faults.delistings
        for each in self.listing:
            if each.symbol not in concerned or self.is_listed(each.symbol):
                yield each

    def walk(self, instrument: Instrument) -> Walk:
        """Return the noise behind an instrument's prices."""
        found = self._walks.get(instrument.symbol)
        if found is None:
            found = self._walks[instrument.symbol] = walk_of(self.seed, instrument)
        return found

    def bars(self, symbol: str, timeframe: str, start: int, end: int) -> pl.DataFrame:
        """Return the bars that open in ``[start, end)``, microseconds since the epoch, UTC.

        The values are those that the servers send: faults of transport aside, equal to the last
        bit. The last bar may be unclosed. A delisted symbol keeps its past here.

        Returns:
            ts (Datetime us UTC, opening), open, high, low, close, volume (Float64; null for FX).

        Raises:
            UnknownSymbol: the symbol was never listed.
            InvalidInput: the timeframe is none.
        """
        import polars as pl

        from quant_sdk.lakehouse.calendars import calendar_for

        length = Timeframe.parse(timeframe)
        found = self.page(self.listing[symbol], length, Span(start=start, end=end))
        opens_at = pl.Series(found.opens_at).cast(pl.Datetime("ms", "UTC"))
        frame = pl.DataFrame(
            {
                "ts": opens_at.dt.cast_time_unit("us"),
                **{name: getattr(found, name) for name in ("open", "high", "low", "close")},
                "volume": found.volume,
            }
        )
        calendar = calendar_for(symbol)
        if calendar.always_open:
            return frame
        expected = calendar.expected(pl.col("ts"), length)
        return frame.filter(expected).with_columns(volume=pl.lit(None, pl.Float64))

    def page(self, instrument: Instrument, timeframe: Timeframe, span: Span) -> Bars:
        """Return the bars of a span; the last may be unclosed, and ends now."""
        now = self.now() // 1000
        edges = self._edges(instrument, timeframe, replace(span, end=min(span.end, now * 1000)))
        if len(edges) < _EDGES:
            return _NOTHING
        edges[-1] = min(edges[-1], now)
        length = (timeframe.micros or _MONTH) // 1000
        found = bars(self.walk(instrument), edges, length)
        found = self._without_halts(found, instrument.symbol)
        if span.limit is not None:
            found = _cut(found, slice(-span.limit, None) if span.newest else slice(span.limit))
        return self._corrected(found, instrument)

    def correction(self, symbol: str) -> Correction | None:
        """Return the correction of a symbol's past that is in force."""
        found = self.faults.corrections.get(symbol)
        return found if found is None or self._asked[symbol] >= found.after_requests else None

    def _edges(self, instrument: Instrument, timeframe: Timeframe, span: Span) -> Instants:
        """Return openings and the end of the last bar (int64 ms), halted ones included."""
        gone = self.faults.delistings.get(instrument.symbol, Delisting()).at
        end = span.end if gone is None else min(span.end, gone)
        begin = max(span.start, timeframe.floor(instrument.listed))
        if begin >= end:
            return _NO_INSTANTS
        first, last = timeframe.slot_of(begin - 1) + 1, timeframe.slot_of(end - 1) + 1
        if span.limit is not None:
            enough = span.limit + self._halted(timeframe)
            first = max(first, last - enough) if span.newest else first
            last = min(last, first + enough)
        if timeframe.micros is None:
            opens = [timeframe.open_of(slot) for slot in range(first, last + 1)]
            return np.array(opens, dtype=np.int64) // 1000
        slots = np.arange(first, last + 1, dtype=np.int64)
        return (timeframe.origin + slots * timeframe.micros) // 1000

    def _halted(self, timeframe: Timeframe) -> int:
        """Return how many bars of a length may be absent because of halts."""
        length = timeframe.micros or _MONTH
        return sum((halt.end - halt.start) // length + 1 for halt in self.faults.halts)

    def _without_halts(self, found: Bars, symbol: str) -> Bars:
        kept = np.ones(len(found.opens_at), dtype=np.bool_)
        for halt in self.faults.halts:
            if halt.symbols is None or symbol in halt.symbols:
                begun = found.opens_at * 1000 >= halt.start
                kept &= ~(begun & (found.ends * 1000 <= halt.end))
        return found if kept.all() else _cut(found, kept)

    def _corrected(self, found: Bars, instrument: Instrument) -> Bars:
        change = self.correction(instrument.symbol)
        if change is None:
            return found
        opens_at = found.opens_at * 1000
        inside = opens_at >= change.start
        if change.end is not None:
            inside &= opens_at < change.end
        factor = np.where(inside, change.factor, 1.0)

        def changed(prices: Floats) -> Floats:
            return np.round(prices * factor, instrument.price_digits)

        return replace(
            found,
            open=changed(found.open),
            high=changed(found.high),
            low=changed(found.low),
            close=changed(found.close),
        )


def _machine_time() -> datetime:
    return datetime.now(UTC)


def _cut(found: Bars, kept: slice | NDArray[np.bool_]) -> Bars:
    columns = {each.name: getattr(found, each.name)[kept] for each in fields(Bars)}
    return Bars(**columns)


_EMPTY: Final = np.empty(0)
_NO_INSTANTS: Final = np.empty(0, dtype=np.int64)
_NOTHING: Final = Bars(
    opens_at=_NO_INSTANTS,
    ends=_NO_INSTANTS,
    open=_EMPTY,
    high=_EMPTY,
    low=_EMPTY,
    close=_EMPTY,
    volume=_EMPTY,
)
