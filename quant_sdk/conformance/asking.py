"""Asking a rule of rows; a rule that crashes is named, and stops the data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import polars as pl

from quant_sdk.conformance.rule import marks, said

if TYPE_CHECKING:
    from collections.abc import Callable

    from quant_sdk.conformance.report import SeriesRollup
    from quant_sdk.conformance.rule import Asked, Rule

_SHOWN: Final = 300
_FOUND: Final = "quant_sdk.found"


@dataclass(frozen=True, slots=True)
class Crashed(Exception):  # noqa: N818  what happened
    """A rule raised, or gave no mark for each row."""

    rule: str
    error: str

    def __str__(self) -> str:
        return f"the rule {self.rule} crashed: {self.error}"


def ask(rule: Rule, rows: pl.DataFrame, asked: Asked) -> pl.Series:
    """Return which rows break `rule` (Boolean, never null).

    Raises:
        Crashed: the rule raised, whatever it raised.
    """
    return _evaluated(rule, rows, lambda: marks(rule, asked), pl.Boolean)


def reasons(rule: Rule, rows: pl.DataFrame, asked: Asked) -> pl.Series:
    """Return why each row breaks `rule` (String).

    Raises:
        Crashed: the rule raised, whatever it raised.
    """
    # polars 2.1 panics in format on a frame of several chunks.
    return _evaluated(rule, rows.rechunk(), lambda: said(rule, asked), pl.String)


def tally(rule: Rule, series: SeriesRollup, asked: Asked) -> int:
    """Return how much of a series breaks a rule of the scope ``rollup``.

    Raises:
        Crashed: the rule raised, whatever it raised.
    """
    if rule.counts is None:
        raise Crashed(rule.id, "it counts nothing")
    try:
        return int(rule.counts(series, asked))
    except BaseException as error:
        raise crash(rule, error) from error


def crash(rule: Rule, error: BaseException) -> Crashed:
    """Return `error` as a crash of `rule`; what is not an error of the rule goes on.

    A panic within polars does not derive from `Exception`.
    """
    if isinstance(error, Crashed):
        return error
    if not isinstance(error, Exception | pl.exceptions.PanicException):
        raise error
    return Crashed(rule.id, f"{type(error).__name__}: {error}"[:_SHOWN])


def _evaluated(
    rule: Rule, rows: pl.DataFrame, expression: Callable[[], pl.Expr], dtype: type[pl.DataType]
) -> pl.Series:
    """Return the value of an expression for each row; one value for all of them is repeated."""
    try:
        found = rows.with_columns(expression().alias(_FOUND))[_FOUND]
    except BaseException as error:
        raise crash(rule, error) from error
    if found.dtype != dtype:
        raise Crashed(rule.id, f"it gave {found.dtype} in place of {dtype()}")
    return found
