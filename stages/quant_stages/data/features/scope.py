"""Which symbols and timeframes features are wanted of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from quant_sdk.errors import InvalidInput, NoData
from quant_sdk.lakehouse.timeframe import Timeframe
from quant_sdk.sources.scanner.timeframes import SUFFIXES
from quant_stages.data.metadata.wanted import named_candidates

if TYPE_CHECKING:
    from collections.abc import Iterable

    from quant_sdk import Workspace
    from quant_sdk.sources.candidates import Candidate
    from quant_stages.data.features.params import FeaturesParams

DAY = "1d"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What features are wanted of.

    Attributes:
        candidates: their symbols have technicals.
        asked: timeframes that the scanner is asked for, shortest first.
        symbols: have history; None: every symbol in `bars`.
        timeframes: of the history; None: all.
    """

    candidates: tuple[Candidate, ...]
    asked: tuple[str, ...]
    symbols: tuple[str, ...] | None
    timeframes: tuple[str, ...] | None


def scope_of(workspace: Workspace, params: FeaturesParams) -> Scope:
    """Return what features are wanted of; without candidates, the history of all of `bars`.

    Raises:
        NoData: technicals are all that is wanted, and there are no candidates.
        InvalidInput: a timeframe is malformed; the scanner has none of those wanted; the file of
            candidates is not of its form.
    """
    chosen = tuple(Timeframe.parse(text).text for text in params.timeframes)
    found = named_candidates(workspace, params.candidates)
    if found is None and not params.history:
        raise NoData(
            "nothing was discovered yet, so there are no candidates",
            fix="discover some: quant stage run data.discover; or name a file with --candidates",
        )
    candidates = tuple(found or ())
    everything = found is None or params.every_series
    return Scope(
        candidates=candidates if params.technicals else (),
        asked=_asked(chosen, candidates) if params.technicals else (),
        symbols=None if everything else tuple(each.symbol for each in candidates),
        timeframes=chosen or None,
    )


def _asked(chosen: tuple[str, ...], candidates: Iterable[Candidate]) -> tuple[str, ...]:
    """Return the timeframes to ask for; those of candidates that no scanner has are left out."""
    wanted = set(chosen)
    if not chosen:
        wanted = {DAY} | {timeframe for each in candidates for timeframe, _ in each.ingest}
    asked = tuple(text for text in SUFFIXES if text in wanted)
    if not asked:
        raise InvalidInput(
            f"the scanner has no technicals of {', '.join(sorted(wanted))}",
            fix=f"its timeframes are {', '.join(SUFFIXES)}; or run without technicals",
        )
    return asked
