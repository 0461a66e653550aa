"""Which symbols and venues metadata is wanted of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from quant_sdk.errors import NoData
from quant_sdk.lakehouse.symbols import check_exchange
from quant_sdk.sources.candidates import latest_candidates, read_candidates

if TYPE_CHECKING:
    from quant_sdk import Workspace
    from quant_sdk.sources.candidates import Candidate
    from quant_stages.data.metadata.params import MetadataParams


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is wanted: venues, sorted, and the candidates of them."""

    venues: tuple[str, ...]
    candidates: tuple[Candidate, ...]


def named_candidates(workspace: Workspace, named: str) -> list[Candidate] | None:
    """Return the candidates of the file `named`, else of the newest export; None without one.

    Raises:
        NoData: the file named is not there.
        InvalidInput: it is not of its form.
    """
    path = workspace.root / named if named else latest_candidates(workspace)
    return None if path is None else read_candidates(path)


def wanted(workspace: Workspace, params: MetadataParams) -> Wanted:
    """Return what is wanted.

    Raises:
        NoData: there are neither candidates nor venues.
        InvalidIdentifier: a venue's name is none.
        InvalidInput: the file of candidates is not of its form.
    """
    found = named_candidates(workspace, params.candidates)
    for venue in params.venues:
        check_exchange(venue)
    if found is None and not params.venues:
        raise NoData(
            "nothing was discovered yet, so there are no candidates",
            fix="discover some: quant stage run data.discover; or name venues with --venues",
        )
    named = [each for each in found or () if not params.venues or each.exchange in params.venues]
    venues = params.venues or {each.exchange for each in named}
    return Wanted(venues=tuple(sorted(set(venues))), candidates=tuple(named))
