"""The venues of a workspace, opened on behalf of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quant_sdk.sources.venues import open_sources

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from quant_sdk import Run
    from quant_sdk.sources.venues import Sources


def sources_of(run: Run) -> AbstractContextManager[Sources]:
    """Open the sources with the run's clock, its rests and the throttle that it hears."""
    return open_sources(
        run.workspace,
        clock=run.clock,
        rest=run.rest,
        throttle=lambda: run.max_requests_per_second,
    )
