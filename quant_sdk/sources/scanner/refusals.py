"""What a scanner's refusal means: be patient, try again, or do not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from quant_registry.errors import SourceError, SourceRefused, VenueBusy
from quant_sdk.sources.http_answers import BUSY, may_pass, retry_after

if TYPE_CHECKING:
    from collections.abc import Mapping

    from quant_registry.clock import Clock

_READ: Final = 10_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusal:
    """An answer that is not 200.

    Attributes:
        status: of HTTP.
        headers: names in any case.
        content: never shown; a server may repeat in it what it was sent.
    """

    status: int
    headers: Mapping[str, str]
    content: bytes

    def error(self, source: str, market: str, body: dict[str, Any], clock: Clock) -> SourceError:
        """Return it as an error.

        Args:
            source: who answered.
            market: what was asked.
            body: the request's.
            clock: tells how long it is to a date in ``Retry-After``.
        """
        told = f"{source} answered {self.status} for {market}"
        seconds = retry_after(self.headers, clock.now())
        if self.status in BUSY:
            return VenueBusy(
                f"{told}: too many requests",
                fix="ask less often: max_requests_per_second in quant.yml, or quant throttle",
                retry_after=seconds,
            )
        if may_pass(self.status):
            return SourceError(told, fix="try again later", retry_after=seconds)
        named = self.named(body)
        return SourceRefused(
            f"{told}, about {named}" if named else told,
            fix="correct columns, filters and markets of the scanner file, or the session cookie",
        )

    def named(self, body: dict[str, Any]) -> str:
        """Return those words of our request that the refusal repeats in quotes, three at most."""
        text = self.content[:_READ].decode("utf-8", "replace").replace('\\"', '"')
        words = [*body["columns"], *(item["left"] for item in body["filter"]), *body["markets"]]
        quoted = [
            word for word in dict.fromkeys(words) if f'"{word}"' in text or f"'{word}'" in text
        ]
        return ", ".join(quoted[:3])
