"""`ConformancePipeline`: three stages that every frame goes through before it is served or kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, get_args

from quant_registry.errors import ConformanceError, InvalidInput, ParityFailed
from quant_sdk.conformance.making import frame_of, setting_of, window_of
from quant_sdk.conformance.outcome import blocked, good_rows, refused_rows, time_text
from quant_sdk.conformance.presets import STRICT, Preset, preset_named
from quant_sdk.conformance.quality import quality_flags
from quant_sdk.conformance.report import ConformanceReport, Mode, verdict_of
from quant_sdk.conformance.schema_rollup import schema_rollup
from quant_sdk.conformance.temporal_rollup import temporal_rollup
from quant_sdk.conformance.work import Work

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

    import polars as pl

    from quant_registry.workspace import Workspace
    from quant_sdk.conformance.bars import CheckedBars
    from quant_sdk.conformance.rule import Rule
    from quant_sdk.lakehouse.calendars import Calendar
    from quant_sdk.lakehouse.timeframe import Timeframe
    from quant_sdk.schemas.schema import CanonicalSchema

STAGES: Final = (schema_rollup, temporal_rollup, quality_flags)
"""What the work goes through, in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConformanceResult:
    """What came of a frame.

    Attributes:
        frame: the good rows in their canonical form, sorted by timeframe, symbol and ts (in
            ``shadow``: what was given, untouched).
        quarantined: ``row`` (UInt32, place in what was given), the columns of the schema, ``rule``
            and ``reason`` (String), sorted by row.
        report: counts, completeness, verdict.
        stopped: whether `ConformancePipeline.run` raises in place of giving this.
    """

    frame: pl.DataFrame
    quarantined: pl.DataFrame
    report: ConformanceReport
    stopped: bool = False


class ConformancePipeline:
    """Checks frames of one kind; may be used from several threads at once.

    Args:
        kind: ``bars``, ``ticks``, ``quotes``, or the name of another canonical schema.
        preset: thresholds and severities: ``strict-blocking``, ``permissive-dev``, or one's own.
        mode: ``blocking``: a verdict ``block`` raises; ``partial_ok``: the good rows come back, and
            only a rule that crashed raises; ``shadow``: the frame comes back untouched.
        thresholds: in place of the preset's.
        schema: what frames are held against; None: the canonical one in force of that kind.
        calendar_of: gives the calendar of a symbol; None: its venue's.
        rules: ids or rules to be asked; None: all of the kind, those of plugins included. Rules
            without which bars cannot be told apart are always asked.
        symbol: of frames without such a column.
        timeframe: of frames without such a column.

    Raises:
        InvalidInput: the mode, a threshold or the schema is not possible.
        UnknownName: nothing has the name of the preset, schema, a rule or a threshold.
    """

    def __init__(  # noqa: PLR0913  the settings, each by its name
        self,
        kind: str = "bars",
        *,
        preset: str | Preset = STRICT,
        mode: Mode = "blocking",
        thresholds: Mapping[str, float | None] | None = None,
        schema: CanonicalSchema | str | None = None,
        calendar_of: Callable[[str], Calendar] | None = None,
        rules: Iterable[Rule | str] | None = None,
        symbol: str | None = None,
        timeframe: str | None = None,
    ) -> None:
        if mode not in get_args(Mode):
            modes = ", ".join(get_args(Mode))
            raise InvalidInput(f"{mode!r} is no mode", fix=f"the modes are {modes}")
        self.mode: Mode = mode
        self.preset = preset if isinstance(preset, Preset) else preset_named(preset)
        self.setting = setting_of(
            kind,
            preset=self.preset,
            thresholds=thresholds or {},
            schema=schema,
            rules=rules,
            calendar_of=calendar_of,
            symbol=symbol,
            timeframe=timeframe,
        )

    @classmethod
    def partial_ok(cls, ok: bool = True, /, **options: Any) -> ConformancePipeline:  # noqa: FBT001, FBT002  the seed's spelling
        """Return a pipeline that gives the good rows; with False, one that blocks."""
        return cls(mode="partial_ok" if ok else "blocking", **options)

    @classmethod
    def shadow(cls, **options: Any) -> ConformancePipeline:
        """Return a pipeline that reports, and blocks nothing."""
        return cls(mode="shadow", **options)

    @classmethod
    def of(cls, workspace: Workspace, **options: Any) -> ConformancePipeline:
        """Return a pipeline with the settings and schemas of a workspace, unless given here.

        The settings stand in its ``quant.yml``, schemas of its own in ``configs/schemas``.

        Raises:
            InvalidInput, UnknownName: as the class; or the settings are not possible.
        """
        from quant_sdk.conformance.settings import read_conformance_settings
        from quant_sdk.schemas.client import FileSchemaRegistry

        schema = options.get("schema") or options.get("kind", "bars")
        if isinstance(schema, str):
            options["schema"] = FileSchemaRegistry(workspace).find(schema)
        return cls(**{**read_conformance_settings(workspace).options(), **options})

    def __repr__(self) -> str:
        rules = len(self.setting.rules)
        return f"<ConformancePipeline: {self.setting.schema.id}, {self.mode}, {rules} rules>"

    def run(  # noqa: PLR0913  each by its name
        self,
        frame: Any,
        *,
        node: str,
        world: str = "",
        start: datetime | str | None = None,
        end: datetime | str | None = None,
        as_of: datetime | str | None = None,
        verified_empty: pl.DataFrame | pl.LazyFrame | None = None,
    ) -> ConformanceResult:
        """Check a frame.

        Args:
            frame: a polars frame, lazy or not, or any Arrow table; many series at once. Bars that
                are sorted by symbol and ts are checked several times faster.
            node: what the data is, for the report: its reports are kept under that name.
            world: where it belongs, for the report.
            start: completeness is asked from here on (aware, or ISO text); None: from each series'
                first bar.
            end: up to here, exclusive; None: up to each series' last bar.
            as_of: now; bars that have not closed by then are not expected.
            verified_empty: ``symbol``, ``timeframe``, ``start``, ``end`` of intervals in which a
                source says that there is nothing.

        Raises:
            ConformanceError: the verdict is ``block``, and the mode blocking; or a rule crashed,
                and the mode is not shadow. ``report`` has it all.
            InvalidInput: what was given is no table, a time is none, or the window is empty.
            MissingExtra: a calendar needs a package that is not installed.
        """
        result = self.look(
            frame,
            node=node,
            world=world,
            start=start,
            end=end,
            as_of=as_of,
            verified_empty=verified_empty,
        )
        if result.stopped:
            raise self.error(result.report)
        return result

    def look(  # noqa: PLR0913  as `run`
        self,
        frame: Any,
        *,
        node: str,
        world: str = "",
        start: datetime | str | None = None,
        end: datetime | str | None = None,
        as_of: datetime | str | None = None,
        verified_empty: pl.DataFrame | pl.LazyFrame | None = None,
    ) -> ConformanceResult:
        """Check a frame as `run` does, but raise for no verdict: ``stopped`` says what it would do.

        Raises:
            InvalidInput, MissingExtra: as `run`.
        """
        given = frame_of(frame)
        window = window_of(start, end, as_of, verified_empty)
        work = Work(setting=self.setting, window=window, raw=given, frame=given)
        for stage in STAGES:
            stage(work)
        good, refused = good_rows(work), refused_rows(work)
        report = self._report(work, good.height, refused.height, node, world)
        return ConformanceResult(
            frame=given if self.mode == "shadow" else good,
            quarantined=refused,
            report=report,
            stopped=self._stops(work, report),
        )

    def admit(
        self,
        rows: pl.DataFrame,
        timeframe: Timeframe,
        *,
        symbol: str | None = None,
        calendar_of: Callable[[str], Calendar] | None = None,
        across_gaps: bool = False,
    ) -> CheckedBars:
        """Divide rows on their way into the tables, as `run` would in ``partial_ok``; no report.

        Args:
            rows: row (UInt32), ts (Datetime us UTC, nullable), open, high, low, close, volume
                (Float64, nullable), and symbol (String) where there are several series. Any order.
            timeframe: gives the grid that timestamps must lie on.
            symbol: of rows without such a column.
            calendar_of: of these rows; None: the pipeline's. Asked where a return is too large.
            across_gaps: refuse a bar for its return from one side of a gap to the other too: rows
                that were refused once get no benefit of the doubt.

        Returns:
            Good bars, sorted by symbol and ts, and the rest; without the column ``symbol`` where
            `rows` has none. A time or a symbol that `run` refuses is refused here too.

        Raises:
            ConformanceError: a rule crashed.
            InvalidInput: a column is of another type.
        """
        from quant_sdk.conformance.admit import Admission

        return Admission(
            setting=self.setting,
            timeframe=timeframe,
            symbol=symbol,
            calendar_of=calendar_of,
            across_gaps=across_gaps,
        ).divide(rows)

    def error(self, report: ConformanceReport) -> ConformanceError:
        """Return what says that data was stopped, with its report."""
        return blocked(report)

    def _stops(self, work: Work, report: ConformanceReport) -> bool:
        if self.mode == "blocking":
            return report.verdict == "block"
        return self.mode == "partial_ok" and bool(work.crashed)

    def _report(
        self, work: Work, rows_out: int, quarantined: int, node: str, world: str
    ) -> ConformanceReport:
        twins = sum(part.divided.twins.len() for part in work.parts if part.divided is not None)
        if work.raw.height != rows_out + quarantined + twins:
            raise ParityFailed(
                f"{work.raw.height} rows came in, {rows_out} + {quarantined} + {twins} are told of",
                fix="report this as a bug; nothing was let through",
            )
        schema = work.setting.schema
        findings = tuple(work.findings)
        return ConformanceReport(
            node=node,
            world=world,
            start=time_text(work.window.start),
            end=time_text(work.window.end),
            as_of=time_text(work.window.as_of),
            schema_id=schema.id,
            schema_fingerprint=schema.fingerprint,
            preset=self.preset.name,
            mode=self.mode,
            rows_in=work.raw.height,
            rows_out=rows_out,
            quarantined=quarantined,
            identical_duplicates=twins,
            rules=work.rules,
            schema_findings=findings,
            series=work.series,
            daily=work.daily,
            verdict=verdict_of(work.rules, findings),
        )
