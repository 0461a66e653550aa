"""Metadata: read what is wanted, ask the venues, record what they tell."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import polars as pl

from quant_sdk.errors import QuantError, RunCancelled, SourceError, SourceUnreadable
from quant_sdk.lakehouse.catalog import SYMBOL_VERSIONS, Catalog
from quant_stages.data.metadata.ask import ask, kinds_of
from quant_stages.data.metadata.params import FailedVenue, MetadataResult, VersionCounts
from quant_stages.data.metadata.record import MOST_REFUSED, record_all
from quant_stages.data.metadata.wanted import wanted
from quant_stages.sources import sources_of

if TYPE_CHECKING:
    from quant_sdk import Run
    from quant_sdk.lakehouse.catalog import Recorded
    from quant_sdk.sources.venues import Sources
    from quant_stages.data.metadata.facts import Facts
    from quant_stages.data.metadata.params import MetadataParams
    from quant_stages.data.metadata.record import Done
    from quant_stages.data.metadata.wanted import Wanted

MOST_FAILURES = 50


@dataclass(slots=True)
class _Answers:
    """What the venues told, and which failed."""

    facts: list[Facts] = field(default_factory=list)
    failures: list[FailedVenue] = field(default_factory=list)
    retryable: bool = False


def ingest_metadata(run: Run, params: MetadataParams) -> MetadataResult:
    """Record what the venues tell; one that fails is recorded, and the others go on.

    Raises:
        SourceError: no venue told anything; or one failed, and the run is strict. What was told
            is recorded before.
    """
    run.report(health_check="pending")
    catalog = Catalog(run.workspace.lakehouse, run.workspace.locks)
    with run.step("read"):
        asked = wanted(run.workspace, params)
        if torn := catalog.mend():
            run.emit("table_mended", status="success", set_aside=torn)
        run.report(candidate_count=len(asked.candidates))
    with run.step("ask"):
        answers = _ask_all(run, catalog, asked)
    with run.step("record"):
        done = record_all(run, catalog, asked.candidates, answers.facts)
    run.report(health_check="degraded" if answers.failures else "passed")
    if answers.failures and (params.strict or not answers.facts):
        raise _failed(answers)
    return _result(asked, answers, done)


def _ask_all(run: Run, catalog: Catalog, asked: Wanted) -> _Answers:
    standing = catalog.current(SYMBOL_VERSIONS)
    answers = _Answers()
    with sources_of(run) as sources:
        for venue in run.track(asked.venues, total=len(asked.venues)):
            known = standing.filter(pl.col("exchange") == venue).select("symbol", "asset_type")
            candidates = (each for each in asked.candidates if each.exchange == venue)
            symbols = dict(known.iter_rows()) | kinds_of(candidates)
            _ask_one(run, sources, venue, symbols, answers)
    return answers


def _ask_one(
    run: Run, sources: Sources, venue: str, symbols: dict[str, str | None], answers: _Answers
) -> None:
    try:
        told = ask(run, sources, venue, symbols)
    except RunCancelled:
        raise
    except QuantError as error:
        answers.retryable |= error.retryable
        answers.failures.append(
            FailedVenue(venue=venue, code=error.code, message=error.message, fix=error.fix)
        )
        run.emit("metadata_progress", venue=venue, status="failed", error=error.to_dict())
        return
    answers.facts.append(told)
    run.emit("metadata_progress", venue=venue, status="success", symbols=len(told.listed))


def _failed(answers: _Answers) -> SourceError:
    """Return one error for all failures, retryable where one of them is."""
    kind = SourceError if answers.retryable else SourceUnreadable
    first = answers.failures[0]
    return kind(
        f"{len(answers.failures)} venues failed, the first of them {first.venue}: {first.message}",
        fix=first.fix,
    )


def _result(asked: Wanted, answers: _Answers, done: Done) -> MetadataResult:
    listed = sum(len(each.listed) for each in answers.facts)
    return MetadataResult(
        message=_message(listed, answers, done),
        committed=done.committed,
        health_check="degraded" if answers.failures else "passed",
        candidates=len(asked.candidates),
        venues=len(asked.venues),
        listed=listed,
        vanished=done.vanished,
        symbols=_counts(done.symbols),
        execution=_counts(done.execution),
        exchanges=_counts(done.exchanges),
        refused=list(done.execution.refused[:MOST_REFUSED]),
        failed=len(answers.failures),
        failures=answers.failures[:MOST_FAILURES],
    )


def _counts(done: Recorded) -> VersionCounts:
    return VersionCounts(opened=done.opened, closed=done.closed, version=done.version)


def _message(listed: int, answers: _Answers, done: Done) -> str:
    parts = [f"{len(answers.facts)} venues list {listed} symbols"]
    if done.symbols.opened:
        parts.append(f"{done.symbols.opened} are new or changed")
    if done.vanished:
        parts.append(f"{done.vanished} are no longer listed")
    if answers.failures:
        parts.append(f"{len(answers.failures)} venues failed")
    return "; ".join(parts)
