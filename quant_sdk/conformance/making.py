"""What a pipeline is made of, from what its caller wrote."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any, Final, get_args

import polars as pl

from quant_registry.errors import Conflict, InvalidInput, UnknownName
from quant_sdk.conformance.asking import Crashed
from quant_sdk.conformance.divide import NEEDED
from quant_sdk.conformance.report import Severity
from quant_sdk.conformance.rule import Rule
from quant_sdk.conformance.rule_registry import RuleRegistry
from quant_sdk.conformance.rules import VALUES
from quant_sdk.conformance.work import GRADED, Setting, Window
from quant_sdk.lakehouse.calendars import calendar_name, named_calendar
from quant_sdk.lakehouse.instants import optional_instant
from quant_sdk.lakehouse.symbols import split_symbol
from quant_sdk.lakehouse.timeframe import to_micros
from quant_sdk.schemas.client import FileSchemaRegistry
from quant_sdk.schemas.schema import CanonicalSchema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

    from quant_sdk.conformance.presets import Preset
    from quant_sdk.lakehouse.calendars import Calendar

BAR_COLUMNS: Final = ("symbol", "timeframe", "ts", *VALUES)
EMPTY_COLUMNS: Final = ("symbol", "timeframe", "start", "end")
_LEAST: Final = {"flat_run": 2}
_SHOWN: Final = 200
_ODD: Final = (ValueError, TypeError)


def setting_of(  # noqa: PLR0913  the arguments of the pipeline
    kind: str,
    *,
    preset: Preset,
    thresholds: Mapping[str, float | None],
    schema: CanonicalSchema | str | None,
    rules: Iterable[Rule | str] | None,
    calendar_of: Callable[[str], Calendar] | None,
    symbol: str | None,
    timeframe: str | None,
) -> Setting:
    """Return the setting of a pipeline; see `ConformancePipeline` for the arguments.

    Raises:
        InvalidInput: a threshold, a severity or the schema is not possible.
        UnknownName: a rule, threshold or schema is unknown.
    """
    registry = RuleRegistry.discover()
    chosen = _chosen(kind, registry, rules)
    limits = _limits(registry, chosen, preset, thresholds)
    _check_severities(preset, registry, chosen)
    return Setting(
        kind=kind,
        schema=_schema(kind, schema),
        rules=tuple(_graded(rule, preset, limits) for rule in chosen),
        thresholds=limits,
        severities=preset.severities,
        calendar_of=calendar_of or venue_calendars(),
        broken=()
        if rules is not None
        else tuple(Crashed(origin, error.message) for origin, error in registry.broken.items()),
        symbol=symbol,
        timeframe=timeframe,
    )


def venue_calendars() -> Callable[[str], Calendar]:
    """Return what gives a symbol's calendar: its venue's."""
    named = cache(named_calendar)  # one for all symbols of an exchange
    return lambda symbol: named(calendar_name(split_symbol(symbol)[0]))


def window_of(
    start: datetime | str | None,
    end: datetime | str | None,
    as_of: datetime | str | None,
    verified_empty: pl.DataFrame | pl.LazyFrame | None,
) -> Window:
    """Return the window that a check looks at.

    Raises:
        InvalidInput: a time is naive or none, the window is empty, or intervals lack a column.
    """
    first, last = _micros(start, "start"), _micros(end, "end")
    if first is not None and last is not None and first >= last:
        raise InvalidInput(
            f"the window from {start} to {end} is empty", fix="give an end after the start"
        )
    return Window(
        start=first,
        end=last,
        as_of=_micros(as_of, "as_of"),
        verified_empty=_intervals(verified_empty),
    )


def frame_of(data: Any) -> pl.DataFrame:
    """Return any table as a frame: polars, or whatever exports an Arrow stream.

    Raises:
        InvalidInput: it is no table.
    """
    if isinstance(data, pl.DataFrame):
        return data
    if isinstance(data, pl.LazyFrame):
        return data.collect()
    why = ""
    if hasattr(data, "__arrow_c_stream__"):
        try:
            found = pl.DataFrame(data)
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException, *_ODD) as error:
            why = f": {' '.join(str(error).split())[:_SHOWN]}"
        else:
            if found.columns:
                return found
    raise InvalidInput(
        f"{type(data).__name__} is no table{why}",
        fix="give a polars frame, or an Arrow table (__arrow_c_stream__)",
    )


def _chosen(
    kind: str, registry: RuleRegistry, rules: Iterable[Rule | str] | None
) -> tuple[Rule, ...]:
    """Return the rules to be asked: those of the kind, or those named and those always needed."""
    if rules is None:
        return registry.of_kind(kind)
    given = [rule if isinstance(rule, Rule) else registry[rule] for rule in rules]
    named = {rule.id: rule for rule in given}
    known = [rule for rule in registry.of_kind(kind) if rule.id in named or rule.id in NEEDED]
    own = [rule for rule in given if rule.id not in registry]
    for rule in given:
        if rule.id in registry and registry[rule.id] is not rule:
            raise Conflict(
                f"the rule {rule.id} is another one already", fix="give it an id of its own"
            )
    wrong = [rule.id for rule in given if rule.kind != kind]
    if wrong:
        raise InvalidInput(
            f"the rule {wrong[0]} is not of {kind}", fix="see: quant conformance rules"
        )
    return (*known, *own)


def _limits(
    registry: RuleRegistry,
    rules: Iterable[Rule],
    preset: Preset,
    given: Mapping[str, float | None],
) -> dict[str, float | None]:
    known = {name: value for rule in rules for name, value in rule.thresholds.items()}
    # A preset may be meant for other kinds too.
    declared = {name: value for rule in registry for name, value in rule.thresholds.items()} | known
    for name, value in (*preset.thresholds.items(), *given.items()):
        if name not in declared:
            fix = f"the thresholds are {', '.join(sorted(declared))}"
            raise UnknownName(str(name), declared, fix=fix)
        _check_limit(name, value, declared[name])
    return {**known, **preset.thresholds, **given}


def _check_limit(name: str, value: Any, declared: float | None) -> None:
    """Refuse a threshold that is no number of the kind that was declared."""
    if value is None and declared is None:
        return
    whole = type(declared) is int
    kind = "whole number" if whole else "number"
    least = _LEAST.get(name, 0)
    if not _is_number(value, whole=whole) or value < least:
        raise InvalidInput(
            f"the threshold {name} is {value!r}", fix=f"write a {kind} from {least}", name=name
        )


def _is_number(value: Any, *, whole: bool) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        return False
    return not whole or value == int(value)


def _check_severities(preset: Preset, registry: RuleRegistry, chosen: Iterable[Rule]) -> None:
    known = [*(rule.id for rule in (*registry, *chosen)), *GRADED]
    for name, severity in preset.severities.items():
        if severity not in get_args(Severity):
            raise InvalidInput(
                f"the preset {preset.name} gives {name} the severity {severity!r}",
                fix=f"write {', '.join(get_args(Severity))}",
            )
        # A plugin that cannot be imported may declare it; that it is broken is told already.
        if name not in known and not registry.broken:
            raise UnknownName(
                name,
                known,
                fix=f"severities are of rules, or of the findings {', '.join(GRADED)}; "
                "see: quant conformance rules",
            )
        if name in NEEDED and severity != "block":
            raise InvalidInput(
                f"the rule {name} cannot be {severity!r}: without it bars cannot be told apart",
                fix=f"take {name} out of the severities of {preset.name}",
            )


def _graded(rule: Rule, preset: Preset, limits: Mapping[str, float | None]) -> Rule:
    """Return the rule with the severity that it has here."""
    graver = rule.graver is not None and limits.get(rule.graver) is not None
    usual: Severity = "warn" if graver else rule.severity
    return replace(rule, severity=preset.severities.get(rule.id, usual))


def _schema(kind: str, schema: CanonicalSchema | str | None) -> CanonicalSchema:
    if not isinstance(schema, CanonicalSchema):
        schema = FileSchemaRegistry().find(schema or kind)
    lost = [name for name in BAR_COLUMNS if schema.column(name) is None]
    if kind == "bars" and lost:
        raise InvalidInput(
            f"{schema.id} has no column {', '.join(lost)}", fix="bars need them: see bars/1"
        )
    return schema


def _micros(value: datetime | str | None, name: str) -> int | None:
    moment = optional_instant(value, name)
    return None if moment is None else to_micros(moment)


def _intervals(known: pl.DataFrame | pl.LazyFrame | None) -> pl.DataFrame | None:
    if known is None:
        return None
    lost = [name for name in EMPTY_COLUMNS if name not in known.lazy().collect_schema()]
    if lost:
        raise InvalidInput(
            f"verified_empty has no column {', '.join(lost)}",
            fix=f"give it {', '.join(EMPTY_COLUMNS)}",
        )
    return known.lazy().select(EMPTY_COLUMNS).collect()
