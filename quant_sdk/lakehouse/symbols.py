"""Symbols, ``EXCHANGE:BASEQUOTE``, checked before they come near a path or a predicate."""

from __future__ import annotations

import re
from typing import Final

from quant_registry.errors import InvalidIdentifier

SYMBOL_PATTERN: Final = r"[A-Z0-9_]{1,32}:[A-Z0-9](?!.*\.\.)[A-Z0-9._!&-]{0,63}"
"""The one pattern, matched against the whole text; two dots in a row are never part of it."""

_SYMBOL: Final = re.compile(SYMBOL_PATTERN)
_SHOWN: Final = 60


def check_symbol(text: str) -> str:
    """Return ``text`` unchanged if it is a symbol such as ``BINANCE:ADABTC``.

    Raises:
        InvalidIdentifier: it does not match `SYMBOL_PATTERN`.
    """
    if _SYMBOL.fullmatch(text):
        return text
    upper = text[:_SHOWN].upper()
    meant = len(text) <= _SHOWN and _SYMBOL.fullmatch(upper)
    raise InvalidIdentifier(
        f"{_shown(text)} is not a symbol",
        fix=f"did you mean {upper}?"
        if meant
        else "write EXCHANGE:BASEQUOTE, as in BINANCE:ADABTC: capitals, digits, "
        "_ in the exchange and . _ ! & - in the rest, at most 32 and 64 characters",
        symbol=text[:_SHOWN],
    )


def check_exchange(text: str) -> str:
    """Return ``text`` unchanged if it is the name of an exchange, as in a symbol.

    Raises:
        InvalidIdentifier: it is none.
    """
    check_symbol(f"{text}:X")
    return text


def join_symbol(exchange: str, base: str, quote: str = "") -> str:
    """Return the symbol of ``base`` in ``quote`` at ``exchange``: BINANCE, ADA, BTC → one text.

    Raises:
        InvalidIdentifier: the parts do not make a symbol.
    """
    return check_symbol(f"{exchange}:{base}{quote}")


def split_symbol(symbol: str) -> tuple[str, str]:
    """Return exchange and name of a symbol: ``("BINANCE", "ADABTC")``.

    Raises:
        InvalidIdentifier: the text is not a symbol.
    """
    exchange, _, name = check_symbol(symbol).partition(":")
    return exchange, name


def _shown(text: str) -> str:
    return ascii(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")
