"""Divide the rows of many series of one timeframe: good bars, refused rows, identical duplicates.

Few passes over all rows tell those that may be wrong; only these are asked rule by rule. The result
is that of asking rule after rule of each series by itself.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import polars as pl

from quant_sdk.conformance.asking import Crashed, ask, ask_each, ask_pairs, reasons
from quant_sdk.conformance.divided import REFUSED, Divided
from quant_sdk.conformance.rules.duplicate_conflict import differs_from_before
from quant_sdk.conformance.selection import (
    PLACE,
    Selection,
    by_series,
    none,
    places,
    series_starts,
)
from quant_sdk.conformance.steps import disordered, order_of, steps_of
from quant_sdk.conformance.suspects import COVERED, leaps, stays_above, suspects
from quant_sdk.conformance.worth import flat_runs, volume_spikes, whole_runs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from quant_sdk.conformance.rule import Asked, Rule
    from quant_sdk.conformance.steps import Steps

    Hole = Callable[[pl.DataFrame, pl.DataFrame], pl.Series]

NEEDED: Final = ("timestamp_missing", "off_grid", "duplicate_conflict")
"""The rules that are always asked: without them rows cannot be put one a bar."""

_OURS: Final = COVERED | {
    "duplicate_conflict",
    "flat_close",
    "identical_duplicate",
    "out_of_order",
    "return_after_gap",
    "return_spike",
    "volume_spike",
}


def divide(
    raw: pl.DataFrame,
    asked: Asked,
    rules: Iterable[Rule],
    hole: Hole | None = None,
    steps: Steps | None = None,
) -> Divided:
    """Divide rows of one timeframe.

    Args:
        raw: ts (Datetime us UTC, nullable), open, high, low, close, volume (Float64, nullable), and
            symbol (String, no nulls) where there are several series. Any order; sorted by symbol
            and ts is several times faster.
        asked: the timeframe, whose grid timestamps must lie on, and the thresholds.
        rules: of bars, in order; those of the scope ``rollup`` are left to others.
        hole: told of pairs of neighbouring bars (``symbol``, ``before``, ``after``) and of refused
            rows (``symbol``, ``ts``), says between which a bar is missing that never came; there,
            no return is judged. None: every return is judged, once.
        steps: of the rows, if they are known already.
    """
    return _Divider(raw, asked, rules, hole, steps).divide()


class _Divider:
    """Goes through the rules; each step narrows `rows` down."""

    def __init__(
        self,
        raw: pl.DataFrame,
        asked: Asked,
        rules: Iterable[Rule],
        hole: Hole | None,
        steps: Steps | None,
    ) -> None:
        self.asked = asked
        self.rules = {rule.id: rule for rule in rules}
        self.hole = hole
        self.rows = Selection(raw)
        self.refused: list[pl.DataFrame] = [pl.DataFrame(schema=REFUSED)]
        self.marks: dict[str, list[pl.Series]] = {}
        self.twins = none()
        self.crashed: list[Crashed] = []
        self.steps = self._steps() if steps is None else steps

    def divide(self) -> Divided:
        self._ask_rows()
        self._ask_arrival()
        self._put_in_order()
        self._part_duplicates()
        self._judge_returns()
        self._ask_series()
        self._note()
        return Divided(
            selection=self.rows,
            steps=self.steps,
            refused=pl.concat(self.refused),
            twins=self.twins,
            marks={rule: places(*found) for rule, found in self.marks.items()},
            crashed=self.crashed,
        )

    def _steps(self) -> Steps:
        has_symbol = "symbol" in self.rows.raw.columns
        symbol = self.rows.column("symbol") if has_symbol else None
        return steps_of(self.rows.column("ts"), symbol, self.asked.grid)

    def _ask_rows(self) -> None:
        """Ask the rules that look at one row; those about all rows come after the built-in ones."""
        asked = [rule for rule in self.rules.values() if rule.scope == "row"]
        covered = [rule for rule in asked if rule.id in COVERED]
        at = suspects(self.rows.raw, self.steps, self.asked.grid)
        self._drop(self._broken(covered, at))
        for rule in asked:
            if rule.id not in COVERED:
                every = pl.int_range(self.rows.height, dtype=PLACE, eager=True)
                self._drop(self._broken([rule], every))

    def _broken(self, rules: Sequence[Rule], at: pl.Series) -> pl.Series:
        """Ask rules of the rows at `at`; return where blocking ones are broken, once noted."""
        refused = none()
        if at.is_empty():
            return refused
        rows = self.rows.rows(at)
        for rule in rules:
            try:
                bad = ask(rule, rows, self.asked)
                broken = at.filter(bad)
                told = rows.filter(bad)
                if not self._settle(rule, broken, partial(reasons, rule, told, self.asked)):
                    continue
            except Crashed as error:
                self.crashed.append(error)
                continue
            refused = places(refused, broken)
            rows, at = rows.filter(~bad), at.filter(~bad)
        return refused

    def _ask_arrival(self) -> None:
        """Ask the rules about the order in which the rows of each series came."""
        for rule in self.rules.values():
            if rule.scope != "arrival" or not self._is_asked_by_itself(rule):
                continue
            if not self.steps.scattered:
                self._ask_each(rule, self.rows, self.steps.starts)
                continue
            order = by_series(self.rows.column("symbol"))
            rows = self.rows.ordered(order)
            self._ask_each(rule, rows, series_starts(rows.column("symbol")), order)

    def _is_asked_by_itself(self, rule: Rule) -> bool:
        """Tell whether no step of ours speaks for a rule: it is a user's, or refuses late rows."""
        if rule.id != "out_of_order":
            return rule.id not in _OURS
        return rule.severity == "block" and not self._late().is_empty()

    def _late(self) -> pl.Series:
        return disordered(self.steps, self.rows.column("ts"))

    def _put_in_order(self) -> None:
        ts = self.rows.column("ts")
        late = self._late()
        rule = self.rules.get("out_of_order")
        if rule is not None and rule.severity != "block":
            self._mark(rule, late)
        if self.steps.sorted:
            return
        if not self.steps.scattered and self.steps.names.is_sorted() and late.is_empty():
            return  # only equal times
        self.rows = self.rows.ordered(order_of(self.steps, ts))
        self.steps = self._steps()

    def _part_duplicates(self) -> None:
        """Drop identical rows of one time, refuse different ones."""
        later = self.steps.equal
        if later.is_empty():
            return
        at = places(later, later - 1)
        rows = self.rows.rows(at).with_columns(at=at, again=at.is_in(later.implode()))
        group = (~pl.col("again")).cum_sum()
        rows = rows.with_columns(group=group)
        differs = (pl.col("again") & differs_from_before()).any().over("group")
        rows = rows.with_columns(differs=differs)
        conflicts = rows.filter("differs")
        twins = rows.filter(~pl.col("differs") & pl.col("again"))
        self._settle_rows("duplicate_conflict", conflicts)
        if not self._settle_rows("identical_duplicate", twins):
            self.twins = self.rows.origin(twins["at"])
        self._drop(places(conflicts["at"], twins["at"]))

    def _settle_rows(self, name: str, rows: pl.DataFrame) -> bool:
        """Settle rows with their positions ``at``; return whether they are refused."""
        rule = self.rules.get(name)
        if rule is None:
            return False
        return self._settle(rule, rows["at"], partial(reasons, rule, rows, self.asked))

    def _judge_returns(self) -> None:
        spike, after_gap = (self.rules.get(name) for name in ("return_spike", "return_after_gap"))
        rule = spike or after_gap
        if rule is None:
            return
        came = pl.concat(self.refused)["at"]
        while (pairs := self._leaping(rule)) is not None:
            holes = self._holes(pairs, came)
            spikes = pairs.filter(~holes)
            if spike is not None and self._settle_told(spike, spikes):
                self._drop(spikes["at"])
                if self.hole is not None:
                    continue  # what stands before a bar now may be another one
            if after_gap is not None:
                self._settle_leaps(after_gap, pairs.filter(holes)["at"])
            return

    def _settle_leaps(self, rule: Rule, at: pl.Series) -> None:
        """Settle bars after a gap; with one that is refused go those that stay up there with it."""
        if at.is_empty() or rule.severity != "block":
            self._mark(rule, at)
            return
        limit = self.asked.limit("max_return")
        pairs = stays_above(self.rows.column("close"), self.steps.starts, at, limit)
        told = ask_pairs(rule, self.rows, pairs, self.asked)
        if self._settle_told(rule, told):
            self._drop(told["at"])

    def _settle_told(self, rule: Rule, told: pl.DataFrame) -> bool:
        return self._settle(rule, told["at"], lambda: told["reason"])

    def _leaping(self, rule: Rule) -> pl.DataFrame | None:
        """Return what `ask_pairs` tells of the bars whose return is too large; None: of none."""
        limit = self.asked.limit("max_return")
        at = leaps(self.rows.column("close"), self.steps.starts, limit)
        if at.is_empty():
            return None
        pairs = pl.DataFrame({"before": at - 1, "at": at})
        return ask_pairs(rule, self.rows, pairs, self.asked).filter("bad")

    def _holes(self, pairs: pl.DataFrame, came: pl.Series) -> pl.Series:
        if self.hole is None or pairs.is_empty():
            return pl.repeat(value=False, n=pairs.height, eager=True)
        return self.hole(pairs, self.rows.raw[came])

    def _ask_series(self) -> None:
        """Ask the rules that somebody added of each series."""
        for rule in self.rules.values():
            if rule.scope == "series" and rule.id not in _OURS:
                self._ask_each(rule, self.rows, self.steps.starts)

    def _ask_each(
        self, rule: Rule, rows: Selection, starts: pl.Series, order: pl.Series | None = None
    ) -> None:
        """Ask a rule of each series of `rows`: ours, as they are or in the order of `order`."""
        try:
            broken, why = ask_each(rule, rows.frame(), starts, self.asked)
        except Crashed as error:
            self.crashed.append(error)
            return
        at = broken if order is None else order.gather(broken)
        if self._settle(rule, at, lambda: why):
            self._drop(at)

    def _note(self) -> None:
        """Settle what is worth a note; where it is refused, until no more of it is found."""
        for name, find in (("volume_spike", self._busy), ("flat_close", self._flat)):
            rule = self.rules.get(name)
            while rule is not None and (at := find(rule)).len():
                rows = self.rows.rows(at).with_columns(at=at)
                if not self._settle_rows(name, rows):
                    break
                self._drop(at)

    def _busy(self, _: Rule) -> pl.Series:
        sigmas = self.asked.limit("volume_sigmas")
        return volume_spikes(self.rows.column("volume"), self.steps.starts, sigmas)

    def _flat(self, rule: Rule) -> pl.Series:
        """Return where stalls begin; all of their bars, where they are refused."""
        close, starts = self.rows.column("close"), self.steps.starts
        begins = flat_runs(close, starts, int(self.asked.limit("flat_run")))
        return whole_runs(close, starts, begins) if rule.severity == "block" else begins

    def _settle(self, rule: Rule, at: pl.Series, why: Callable[[], pl.Series]) -> bool:
        """Refuse rows where the rule blocks, mark them where it does not; tell which it was."""
        if at.is_empty():
            return False
        if rule.severity != "block":
            self._mark(rule, at)
            return False
        self._refuse(rule, at, why())
        return True

    def _mark(self, rule: Rule, at: pl.Series) -> None:
        if at.is_empty():
            return
        self.marks.setdefault(rule.id, []).append(self.rows.origin(at))

    def _refuse(self, rule: Rule, at: pl.Series, why: pl.Series) -> None:
        found = pl.DataFrame({"at": self.rows.origin(at), "reason": why})
        self.refused.append(found.select("at", pl.lit(rule.id).alias("rule"), "reason"))

    def _drop(self, at: pl.Series) -> None:
        if at.len():
            self.rows = self.rows.without(at)
            self.steps = self._steps()
