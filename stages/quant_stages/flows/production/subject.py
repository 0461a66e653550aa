"""What the gate is asked about: the candidates and the timeframe."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from quant_sdk.errors import NoData
from quant_sdk.lakehouse.timeframe import Timeframe
from quant_sdk.sources.candidates import latest_candidates, read_candidates

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from quant_sdk import Workspace
    from quant_sdk.sources.candidates import Candidate
    from quant_stages.flows.production.params import FlowProductionParams

REFRESH = "run: make flow-data (quant stage run ops.flow_data)"
DEFAULT_TIMEFRAME = "1d"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The candidates of a file, sorted by symbol, and the bars to look at."""

    path: Path
    candidates: tuple[Candidate, ...]
    timeframe: Timeframe

    @property
    def symbols(self) -> list[str]:
        """The candidates' symbols, sorted."""
        return [candidate.symbol for candidate in self.candidates]

    @property
    def asking(self) -> frozenset[str]:
        """The symbols of which bars of the timeframe are wanted.

        Those that name it, or none; all of them where none names it, and it was asked for.
        """
        named = frozenset(
            candidate.symbol
            for candidate in self.candidates
            if not candidate.ingest or self.timeframe.text in dict(candidate.ingest)
        )
        return named or frozenset(self.symbols)

    @property
    def remedy(self) -> str:
        """How the bars come: the cycle fetches those of timeframes that candidates name."""
        named = {timeframe for candidate in self.candidates for timeframe, _ in candidate.ingest}
        if not named or self.timeframe.text in named:
            return REFRESH
        return (
            f"the candidates name {', '.join(sorted(named))}: take that, or fetch what they do not "
            f"name: quant stage run seamless.backfill --timeframe {self.timeframe}"
        )


def choose(workspace: Workspace, params: FlowProductionParams) -> Subject:
    """Return what the parameters name.

    Raises:
        NoData: there are no candidates.
        InvalidInput: the file holds something else.
    """
    path = _path(workspace, params)
    if path is None:
        wanted = f" for the profile {params.profile}" if params.profile else ""
        raise NoData(f"no candidates were exported{wanted}", fix=REFRESH)
    candidates = tuple(read_candidates(path))
    if not candidates:
        raise NoData(
            f"{workspace.display(path)} names no candidate",
            fix=f"look at the filters of the scanners that found none, then {REFRESH}",
        )
    text = params.timeframe or _most_wanted(candidates)
    return Subject(path=path, candidates=candidates, timeframe=Timeframe.parse(text))


def _path(workspace: Workspace, params: FlowProductionParams) -> Path | None:
    if params.candidates is not None:
        return workspace.root / params.candidates
    return latest_candidates(workspace, params.profile)


def _most_wanted(candidates: Iterable[Candidate]) -> str:
    wanted = Counter(timeframe for candidate in candidates for timeframe, _ in candidate.ingest)
    if not wanted:
        return DEFAULT_TIMEFRAME
    return max(wanted, key=lambda text: (wanted[text], _length(text)))


def _length(text: str) -> int:
    timeframe = Timeframe.parse(text)
    return timeframe.open_of(1) - timeframe.open_of(0)
