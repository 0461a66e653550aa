"""Divide the rows of many series of one timeframe: good bars, refused rows, identical duplicates.

Few passes over all rows tell those that may be wrong; only these are asked rule by rule. The result
is that of `check_bars` for each series by itself, in the order of the rules.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import polars as pl

from quant_sdk.conformance.asking import Crashed, ask, reasons
from quant_sdk.conformance.rules.duplicate_conflict import differs_from_before
from quant_sdk.conformance.selection import PLACE, Selection, none, places
from quant_sdk.conformance.steps import disordered, order_of, steps_of
from quant_sdk.conformance.suspects import COVERED, leaps, suspects
from quant_sdk.conformance.worth import flat_runs, volume_spikes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from quant_sdk.conformance.rule import Asked, Rule
    from quant_sdk.conformance.steps import Steps

    Hole = Callable[[pl.DataFrame, pl.DataFrame], pl.Series]

REFUSED: Final = {"at": PLACE, "rule": pl.String, "reason": pl.String}
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Divided:
    """The rows of many series of one timeframe, each accounted for.

    Attributes:
        selection: the good rows, sorted by symbol and ts, each once.
        steps: of the good rows.
        refused: ``at`` (UInt32, position in the input), ``rule``, ``reason``, in no order.
        twins: positions in the input of identical duplicates, which are dropped.
        marks: positions in the input by rule, of rows that break it and stay.
        crashed: rules that could not be asked.
    """

    selection: Selection
    steps: Steps
    refused: pl.DataFrame
    twins: pl.Series
    marks: Mapping[str, pl.Series]
    crashed: Sequence[Crashed]


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
                if broken.is_empty():
                    continue
                if rule.severity != "block":
                    self._mark(rule, broken)
                    continue
                self._refuse(rule, broken, reasons(rule, rows.filter(bad), self.asked))
            except Crashed as error:
                self.crashed.append(error)
                continue
            refused = places(refused, broken)
            rows, at = rows.filter(~bad), at.filter(~bad)
        return refused

    def _put_in_order(self) -> None:
        ts = self.rows.column("ts")
        late = disordered(self.steps, ts)
        if "out_of_order" in self.rules:
            self._mark(self.rules["out_of_order"], late)
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
        rule = self.rules["duplicate_conflict"]
        conflicts = rows.filter("differs")
        if conflicts.height:
            self._refuse(rule, conflicts["at"], reasons(rule, conflicts, self.asked))
        twins = rows.filter(~pl.col("differs") & pl.col("again"))["at"]
        self.twins = self.rows.origin(twins)
        if "identical_duplicate" in self.rules:
            self._mark(self.rules["identical_duplicate"], twins)
        self._drop(places(conflicts["at"], twins))

    def _judge_returns(self) -> None:
        rule = self.rules.get("return_spike")
        if rule is None:
            return
        came = pl.concat(self.refused)["at"]
        while (pairs := self._leaping(rule)) is not None:
            holes = self._holes(pairs, came)
            spikes = pairs.filter(~holes)
            if spikes.height and rule.severity == "block" and self.hole is not None:
                self._refuse(rule, spikes["at"], spikes["reason"])
                self._drop(spikes["at"])
                continue  # what stands before a bar now may be another one
            self._settle(rule, spikes)
            if "return_after_gap" in self.rules:
                self._mark(self.rules["return_after_gap"], pairs.filter(holes)["at"])
            return

    def _settle(self, rule: Rule, spikes: pl.DataFrame) -> None:
        if rule.severity != "block":
            self._mark(rule, spikes["at"])
        elif spikes.height:
            self._refuse(rule, spikes["at"], spikes["reason"])
            self._drop(spikes["at"])

    def _leaping(self, rule: Rule) -> pl.DataFrame | None:
        """Return the bars whose return is too large: at, reason, symbol, before and after."""
        limit = self.asked.limit("max_return")
        at = leaps(self.rows.column("close"), self.steps.starts, limit)
        if at.is_empty():
            return None
        both = pl.DataFrame({"before": at - 1, "at": at}).select(
            pl.concat_list("before", "at").explode()
        )
        rows = self.rows.rows(both.to_series())
        told = rows.with_columns(
            at=both.to_series(),
            bad=ask(rule, rows, self.asked),
            reason=reasons(rule, rows, self.asked),
            before=pl.col("ts").shift(1),
            after="ts",
        )
        return told.gather_every(2, 1).filter("bad")

    def _holes(self, pairs: pl.DataFrame, came: pl.Series) -> pl.Series:
        if self.hole is None or pairs.is_empty():
            return pl.repeat(value=False, n=pairs.height, eager=True)
        return self.hole(pairs, self.rows.raw[came])

    def _ask_series(self) -> None:
        """Ask the rules that somebody added of each series."""
        for rule in self.rules.values():
            if rule.scope not in ("series", "arrival") or rule.id in _OURS:
                continue
            try:
                broken, why = self._of_each_series(rule)
            except Crashed as error:
                self.crashed.append(error)
                continue
            if rule.severity == "block":
                self._refuse(rule, broken, why)
                self._drop(broken)
            else:
                self._mark(rule, broken)

    def _of_each_series(self, rule: Rule) -> tuple[pl.Series, pl.Series]:
        frame = self.rows.frame()
        starts = self.steps.starts
        ends = starts.shift(-1, fill_value=frame.height)
        broken, why = [none()], [pl.Series([], dtype=pl.String)]
        for start, end in zip(starts, ends, strict=True):
            own = frame.slice(start, end - start).rechunk()
            bad = ask(rule, own, self.asked)
            if bad.any():
                broken.append((bad.arg_true() + start).cast(PLACE))
                why.append(reasons(rule, own, self.asked).filter(bad))
        return pl.concat(broken), pl.concat(why)

    def _note(self) -> None:
        starts = self.steps.starts
        if "volume_spike" in self.rules:
            sigmas = self.asked.limit("volume_sigmas")
            spikes = volume_spikes(self.rows.column("volume"), starts, sigmas)
            self._mark(self.rules["volume_spike"], spikes)
        if "flat_close" in self.rules:
            length = int(self.asked.limit("flat_run"))
            runs = flat_runs(self.rows.column("close"), starts, length)
            self._mark(self.rules["flat_close"], runs)

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
