"""The discovery: read the scanners, ask them, export what they found."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from quant_sdk.errors import NoData, SourceError, SourceUnreadable
from quant_stages.data.discover.gather import Gathering
from quant_stages.data.discover.wanted import Failure, wishes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from quant_sdk import Run
    from quant_sdk.sources.scanner.client import ScannerClient
    from quant_sdk.sources.scanner.file import ScannerFile
    from quant_stages.data.discover.params import DiscoverParams, DiscoverResult
    from quant_stages.data.discover.wanted import Wanted, Wishes

_TOLD = 50
_WIDEN = "look at the filters of these scanners, and at their symbol files"


def discover(run: Run, params: DiscoverParams) -> DiscoverResult:
    """Ask the scanners of the chosen profiles; write ``candidates.json``.

    A scanner that fails is recorded, and the others go on.

    Raises:
        SourceError: no scanner worked; or one failed, and the run is strict.
        NoData: nothing meets any scanner, and the run is strict.
    """
    run.report(health_check="pending")
    with run.step("read"):
        wanted = wishes(run.workspace, params)
        if not wanted.readable:
            raise _nothing_to_ask(wanted)
    with run.step("scan"):
        as_of = run.clock.now()
        with opened_scanner(run) as client:
            gathered, failures = _ask(run, client, wanted)
            source = client.id
        if not gathered.scanners:
            raise _failed(failures, "mend them, then run data.discover again")
        if failures and params.strict:
            raise _failed(failures, "mend them, or run without --strict")
        if not gathered.found and params.strict:
            raise NoData(f"nothing meets {_idle(gathered)}", fix=_WIDEN)
    with run.step("export"):
        meta = {"source": source, "as_of": as_of, "manifest": _shown(run, params)}
        return _export(run, gathered, failures, {**meta, "profiles": list(wanted.profiles)})


@contextmanager
def opened_scanner(run: Run) -> Iterator[ScannerClient]:
    """Open the workspace's sources for a run, and the scanner among them."""
    from quant_sdk.sources.scanner.opening import open_scanner
    from quant_stages.sources import sources_of

    with (
        sources_of(run) as sources,
        open_scanner(sources, clock=run.clock, safe_point=run.safe_point) as client,
    ):
        yield client


def _ask(run: Run, client: ScannerClient, wanted: Wishes) -> tuple[Gathering, tuple[Failure, ...]]:
    from quant_sdk.sources.scanner.selection import run_scanner

    gathered = Gathering()
    failures = list(wanted.failures)
    for failure in failures:
        _emit_failed(run, failure)
    for item, scanner in run.track(wanted.readable, total=len(wanted.readable)):
        try:
            selected = run_scanner(client, scanner, item.markets)
        except SourceError as error:
            failures.append(Failure(scanner=scanner.name, error=error))
            _emit_failed(run, failures[-1])
            continue
        gathered.add(item, scanner, selected)
        _emit_done(run, item, scanner, gathered.scanners[-1])
    return gathered, tuple(failures)


def _emit_done(run: Run, item: Wanted, scanner: ScannerFile, facts: dict[str, Any]) -> None:
    run.emit(
        "scanner_done",
        status="success",
        scanner=scanner.name,
        rows=facts["count"],
        requests=facts["requests"],
        findings=len(facts["findings"]),
        strategies=list(item.strategies),
    )


def _emit_failed(run: Run, failure: Failure) -> None:
    run.emit("scanner_failed", status="failed", **failure.to_dict())


def _nothing_to_ask(wanted: Wishes) -> SourceError:
    if wanted.failures:
        return _failed(wanted.failures, "mend them, then run data.discover again")
    return SourceUnreadable(
        f"the profiles {', '.join(wanted.profiles)} name no scanner",
        fix="add discovery.strategies with scanners to the manifest",
    )


def _failed(failures: tuple[Failure, ...], fix: str) -> SourceError:
    """Return one error for all failures, retryable where one of them is."""
    kind = SourceError if any(item.error.retryable for item in failures) else SourceUnreadable
    told = "; ".join(f"{item.scanner}: {item.error.message}" for item in failures[:3])
    return kind(f"{len(failures)} scanners failed: {told}", fix=fix)


def _shown(run: Run, params: DiscoverParams) -> str:
    return run.workspace.display((run.workspace.root / params.manifest).resolve())


def _export(
    run: Run, gathered: Gathering, failures: tuple[Failure, ...], meta: dict[str, Any]
) -> DiscoverResult:
    from quant_stages.data.discover.params import DiscoverResult, FailedScanner

    candidates = gathered.candidates()
    told = [failure.to_dict() for failure in failures]
    path = run.export(
        "candidates",
        {
            "schema": "candidates/1",
            "meta": {
                "run_id": run.run_id,
                **meta,
                "count": len(candidates),
                "scanners": gathered.scanners,
                "failures": told,
            },
            "data": candidates,
        },
    )
    degraded = bool(failures) or not candidates
    idle = _idle(gathered)
    health = "degraded" if degraded else "passed"
    run.report(candidate_count=len(candidates), health_check=health)
    run.emit(
        "candidates_discovered",
        status="success",
        candidates=len(candidates),
        scanners=len(gathered.scanners),
        failed=len(failures),
    )
    return DiscoverResult(
        message=_message(len(candidates), len(gathered.scanners), len(failures), idle),
        candidates=path,
        count=len(candidates),
        source=meta["source"],
        scanners=len(gathered.scanners),
        requests=gathered.requests,
        degraded=degraded,
        failures=[FailedScanner(**item) for item in told[:_TOLD]],
        warnings=[f"nothing meets {idle}; {_WIDEN}"] if idle else [],
    )


def _idle(gathered: Gathering) -> str:
    """Name the scanners that found nothing."""
    names = [facts["name"] for facts in gathered.scanners if not facts["count"]]
    return ", ".join(names[:_TOLD])


def _message(count: int, scanners: int, failed: int, idle: str) -> str:
    told = f"{count} candidates from {scanners} scanners"
    told += f"; {failed} failed" if failed else ""
    return told + (f"; nothing meets {idle}" if idle else "")
