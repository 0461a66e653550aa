"""`FaultySource`: a source of bars that fails, or tells wrong things, when it is told to.

=================  ================================================================================
``error``          the call fails, and another try may succeed (`SourceError`)
``busy``           the venue asks for patience (`VenueBusy`)
``refused``        the venue refuses, and will again (`SourceRefused`)
``unknown_symbol`` the venue does not list the symbol any more (`UnknownSymbol`)
``torn``           an answer comes, and cannot be read (`SourceError`)
``empty``          an answer comes without bars
``duplicates``     each bar comes twice
``conflicts``      each bar comes twice, with another close
``out_of_order``   the bars come newest first
``wrong_unit``     milliseconds are told as microseconds
=================  ================================================================================
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

import polars as pl

from quant_registry.errors import (
    SourceError,
    SourceRefused,
    UnknownName,
    UnknownSymbol,
    VenueBusy,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from quant_sdk.sources.protocol import BarQuery, BarSource, Capabilities
    from quant_sdk.testing.faults import Gate

_FIX: Final = "planted by a test"
_MILLI: Final = 1_000

_ERRORS: Final[dict[str, Callable[[], Exception]]] = {
    "error": lambda: SourceError("the venue is away", fix=_FIX),
    "busy": lambda: VenueBusy("the venue asks for patience", fix=_FIX, retry_after=1.0),
    "refused": lambda: SourceRefused("the venue refuses", fix=_FIX),
    "unknown_symbol": lambda: UnknownSymbol("the venue does not list it", fix=_FIX),
}


def _twice(bars: pl.DataFrame, close: pl.Expr) -> pl.DataFrame:
    both = pl.concat([bars, bars.with_columns(close.alias("close"))])
    order = pl.int_range(bars.height, eager=True)
    return both[pl.concat([order, order]).arg_sort()]


def _in_milliseconds(bars: pl.DataFrame) -> pl.DataFrame:
    ts = pl.col("ts")
    return bars.with_columns((ts.dt.timestamp("us") // _MILLI).cast(bars.schema["ts"]).alias("ts"))


_WRONG: Final[dict[str, Callable[[pl.DataFrame], pl.DataFrame]]] = {
    "empty": lambda bars: bars.clear(),
    "duplicates": lambda bars: _twice(bars, pl.col("close")),
    "conflicts": lambda bars: _twice(bars, pl.col("close") * 1.0001),
    "out_of_order": lambda bars: bars.reverse(),
    "wrong_unit": _in_milliseconds,
}
_TORN: Final = "torn"

SOURCE_FAULTS: Final = (*_ERRORS, _TORN, *_WRONG)
"""The names of the faults."""


class UnknownFault(UnknownName):
    """A source cannot fail in that way."""

    noun = "fault of a source"
    fix = f"the faults are {', '.join(SOURCE_FAULTS)}"


@dataclass(frozen=True, slots=True)
class _Answer:
    """What a call brought, and what is wrong with it."""

    content: Any
    fault: str | None


class FaultySource:
    """A `BarSource` around another one; safe to use from several threads at once.

    What is planned happens to the next calls of `extract`, one fault a call, in order; then the
    source is as good as the one within.

    Args:
        source: who is asked.
    """

    def __init__(self, source: BarSource) -> None:
        self._source = source
        self._lock = threading.Lock()
        self._planned: deque[str | Gate | None] = deque()
        self.met: Counter[str] = Counter()
        """How often each fault has happened."""

    def fails(self, fault: str, *, times: int = 1, after: int = 0) -> Self:
        """Plan a fault for `times` calls, once `after` more calls went well.

        Raises:
            UnknownFault: there is no such fault.
        """
        if fault not in SOURCE_FAULTS:
            raise UnknownFault(fault, SOURCE_FAULTS)
        with self._lock:
            self._planned.extend([None] * after)
            self._planned.extend([fault] * times)
        return self

    def waits(self) -> Gate:
        """Plan that a call stands still until the gate that is returned lets it through."""
        from quant_sdk.testing.faults import Gate

        gate = Gate()
        with self._lock:
            self._planned.append(gate)
        return gate

    @property
    def id(self) -> str:
        """As that of the source within."""
        return self._source.id

    @property
    def venue(self) -> str:
        """As that of the source within."""
        return self._source.venue

    @property
    def capabilities(self) -> Capabilities:
        """Those of the source within."""
        return self._source.capabilities

    def transform_query(self, query: BarQuery) -> dict[str, Any]:
        """Return the request of the source within."""
        return self._source.transform_query(query)

    def extract(self, request: dict[str, Any]) -> Any:
        """Make one request, or fail as planned."""
        with self._lock:
            planned = self._planned.popleft() if self._planned else None
            if isinstance(planned, str):
                self.met[planned] += 1
        if planned is not None and not isinstance(planned, str):
            planned()
            planned = None
        error = _ERRORS.get(planned or "")
        if error is not None:
            raise error()
        return _Answer(self._source.extract(request), planned)

    def transform_data(self, answer: Any) -> pl.DataFrame:
        """Return the bars of an answer, made wrong as planned."""
        if answer.fault == _TORN:
            raise SourceError("the answer breaks off in the middle", fix=_FIX)
        bars = self._source.transform_data(answer.content)
        return bars if answer.fault is None else _WRONG[answer.fault](bars)
