"""What is listed: well-known crypto pairs on BINANCE, FX majors on FXCM, synthetic symbols.

Names and ticks look like those of the real venues; prices, turnovers and supplies are invented.
"""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from quant_registry.errors import UnknownSymbol

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

CRYPTO: Final = "BINANCE"
FX: Final = "FXCM"
_SIGNIFICANT: Final = 7
_FINEST: Final = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Instrument:
    """One listed symbol.

    Attributes:
        exchange: such as ``BINANCE``.
        base: the currency that is traded.
        quote: the currency it is priced in.
        kind: ``crypto`` or ``forex``; also the scanner's market.
        description: a name for people.
        price: what it costs about, in the quote currency.
        volatility: 1 for a wild symbol (prices within a factor of six), near 0 for a stable one.
        turnover: traded in a day about, in the quote currency; 0 where no volume is known.
        supply: units in existence; None where that means nothing.
        listed: the opening of its first bars, microseconds since the epoch, UTC.
        min_notional: the smallest order, in the quote currency.
        maker: fee of a resting order, as a part of its value.
        taker: fee of an order that takes, as a part of its value.
    """

    exchange: str
    base: str
    quote: str
    kind: str = "crypto"
    description: str = ""
    price: float
    volatility: float = 1.0
    turnover: float = 1e6
    supply: float | None = None
    listed: int = 0
    min_notional: float = 5.0
    maker: float = 0.001
    taker: float = 0.001

    @property
    def id(self) -> str:
        """The venue's own name: ``BTCUSDT``."""
        return f"{self.base}{self.quote}"

    @property
    def symbol(self) -> str:
        """``EXCHANGE:BASEQUOTE``."""
        return f"{self.exchange}:{self.base}{self.quote}"

    @property
    def price_digits(self) -> int:
        """Decimals of a price: seven significant digits, as far as eight decimals go."""
        return min(_FINEST, max(0, _SIGNIFICANT - 1 - math.floor(math.log10(self.price))))

    @property
    def tick(self) -> float:
        """The smallest step of a price."""
        return float(f"1e-{self.price_digits}")

    @property
    def lot_digits(self) -> int:
        """Decimals of a quantity: a lot is worth a tenth of the smallest order, or less."""
        return min(_FINEST, max(0, -math.floor(math.log10(self.min_notional / self.price / 10))))

    @property
    def lot(self) -> float:
        """The smallest step of a quantity."""
        return float(f"1e-{self.lot_digits}")


class Listing:
    """Instruments by symbol, in order; a symbol is listed once.

    Args:
        instruments: what is listed.
    """

    def __init__(self, instruments: Iterable[Instrument]) -> None:
        self._by_symbol = {each.symbol: each for each in instruments}

    def __iter__(self) -> Iterator[Instrument]:
        return iter(self._by_symbol.values())

    def __len__(self) -> int:
        return len(self._by_symbol)

    def __contains__(self, symbol: object) -> bool:
        return symbol in self._by_symbol

    def __getitem__(self, symbol: str) -> Instrument:
        """Return the instrument of ``EXCHANGE:BASEQUOTE``.

        Raises:
            UnknownSymbol: it is not listed.
        """
        if symbol not in self._by_symbol:
            near = ", ".join(difflib.get_close_matches(symbol, self._by_symbol)) or "none like it"
            raise UnknownSymbol(
                f"the synthetic market does not list {symbol!r}", fix=f"it lists {near}"
            )
        return self._by_symbol[symbol]

    def get(self, symbol: str) -> Instrument | None:
        """Return the instrument, or None where it is not listed."""
        return self._by_symbol.get(symbol)


def standard_listing(*, synthetic: int = 0, known: bool = True) -> Listing:
    """Return the well-known pairs and as many synthetic ones, ``BINANCE:S0000USDT`` and on.

    Args:
        synthetic: how many symbols to invent, for load tests.
        known: False leaves the well-known pairs out.
    """
    crypto = (*_against_dollar(), *_against_others()) if known else ()
    forex = _majors() if known else ()
    return Listing([*crypto, *(_invented(number) for number in range(synthetic)), *forex])


def _against_dollar() -> Iterator[Instrument]:
    for base, description, price, turnover, supply, listed in _COINS:
        yield Instrument(
            exchange=CRYPTO,
            base=base,
            quote="USDT",
            description=f"{description} / TetherUS",
            price=price,
            volatility=0.005 if base in STABLE else 1.0,
            turnover=turnover * 1e6,
            supply=supply * 1e6,
            listed=_midnight(listed),
        )


def _against_others() -> Iterator[Instrument]:
    dollar = {coin.base: coin for coin in _against_dollar()}
    for base, quote, turnover in _CROSSES:
        coin = dollar[base]
        worth = dollar[quote].price if quote in dollar else 1.0
        yield Instrument(
            exchange=CRYPTO,
            base=base,
            quote=quote,
            description=f"{coin.description.partition(' /')[0]} / {quote}",
            price=float(f"{coin.price / worth:.3g}"),
            volatility=coin.volatility,
            turnover=turnover * 1e6 / worth,
            supply=coin.supply,
            listed=max(coin.listed, _midnight("2019-07-01")),
            min_notional=5.0 if worth == 1.0 else float(f"{5 / worth:.0e}"),
        )


def _majors() -> Iterator[Instrument]:
    for base, quote, description, price in _MAJORS:
        yield Instrument(
            exchange=FX,
            base=base,
            quote=quote,
            kind="forex",
            description=description,
            price=price,
            volatility=0.15,
            turnover=0.0,
            listed=_midnight("2005-01-03"),
            min_notional=1_000.0,
            maker=0.0,
            taker=0.0,
        )


def _invented(number: int) -> Instrument:
    base = f"S{number:04d}"
    return Instrument(
        exchange=CRYPTO,
        base=base,
        quote="USDT",
        description=f"Synthetic {number} / TetherUS",
        price=round(0.05 * 1.6 ** (number % 23), 3),
        volatility=0.5 + number % 6 / 10,
        turnover=1e6 * (1 + number % 97),
        supply=1e7 * (1 + number % 13),
        listed=_midnight("2018-01-01"),
    )


def _midnight(day: str) -> int:
    return int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()) * 1_000_000


STABLE: Final = frozenset({"USDC", "FDUSD", "TUSD", "EUR"})
"""Bases whose price hardly moves against the dollar."""

_COINS: Final = (
    # base, name, price, turnover in millions a day, supply in millions, first day
    ("BTC", "Bitcoin", 62_000.0, 1_900.0, 19.7, "2017-08-17"),
    ("ETH", "Ethereum", 3_100.0, 1_100.0, 120.0, "2017-08-17"),
    ("BNB", "BNB", 560.0, 210.0, 146.0, "2017-11-06"),
    ("SOL", "Solana", 145.0, 640.0, 465.0, "2020-08-11"),
    ("XRP", "XRP", 0.58, 390.0, 56_000.0, "2018-05-04"),
    ("ADA", "Cardano", 0.44, 95.0, 35_600.0, "2018-04-17"),
    ("DOGE", "Dogecoin", 0.13, 310.0, 145_000.0, "2019-07-05"),
    ("TRX", "TRON", 0.14, 62.0, 87_000.0, "2018-06-11"),
    ("AVAX", "Avalanche", 31.0, 88.0, 394.0, "2020-09-22"),
    ("DOT", "Polkadot", 6.2, 47.0, 1_430.0, "2020-08-18"),
    ("LINK", "Chainlink", 14.2, 76.0, 608.0, "2019-01-16"),
    ("LTC", "Litecoin", 74.0, 68.0, 74.7, "2017-12-13"),
    ("BCH", "Bitcoin Cash", 380.0, 41.0, 19.7, "2019-11-28"),
    ("ATOM", "Cosmos", 6.8, 22.0, 391.0, "2019-04-29"),
    ("UNI", "Uniswap", 7.9, 34.0, 600.0, "2020-09-17"),
    ("XLM", "Stellar", 0.105, 18.0, 29_000.0, "2018-05-31"),
    ("ETC", "Ethereum Classic", 23.0, 26.0, 148.0, "2018-06-12"),
    ("FIL", "Filecoin", 4.6, 31.0, 570.0, "2020-10-15"),
    ("NEAR", "NEAR Protocol", 5.3, 73.0, 1_100.0, "2020-10-14"),
    ("APT", "Aptos", 7.4, 44.0, 460.0, "2022-10-19"),
    ("ARB", "Arbitrum", 0.81, 52.0, 3_300.0, "2023-03-23"),
    ("OP", "Optimism", 1.75, 49.0, 1_150.0, "2022-06-01"),
    ("INJ", "Injective", 23.0, 27.0, 97.0, "2020-10-21"),
    ("AAVE", "Aave", 98.0, 19.0, 14.9, "2020-10-15"),
    ("ALGO", "Algorand", 0.145, 9.0, 8_200.0, "2019-06-22"),
    ("SAND", "The Sandbox", 0.33, 14.0, 2_350.0, "2020-08-14"),
    ("SHIB", "Shiba Inu", 0.0000185, 120.0, 589_000_000.0, "2021-05-10"),
    ("KSM", "Kusama", 24.0, 3.1, 15.0, "2020-09-04"),
    ("ZEC", "Zcash", 27.0, 4.4, 16.3, "2019-03-21"),
    ("DASH", "Dash", 26.0, 2.7, 11.8, "2019-03-28"),
    ("USDC", "USD Coin", 1.0, 720.0, 32_000.0, "2018-12-15"),
    ("FDUSD", "First Digital USD", 1.0, 560.0, 2_600.0, "2023-07-26"),
    ("TUSD", "TrueUSD", 1.0, 12.0, 495.0, "2019-05-16"),
    ("EUR", "Euro", 1.08, 33.0, 90.0, "2020-01-03"),
)
_CROSSES: Final = (
    # base, quote, turnover in millions of dollars a day
    ("BTC", "USDC", 240.0),
    ("BTC", "FDUSD", 1_300.0),
    ("ETH", "USDC", 130.0),
    ("ETH", "FDUSD", 410.0),
    ("ETH", "BTC", 95.0),
    ("SOL", "USDC", 61.0),
    ("SOL", "BTC", 14.0),
    ("BNB", "BTC", 9.0),
    ("XRP", "BTC", 6.0),
    ("ADA", "BTC", 2.4),
    ("LTC", "BTC", 3.2),
    ("LINK", "BTC", 1.9),
    ("LINK", "ETH", 0.4),
    ("DOGE", "FDUSD", 48.0),
)
_MAJORS: Final = (
    ("EUR", "USD", "Euro / U.S. Dollar", 1.08),
    ("GBP", "USD", "British Pound / U.S. Dollar", 1.27),
    ("USD", "JPY", "U.S. Dollar / Japanese Yen", 151.0),
    ("AUD", "USD", "Australian Dollar / U.S. Dollar", 0.66),
    ("USD", "CAD", "U.S. Dollar / Canadian Dollar", 1.36),
    ("USD", "CHF", "U.S. Dollar / Swiss Franc", 0.89),
    ("NZD", "USD", "New Zealand Dollar / U.S. Dollar", 0.6),
    ("EUR", "GBP", "Euro / British Pound", 0.85),
    ("EUR", "JPY", "Euro / Japanese Yen", 163.0),
)
