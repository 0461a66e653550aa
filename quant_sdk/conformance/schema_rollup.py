"""The first stage: the frame against its canonical schema, column by column, then the key.

What cannot be taken is refused row by row where single rows are at fault, and as a whole where a
column is missing or of another type.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from quant_registry.errors import QuantError
from quant_sdk.conformance.casts import cast, castable
from quant_sdk.conformance.report import NULL
from quant_sdk.conformance.selection import PLACE, Selection, none, places
from quant_sdk.conformance.steps import steps_of
from quant_sdk.conformance.timestamps import as_text, dates, instants, is_instant
from quant_sdk.conformance.work import Part
from quant_sdk.lakehouse.specs import UTC_MICROS
from quant_sdk.lakehouse.symbols import check_symbol
from quant_sdk.lakehouse.timeframe import Timeframe
from quant_sdk.schemas.dtypes import dtype_name, polars_dtype

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from quant_sdk.conformance.work import Setting, Work
    from quant_sdk.schemas.schema import Column

NULL_VALUE: Final = "null, where a value is required"
_SHOWN: Final = 60


def schema_rollup(work: Work) -> None:
    """Bring the frame into its canonical form, and part it by timeframe."""
    _fill(work)
    _unexpected(work)
    given = [name for name in work.setting.schema.names if name in work.raw.columns]
    columns = {name: _conformed(work, name) for name in given}
    _missing(work, columns)
    work.frame = pl.DataFrame(columns) if columns else work.raw.select()
    _parted(work)


def _fill(work: Work) -> None:
    """Add the columns whose one value the caller gave."""
    told = {"symbol": work.setting.symbol, "timeframe": work.setting.timeframe}
    lacking = {
        name: pl.lit(value, dtype=pl.String)
        for name, value in told.items()
        if value is not None
        and name not in work.raw.columns
        and work.setting.schema.column(name) is not None
    }
    if lacking:
        work.raw = work.raw.with_columns(**lacking)


def _unexpected(work: Work) -> None:
    known = set(work.setting.schema.names)
    for name in work.raw.columns:
        if name not in known:
            kind = dtype_name(work.raw.schema[name])
            work.find(
                "unexpected_column",
                "warn",
                name,
                f"{work.setting.schema.id} has no such column, of {kind}; it is left out",
            )


def _missing(work: Work, columns: dict[str, pl.Series]) -> None:
    """Tell of columns that are not there; null in all rows where the schema allows it."""
    height = work.raw.height
    for column in work.setting.schema.columns:
        name = column.name
        if name in columns or name in work.setting.schema.derived:
            continue
        if column.nullable:
            work.find("missing_column", "warn", name, "it is not there; null was put in its place")
        else:
            detail = f"{work.setting.schema.id} requires it, and it is not there"
            work.find("missing_column", "block", name, detail)
            _refuse_all(work, "missing_column", f"{name}: {detail}")
        nothing = pl.Series(name, [None], dtype=_wanted(column))
        columns[name] = nothing.new_from_index(0, height)
    order = {name: place for place, name in enumerate(work.setting.schema.names)}
    for name in sorted(columns, key=order.__getitem__):
        columns[name] = columns.pop(name)


def _conformed(work: Work, name: str) -> pl.Series:
    """Return a column in its canonical type; rows whose value it cannot be are refused."""
    values = work.raw[name]
    column = work.setting.schema.column(name)
    assert column is not None  # noqa: S101  it is one of the schema's
    values = _times(work, values, column) if is_instant(column) else _typed(work, values, column)
    if values.null_count() and not column.nullable:
        _nulls(work, values, name)
    if column.enumeration is not None:
        known = values.is_null() | values.is_in(list(column.enumeration))
        _refuse_values(work, "unknown_value", values, (~known).arg_true(), column)
    return values


def _nulls(work: Work, values: pl.Series, name: str) -> None:
    """Refuse the rows without a required value; where a rule does, only tell how many."""
    lost = places(values.is_null().arg_true(), none())
    given = lost.filter(work.raw[name].gather(lost).is_null())
    if refuses_nulls(work.setting, name):
        work.refuse(NULL, name, given, NULL_VALUE)
    elif given.len():
        work.find(NULL, "note", name, f"{NULL_VALUE}; a rule counts it", given.len())


def refuses_nulls(setting: Setting, name: str) -> bool:
    """Tell whether the schema refuses the nulls of a column, and no rule does so by itself."""
    column = setting.schema.column(name)
    required = column is not None and not column.nullable
    return required and not any(name in rule.nulls for rule in setting.rules)


def _times(work: Work, values: pl.Series, column: Column) -> pl.Series:
    taken = instants(values, column)
    if taken is None:
        return _wrong(work, values, column)
    aware = isinstance(values.dtype, pl.Datetime) and values.dtype.time_zone is not None
    if aware and values.dtype != UTC_MICROS:
        told = f"{dtype_name(values.dtype)} as {dtype_name(UTC_MICROS)}"
        work.find("cast", "note", column.name, told)
    for code, severity, detail in taken.notes:
        work.find(code, severity, column.name, detail)
    for refusal in taken.refused:
        work.refuse(refusal.code, column.name, refusal.at, refusal.why)
    return taken.values.alias(column.name)


def _typed(work: Work, values: pl.Series, column: Column) -> pl.Series:
    wanted = _wanted(column)
    if values.dtype == wanted:
        return _dated(work, values)
    nothing = values.null_count() == values.len()
    if not nothing and not castable(values.dtype, wanted):
        return _wrong(work, values, column)
    if nothing:
        return pl.Series(column.name, [None], dtype=wanted).new_from_index(0, values.len())
    found, lost = cast(values, wanted)
    work.find("cast", "note", column.name, f"{dtype_name(values.dtype)} as {dtype_name(wanted)}")
    _refuse_values(work, "lossy_cast", values, lost, column)
    return _dated(work, found)


def _dated(work: Work, values: pl.Series) -> pl.Series:
    """Refuse the rows with a date that cannot be one; other types are left as they are."""
    if values.dtype != pl.Date:
        return values
    taken = dates(values)
    for refusal in taken.refused:
        work.refuse(refusal.code, values.name, refusal.at, refusal.why)
    return taken.values


def _wanted(column: Column) -> Any:
    return UTC_MICROS if is_instant(column) else polars_dtype(column)


def _wrong(work: Work, values: pl.Series, column: Column) -> pl.Series:
    """Refuse every row for a column that is of another type altogether."""
    detail = f"{dtype_name(values.dtype)} cannot be {dtype_name(_wanted(column))}"
    work.find("wrong_dtype", "block", column.name, detail)
    _refuse_all(work, "wrong_dtype", f"{column.name}: {detail}")
    nothing = pl.Series(column.name, [None], dtype=_wanted(column))
    return nothing.new_from_index(0, values.len())


def _refuse_all(work: Work, code: str, reason: str) -> None:
    at = pl.int_range(work.raw.height, dtype=PLACE, eager=True)
    work.refused.append(
        pl.DataFrame({"at": at}).with_columns(rule=pl.lit(code), reason=pl.lit(reason))
    )


def _refuse_values(work: Work, code: str, values: pl.Series, at: pl.Series, column: Column) -> None:
    if at.is_empty():
        return
    own = values.gather(at)
    if code == "unknown_value":
        known = ", ".join(column.enumeration or ())
        why = _each(own, lambda value: f"{str(value)[:_SHOWN]!r} is none of {known}")
    else:
        wanted = dtype_name(_wanted(column))
        why = as_text(own).str.slice(0, _SHOWN) + f" has no equal as {wanted}"
    work.refuse(code, column.name, at, why)


def _each(values: pl.Series, say: Callable[[Any], str]) -> pl.Series:
    """Return what is said of each value (String)."""
    distinct = values.unique()
    said = [say(value) for value in distinct]
    return values.replace_strict(distinct, said, return_dtype=pl.String)


def _parted(work: Work) -> None:
    """Leave out what was refused, and part the rest by timeframe, its names checked."""
    rows = Selection(work.frame)
    if work.refused:
        rows = rows.without(places(*(each["at"] for each in work.refused)))
    if work.setting.kind != "bars":
        work.parts = [Part(timeframe=None, rows=_named(work, rows))]
        return
    work.parts = [
        part
        for text, own in _by_timeframe(rows)
        if (timeframe := _timeframe(work, own, text)) is not None
        for part in [_checked(work, own, timeframe)]
    ]


def _by_timeframe(rows: Selection) -> list[tuple[str, Selection]]:
    if not rows.height:
        return []
    column = rows.column("timeframe")
    if (column == column[0]).all():
        return [(column[0], rows)]
    return [
        (text, rows.ordered((column == text).arg_true()))
        for text in column.unique().sort().to_list()
    ]


def _timeframe(work: Work, rows: Selection, text: str) -> Timeframe | None:
    found: list[Timeframe] = []
    why = _said(lambda: found.append(Timeframe.parse(text)))
    if why is None and found[0].text == text:
        return found[0]
    every = pl.int_range(rows.height, dtype=PLACE, eager=True)
    work.refuse("malformed_timeframe", "timeframe", rows.origin(every), str(why))
    return None


def _checked(work: Work, rows: Selection, timeframe: Timeframe) -> Part:
    """Return a part whose symbols are ones."""
    steps = steps_of(rows.column("ts"), rows.column("symbol"), timeframe)
    kept = _less_malformed(work, rows, steps.names.unique())
    if kept.height < rows.height:
        steps = steps_of(kept.column("ts"), kept.column("symbol"), timeframe)
    return Part(timeframe=timeframe, rows=kept, steps=steps)


def _named(work: Work, rows: Selection) -> Selection:
    if "symbol" not in work.frame.columns:
        return rows
    return _less_malformed(work, rows, rows.column("symbol").unique())


def _less_malformed(work: Work, rows: Selection, names: pl.Series) -> Selection:
    wrong = malformed(names)
    if not wrong:
        return rows
    symbols = rows.column("symbol")
    at = symbols.is_in(list(wrong)).arg_true()
    why = _each(symbols.gather(at), wrong.__getitem__)
    work.refuse("malformed_symbol", "symbol", rows.origin(at), why)
    return rows.without(at)


def malformed(names: Iterable[str | None]) -> dict[str, str]:
    """Return what is wrong with names that are no symbols; nulls are left to others."""
    known = {name for name in names if name is not None}
    return {name: why for name in known if (why := _said(partial(check_symbol, name)))}


def _said(check: Callable[[], object]) -> str | None:
    """Return what an error of ours says, None where there is none."""
    try:
        check()
    except QuantError as error:
        return error.message
    return None
