"""What a backfill takes."""

from __future__ import annotations

from pydantic import Field, field_validator

from quant_sdk.errors import QuantError
from quant_sdk.lakehouse.symbols import check_symbol
from quant_sdk.lakehouse.timeframe import Timeframe
from quant_stages.intake.params import IntakeParams


class BackfillParams(IntakeParams):
    """Series and window of a backfill."""

    symbols: tuple[str, ...] = Field(
        min_length=1, description="The series, as EXCHANGE:BASEQUOTE; repeat it for more."
    )
    timeframe: str = Field(default="1h", description="Their bar length.")
    start: str = Field(
        description="First opening time, inclusive: 2024-01-31, or with a time, UTC."
    )
    end: str = Field(default="", description="Exclusive; default: the last closed bar.")
    shard_bars: int = Field(
        default=1_000, ge=1, le=1_000_000, description="Bars of a shard; shards lie on a grid."
    )

    @field_validator("symbols")
    @classmethod
    def _symbols(cls, symbols: tuple[str, ...]) -> tuple[str, ...]:
        for symbol in symbols:
            _checked(check_symbol, symbol)
        return tuple(sorted(set(symbols)))

    @field_validator("timeframe")
    @classmethod
    def _timeframe(cls, timeframe: str) -> str:
        _checked(Timeframe.parse, timeframe)
        return timeframe


def _checked(check: object, value: str) -> None:
    """Turn this project's error into the one that pydantic reports with its place."""
    try:
        check(value)  # type: ignore[operator]
    except QuantError as error:
        raise ValueError(f"{error.message}; {error.fix}") from error
