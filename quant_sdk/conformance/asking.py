"""Asking a rule of rows; a rule that crashes is named, and stops the data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import polars as pl

from quant_sdk.conformance.rule import marks, said
from quant_sdk.conformance.selection import PLACE, none

if TYPE_CHECKING:
    from collections.abc import Callable

    from quant_sdk.conformance.report import SeriesRollup
    from quant_sdk.conformance.rule import Asked, Rule
    from quant_sdk.conformance.selection import Selection

_SHOWN: Final = 300
_MOST: Final = 2**53
"""JSON numbers hold every whole number up to here."""
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


def ask_each(
    rule: Rule, rows: pl.DataFrame, starts: pl.Series, asked: Asked
) -> tuple[pl.Series, pl.Series]:
    """Ask a rule of each series by itself: return where its rows break it, and why.

    Args:
        rule: of the scope ``series`` or ``arrival``.
        rows: the rows of each series stand together.
        starts: where each series begins (positions).
        asked: as in `ask`.

    Raises:
        Crashed: as `ask`.
    """
    ends = starts.shift(-1, fill_value=rows.height)
    broken, why = [none()], [pl.Series([], dtype=pl.String)]
    for start, end in zip(starts, ends, strict=True):
        own = rows.slice(start, end - start).rechunk()
        bad = ask(rule, own, asked)
        if bad.any():
            broken.append((bad.arg_true() + start).cast(PLACE))
            why.append(reasons(rule, own, asked).filter(bad))
    return pl.concat(broken), pl.concat(why)


def ask_pairs(rule: Rule, rows: Selection, pairs: pl.DataFrame, asked: Asked) -> pl.DataFrame:
    """Ask a rule about each step from one row to another.

    Args:
        rule: looks at a row and the one before it.
        rows: of series.
        pairs: ``before``, ``at`` (positions).
        asked: as in `ask`.

    Returns:
        The rows at ``at``: ``at``, ``bad``, ``reason``; ``before`` and ``after`` are the two times.

    Raises:
        Crashed: as `ask`.
    """
    both = pairs.select(pl.concat_list("before", "at").explode()).to_series()
    steps = rows.rows(both)
    told = steps.with_columns(
        at=both,
        bad=ask(rule, steps, asked),
        reason=reasons(rule, steps, asked),
        before=pl.col("ts").shift(1),
        after="ts",
    )
    return told.gather_every(2, 1)


def tally(rule: Rule, series: SeriesRollup, asked: Asked) -> int:
    """Return how much of a series breaks a rule of the scope ``rollup``.

    Raises:
        Crashed: the rule raised, whatever it raised; or what it gave counts nothing.
    """
    if rule.counts is None:
        raise Crashed(rule.id, "it counts nothing")
    try:
        given = rule.counts(series, asked)
        found = int(given)
    except BaseException as error:
        raise crash(rule, error) from error
    if found != given or not 0 <= found <= _MOST:
        raise Crashed(rule.id, f"it counted {given!r}"[:_SHOWN])
    return found


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
