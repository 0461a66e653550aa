"""Which series an intake is about: those of a file of candidates, or those named."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from quant_sdk.errors import NoData
from quant_sdk.lakehouse.symbols import split_symbol
from quant_sdk.lakehouse.timeframe import Timeframe
from quant_sdk.seamless import Wanted
from quant_sdk.sources.candidates import latest_candidates, read_candidates
from quant_sdk.sources.settings import read_source_settings
from quant_sdk.sources.venues import gives_bars

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from quant_sdk import Workspace
    from quant_stages.intake.params import SeriesParams

NO_DEPTH_DAYS = 365
"""The depth of a candidate that names none."""


def candidates_path(workspace: Workspace, params: SeriesParams) -> Path:
    """Return the file of candidates.

    Raises:
        NoData: none is named, and none was ever discovered.
    """
    if params.candidates:
        return workspace.root / params.candidates
    newest = latest_candidates(workspace)
    if newest is None:
        raise NoData(
            "nothing was discovered yet, so there are no candidates",
            fix="discover some: quant stage run data.discover; or name a file with --candidates",
        )
    return newest


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a file of candidates asks for.

    Attributes:
        series: with their windows, up to the last closed bar, by timeframe and symbol.
        untimed: candidates that name no timeframe, where the parameters name none either.
        odd: what is odd about the file, each as a sentence.
    """

    series: list[Wanted]
    untimed: list[str]
    odd: list[str]


def wish(workspace: Workspace, params: SeriesParams, now: datetime) -> Wish:
    """Return what the candidates ask for; those that name no timeframe, of the parameters' ones.

    Raises:
        NoData: there is no file of candidates.
        InvalidInput: the file is not of its form.
    """
    only = tuple(dict.fromkeys(Timeframe.parse(text).text for text in params.timeframes))
    candidates = read_candidates(candidates_path(workspace, params))
    series = [
        Wanted.last_days(
            candidate.symbol, timeframe, params.depth_days or days or NO_DEPTH_DAYS, now
        )
        for candidate in candidates
        for timeframe, days in candidate.ingest or [(text, None) for text in only]
        if not only or timeframe in only
    ]
    return Wish(
        series=sorted(series, key=lambda item: (item.timeframe, item.symbol)),
        untimed=[item.symbol for item in candidates if not item.ingest and not only],
        odd=[said for item in candidates for said in item.odd],
    )


def wanted(workspace: Workspace, params: SeriesParams, now: datetime) -> list[Wanted]:
    """Return the series that the candidates ask for; raises as `wish`."""
    return wish(workspace, params, now).series


def parted(workspace: Workspace, series: list[Wanted]) -> tuple[list[Wanted], list[str]]:
    """Part the series that some source gives from the venues of which none does."""
    settings = read_source_settings(workspace)
    venues = {split_symbol(item.symbol)[0] for item in series}
    known = {venue for venue in venues if gives_bars(settings, venue)}
    given = [item for item in series if split_symbol(item.symbol)[0] in known]
    return given, sorted(venues - known)
