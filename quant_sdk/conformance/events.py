"""Divide rows that lie on no grid, such as ticks and quotes: good ones, refused ones, twins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import polars as pl

from quant_sdk.conformance.asking import Crashed, ask, ask_each, reasons
from quant_sdk.conformance.divided import REFUSED, Divided
from quant_sdk.conformance.selection import (
    PLACE,
    Selection,
    by_series,
    none,
    places,
    series_starts,
)
from quant_sdk.conformance.steps import Steps

if TYPE_CHECKING:
    from collections.abc import Iterable

    from quant_sdk.conformance.rule import Asked, Rule

KEY_CONFLICT: Final = "key_conflict"
"""Refuses rows of one key that differ, where no rule of the kind does."""

_OURS: Final = frozenset({"trade_id_repeated"})
"""Rules about series that tell symbols apart by themselves, and are asked once for all of them."""
_NO_REASON: Final = pl.Series([], dtype=pl.String)


def divide_events(
    raw: pl.DataFrame, key: tuple[str, ...], asked: Asked, rules: Iterable[Rule]
) -> Divided:
    """Divide rows.

    Args:
        raw: conformed rows, in the order in which they came.
        key: the columns that name a row; of rows that are equal in all columns the first is kept,
            rows that are not are refused, every one of them.
        asked: the thresholds.
        rules: of the kind, in order: of the scope ``row`` first, then ``arrival``, then ``series``.

    Returns:
        The good rows sorted by symbol and ts, as far as there are such columns.
    """
    return _Divider(raw, key, asked, rules).divide()


class _Divider:
    def __init__(
        self, raw: pl.DataFrame, key: tuple[str, ...], asked: Asked, rules: Iterable[Rule]
    ) -> None:
        self.key = [name for name in key if name in raw.columns]
        self.asked = asked
        self.rules = list(rules)
        self.rows = Selection(raw)
        self.refused = [pl.DataFrame(schema=REFUSED)]
        self.marks: dict[str, list[pl.Series]] = {}
        self.twins = none()
        self.crashed: list[Crashed] = []

    def divide(self) -> Divided:
        for rule in self.rules:
            if rule.scope == "row":
                self._apply(rule)
        for rule in self.rules:
            if rule.scope == "arrival":
                self._apply_each(rule)
        order = self._sort()
        self._drop_twins()
        for rule in self.rules:
            if rule.scope == "series":
                self._apply(rule) if rule.id in _OURS else self._apply_each(rule)
        self._part_keys()
        self.marks["out_of_order"] = [order]
        return Divided(
            selection=self.rows,
            steps=self._steps(),
            refused=pl.concat(self.refused),
            twins=self.twins,
            marks={rule: places(*found) for rule, found in self.marks.items()},
            crashed=self.crashed,
        )

    def _apply(self, rule: Rule) -> None:
        """Ask a rule of all rows at once."""
        rows = self.rows.frame()
        try:
            bad = ask(rule, rows, self.asked)
            at = bad.arg_true().cast(PLACE)
            why = reasons(rule, rows.filter(bad), self.asked) if at.len() else _NO_REASON
        except Crashed as error:
            self.crashed.append(error)
            return
        self._settle(rule, at, why)

    def _apply_each(self, rule: Rule) -> None:
        """Ask a rule of the rows of each symbol, in the order in which they stand here."""
        order = pl.int_range(self.rows.height, dtype=PLACE, eager=True)
        if "symbol" in self.rows.raw.columns:
            order = by_series(self.rows.column("symbol"))
        rows = self.rows.ordered(order)
        try:
            broken, why = ask_each(rule, rows.frame(), self._starts(rows), self.asked)
        except Crashed as error:
            self.crashed.append(error)
            return
        self._settle(rule, order.gather(broken), why)

    def _starts(self, rows: Selection) -> pl.Series:
        """Return where each symbol begins; without symbols, all rows are one series."""
        if "symbol" in rows.raw.columns:
            return series_starts(rows.column("symbol"))
        return places(pl.Series([0] if rows.height else [], dtype=PLACE))

    def _settle(self, rule: Rule, at: pl.Series, why: pl.Series) -> None:
        """Refuse rows where the rule blocks, mark them where it does not."""
        if at.is_empty():
            return
        if rule.severity == "block":
            self._refuse(rule.id, at, why)
        else:
            self.marks.setdefault(rule.id, []).append(self.rows.origin(at))

    def _sort(self) -> pl.Series:
        """Sort by symbol and time; return where in the input a row came after a later one."""
        by = [name for name in ("symbol", "ts") if name in self.rows.raw.columns]
        if not by or not self.rows.height:
            return none()
        keys = pl.DataFrame({name: self.rows.column(name) for name in by})
        late = none()
        if "ts" in by:
            before = pl.col("ts").shift(1)
            before = before.over("symbol") if "symbol" in by else before
            late = keys.select(pl.arg_where(pl.col("ts") < before)).to_series().cast(PLACE)
        late = self.rows.origin(late)
        order = keys.select(pl.arg_sort_by(by, maintain_order=True)).to_series()
        self.rows = self.rows.ordered(order.cast(PLACE))
        return late

    def _drop_twins(self) -> None:
        """Keep the first of rows that are equal in every column."""
        again = self._repeated(self.key)
        if again.is_empty():
            return
        rows = self.rows.rows(again)
        later = again.filter(~rows.select(pl.struct(pl.all()).is_first_distinct()).to_series())
        self.twins = self.rows.origin(later)
        self.rows = self.rows.without(later)

    def _part_keys(self) -> None:
        again = self._repeated(self.key)
        if again.len():
            told = f"another row has the same {', '.join(self.key)} and other values"
            self._refuse(KEY_CONFLICT, again, pl.Series([told]).new_from_index(0, again.len()))

    def _repeated(self, key: list[str]) -> pl.Series:
        """Return the rows whose key another row has; none where there is no key."""
        if not key or not self.rows.height:
            return none()
        keys = pl.DataFrame({name: self.rows.column(name) for name in key})
        return keys.is_duplicated().arg_true().cast(PLACE)

    def _refuse(self, rule: str, at: pl.Series, why: pl.Series) -> None:
        found = pl.DataFrame({"at": self.rows.origin(at), "reason": why})
        self.refused.append(found.select("at", pl.lit(rule).alias("rule"), "reason"))
        self.rows = self.rows.without(at)

    def _steps(self) -> Steps:
        """Return where each symbol begins; steps of time have no meaning here."""
        starts = self._starts(self.rows)
        names = pl.Series([""]).new_from_index(0, starts.len())
        if "symbol" in self.rows.raw.columns:
            names = self.rows.column("symbol").gather(starts)
        return Steps(
            at=starts,
            begins=pl.repeat(value=True, n=starts.len(), eager=True),
            steps=pl.Series([None], dtype=pl.Int64).new_from_index(0, starts.len()),
            names=names,
        )
