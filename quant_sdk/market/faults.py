"""What a market does wrong, declared: refusals, torn answers, outages, delistings, corrections.

Every draw is a hash of the seed, the kind of fault and the request with its repetition, so the
same requests meet the same faults in whatever order threads make them. Storms and `down` count
all requests. Instants are microseconds since the epoch, UTC; intervals are half-open.
"""

from __future__ import annotations

import hashlib
import math
import threading
from collections import Counter
from collections.abc import Mapping  # noqa: TC003  read by read_faults
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Final

from quant_registry.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_ROUNDING: Final = 1e-9
_STRICT: Final = {"extra": "forbid"}
"""How `read_faults` treats keys it does not know."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Storm:
    """Every `every`-th request opens a storm: `length` refusals (429) with ``Retry-After``."""

    __pydantic_config__: ClassVar = _STRICT

    every: int
    length: int
    retry_after: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Halt:
    """``[start, end)`` without trade: bars that lie within it are absent.

    It concerns `symbols` (``EXCHANGE:BASEQUOTE``), or all where that is None.
    """

    __pydantic_config__: ClassVar = _STRICT

    start: int
    end: int
    symbols: frozenset[str] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Delisting:
    """A symbol is gone after so many requests for its bars, or from an instant on.

    With `at`, no bar opens at that instant or later, and the symbol is gone once it is past.
    """

    __pydantic_config__: ClassVar = _STRICT

    after_requests: int | None = None
    at: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Correction:
    """Bars that open in ``[start, end)`` have prices `factor` times those given before.

    In force once so many requests for the symbol's bars were answered; `end` None is forever.
    """

    __pydantic_config__: ClassVar = _STRICT

    start: int
    end: int | None = None
    factor: float
    after_requests: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Faults:
    """All that goes wrong; by default nothing does.

    Attributes:
        seed: of the draws.
        error_rate: part of the requests answered with 500, 502 or 503.
        torn_rate: part of the answers cut: half of them shorter than their Content-Length, half
            with a length that fits and a body that ends in the middle.
        slow_rate: part of the answers that come late.
        slow_seconds: how late.
        storm: refusals in a row.
        down: ``(first, last)`` request, counted from 1, inclusive: 503 to all of them.
        outages: ``(start, end)``: 503 to a request whose asked bars touch the interval.
        dark: ``(start, end)``: 503 to every request while the market's now is in it.
        halts: bars that never were.
        delistings: by symbol, ``EXCHANGE:BASEQUOTE``.
        corrections: by symbol, ``EXCHANGE:BASEQUOTE``.
        requests_per_second: 429 above it, with ``Retry-After``; None is no limit.
        echo_credentials: error bodies repeat the request's target and headers.
        paths: only requests to paths that begin so meet faults of transport and rate.
    """

    __pydantic_config__: ClassVar = _STRICT

    seed: int = 0
    error_rate: float = 0.0
    torn_rate: float = 0.0
    slow_rate: float = 0.0
    slow_seconds: float = 0.0
    storm: Storm | None = None
    down: tuple[int, int] | None = None
    outages: tuple[tuple[int, int], ...] = ()
    dark: tuple[tuple[int, int], ...] = ()
    halts: tuple[Halt, ...] = ()
    delistings: Mapping[str, Delisting] = field(default_factory=dict)
    corrections: Mapping[str, Correction] = field(default_factory=dict)
    requests_per_second: float | None = None
    echo_credentials: bool = False
    paths: tuple[str, ...] = ("/",)

    def __post_init__(self) -> None:
        """Refuse what could never be meant.

        Raises:
            InvalidInput: a rate that is no part of one, a storm without end, a correction to
                nothing.
        """
        for name in ("error_rate", "torn_rate", "slow_rate"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise InvalidInput(f"{name} is a part of all requests", fix="give 0 to 1")
        if self.storm is not None and not 0 < self.storm.length < self.storm.every:
            raise InvalidInput("a storm ends before the next", fix="give it a shorter length")
        if any(each.factor <= 0.0 for each in self.corrections.values()):
            raise InvalidInput("a corrected price is above zero", fix="give a factor above 0")


def read_faults(path: Path) -> Faults:
    """Return the faults that a JSON file declares, fields and nested fields by name.

    Raises:
        InvalidInput: the file is not readable, not JSON, or has something else in it.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        content = path.read_bytes()
        return TypeAdapter(Faults).validate_json(content)
    except OSError as error:
        reason = error.strerror or str(error)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        reason = f"{'.'.join(map(str, first['loc'])) or 'content'}: {first['msg']}"
    raise InvalidInput(
        f"the faults in {path.name!r} cannot be read: {reason}",
        fix="write a JSON object with the fields of quant_sdk.market.faults.Faults",
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Strike:
    """What happens to one request.

    `status` answers instead of the market; `tear` cuts the market's answer: ``short`` of its
    declared length, or ``cut`` with a length that fits; `delay` is in seconds.
    """

    status: int | None = None
    retry_after: int | None = None
    tear: str | None = None
    delay: float = 0.0


class Trouble:
    """Decides which request meets which fault of transport and rate; safe to share by threads.

    Args:
        faults: what goes wrong.
        now: the market's clock, microseconds since the epoch.
        monotonic: seconds, for the rate limit.
    """

    def __init__(
        self, faults: Faults, now: Callable[[], int], monotonic: Callable[[], float]
    ) -> None:
        self._faults = faults
        self._now = now
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._asked: Counter[str] = Counter()
        self._total = 0
        self._storm_left = 0
        self._due = -math.inf

    def strike(self, target: str) -> Strike:
        """Count a request for `target` (path and query, body included) and decide its fate."""
        faults = self._faults
        if not target.startswith(faults.paths):
            return Strike()
        with self._lock:
            self._total += 1
            self._asked[target] += 1
            number, nth = self._total, self._asked[target]
            refused = self._refused(number)
        if refused is not None:
            return refused
        if self._is_down(number):
            return Strike(status=503)
        draw = _draws(faults.seed, target, nth)
        if draw("error") < faults.error_rate:
            return Strike(status=(500, 502, 503)[int(draw("status") * 3)])
        torn = draw("torn") < faults.torn_rate
        return Strike(
            tear=("short", "cut")[int(draw("tear") * 2)] if torn else None,
            delay=faults.slow_seconds if draw("slow") < faults.slow_rate else 0.0,
        )

    def _refused(self, number: int) -> Strike | None:
        storm, rate = self._faults.storm, self._faults.requests_per_second
        if storm is not None:
            if self._storm_left == 0 and number % storm.every == 0:
                self._storm_left = storm.length
            if self._storm_left:
                self._storm_left -= 1
                return Strike(status=429, retry_after=storm.retry_after)
        return None if rate is None else self._limited(rate)

    def _limited(self, rate: float) -> Strike | None:
        """Refuse what comes faster than `rate`, beyond a burst of a second's worth."""
        now = self._monotonic()
        due = max(self._due, now - 1.0)
        if due + 1.0 / rate > now + _ROUNDING:
            wait = due + 1.0 / rate - now
            return Strike(status=429, retry_after=math.ceil(wait))
        self._due = due + 1.0 / rate
        return None

    def _is_down(self, number: int) -> bool:
        first, last = self._faults.down or (0, -1)
        at = self._now() if self._faults.dark else 0
        return first <= number <= last or any(start <= at < end for start, end in self._faults.dark)


def _draws(seed: int, target: str, nth: int) -> Callable[[str], float]:
    def draw(kind: str) -> float:
        told = f"{seed}:{kind}:{nth}:{target}".encode()
        return int.from_bytes(hashlib.blake2b(told, digest_size=6).digest()) / 2**48

    return draw
