"""What ccxt raises, as errors of ours: never a body, a URL or a header of it."""

from __future__ import annotations

from typing import Final

from quant_registry.errors import QuantError, SourceError, SourceRefused, UnknownSymbol, VenueBusy
from quant_sdk.sources.http_answers import BUSY, DENIED, may_pass

_OK: Final = 200
_REDIRECTION: Final = 300


def explain(
    error: Exception, *, venue: str, status: int | None, retry_after: float | None, symbol: str
) -> QuantError:
    """Return the error to raise for what ccxt, or the code under it, raised.

    Args:
        error: what was raised.
        venue: who was asked.
        status: the HTTP status of the last answer; None where none came.
        retry_after: seconds the venue asked for; None where it did not.
        symbol: what was asked for, in our words; empty for the list of markets.
    """
    import ccxt  # type: ignore[import-untyped]

    name = type(error).__name__
    if status in BUSY or isinstance(error, ccxt.RateLimitExceeded | ccxt.DDoSProtection):
        return VenueBusy(
            f"{venue} asks for fewer requests{_shown(status)}",
            fix="lower max_requests_per_second of the venue in quant.yml, or: quant throttle",
            retry_after=retry_after,
        )
    if isinstance(error, ccxt.BadSymbol):
        return UnknownSymbol(
            f"{venue} does not list {symbol or 'the symbol'}",
            fix="take it out of the candidates: it may have been delisted",
            symbol=symbol,
        )
    said = f"{name}{_shown(status)}"
    if status in DENIED or isinstance(error, ccxt.AuthenticationError):
        return SourceRefused(
            f"{venue} denies access: {said}",
            fix=f"check QUANT_{venue}_API_KEY, or whether the venue serves this address",
            status=status,
            denied=True,
        )
    if _is_final(error, status):
        return SourceRefused(
            f"{venue} refuses the request: {said}",
            fix="look whether ccxt is up to date, and the venue serves this region",
            status=status,
        )
    return SourceError(
        f"{venue} failed: {said}",
        fix="run it again: the missing bars are fetched then",
        status=status,
        retry_after=retry_after,
    )


def malformed(venue: str, what: str) -> SourceError:
    """Return the error for an answer that is not of the venue's form."""
    return SourceError(
        f"{venue} gave an answer that cannot be read: {what}",
        fix="run it again; if it stays so, bring ccxt up to date",
    )


def _is_final(error: Exception, status: int | None) -> bool:
    import ccxt

    if status is not None and may_pass(status):
        return False
    if isinstance(error, ccxt.BadRequest | ccxt.NotSupported | ccxt.ArgumentsRequired):
        return True
    if isinstance(error, ccxt.OperationRejected | ccxt.InvalidProxySettings):
        return True
    return status is not None and status >= _REDIRECTION


def _shown(status: int | None) -> str:
    return "" if status is None or status == _OK else f" (HTTP {status})"
