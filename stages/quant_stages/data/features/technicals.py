"""Step 1: today's technicals, from the scanner."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from quant_sdk.errors import SourceError
from quant_sdk.features.technicals import rows_of, scanner_columns
from quant_sdk.sources.scanner.opening import open_scanner
from quant_sdk.sources.scanner.query import ScanRequest
from quant_stages.data.features.params import FailedPart
from quant_stages.data.features.put import put
from quant_stages.data.metadata.ask import by_market, kinds_of
from quant_stages.sources import sources_of

if TYPE_CHECKING:
    import polars as pl

    from quant_sdk import Run
    from quant_sdk.features import FeatureStore, Stored
    from quant_sdk.sources.scanner.client import ScannerClient
    from quant_stages.data.features.scope import Scope


@dataclass(slots=True)
class Technicals:
    """What the technicals came to.

    Attributes:
        source: the scanner's id, empty where it was not asked.
        stored: what became of the rows of each market.
        without: symbols of which the scanner knows nothing.
        answered: markets that were told of.
        failures: the others.
        retryable: whether another try may help.
    """

    source: str = ""
    stored: list[Stored] = field(default_factory=list)
    without: int = 0
    answered: int = 0
    failures: list[FailedPart] = field(default_factory=list)
    retryable: bool = False


def take_in_technicals(run: Run, store: FeatureStore, scope: Scope) -> Technicals:
    """Ask for the technicals of all candidates, a market at a time, and write them."""
    done = Technicals()
    markets = by_market(kinds_of(scope.candidates))
    if not markets:
        return done
    with (
        sources_of(run) as sources,
        open_scanner(sources, clock=run.clock) as scanner,
    ):
        done.source = scanner.id
        for market, symbols in run.track(markets.items(), total=len(markets)):
            try:
                rows = _ask(run, scanner, scope, market, symbols)
            except SourceError as error:
                _fail(run, market, error, done)
                continue
            known = rows["symbol"].n_unique()
            done.answered += 1
            done.without += len(symbols) - known
            done.stored.append(put(run, store, rows))
            _tell(run, market, rows, known, len(symbols))
    return done


def _ask(
    run: Run, scanner: ScannerClient, scope: Scope, market: str, symbols: list[str]
) -> pl.DataFrame:
    asked_at = run.clock.now()
    columns = scanner_columns(scope.asked)
    answer = scanner.scan(ScanRequest(market=market, columns=columns, symbols=tuple(symbols)))
    rows = rows_of(answer, scope.asked, at=asked_at, source=scanner.id)
    return rows.filter(rows["symbol"].is_in(symbols))


def _tell(run: Run, market: str, rows: pl.DataFrame, known: int, asked: int) -> None:
    facts: dict[str, Any] = {"symbols": known, "without": asked - known}
    run.emit("technicals_progress", market=market, rows=rows.height, status="success", **facts)


def _fail(run: Run, part: str, error: SourceError, done: Technicals) -> None:
    done.retryable |= error.retryable
    done.failures.append(
        FailedPart(part=part, code=error.code, message=error.message, fix=error.fix)
    )
    run.emit("technicals_progress", market=part, rows=0, status="failed", error=error.to_dict())
