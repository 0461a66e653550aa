"""Writing rows of features through the run."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from quant_sdk.features import Stored

if TYPE_CHECKING:
    import polars as pl

    from quant_sdk import Run
    from quant_sdk.features import FeatureStore

MOST_REFUSED = 50


def put(
    run: Run, store: FeatureStore, rows: pl.DataFrame, gone: pl.DataFrame | None = None
) -> Stored:
    """Commit rows, and what is gone; without any, nothing is committed."""
    removed = 0 if gone is None else gone.height
    if not rows.height and not removed:
        return Stored()
    return run.commit(
        lambda commit: store.put(rows, commit, gone),
        batch_id=_name_of(rows, gone),
        event="features_committed",
        describe=_describe,
    )


def _name_of(rows: pl.DataFrame, gone: pl.DataFrame | None) -> str:
    """Return a name for this content."""
    digest = hashlib.sha256()
    for frame in (rows, gone):
        if frame is not None and frame.height:
            digest.update(f"{frame.height} {frame.hash_rows().sum()}".encode())
    return f"features-{digest.hexdigest()[:32]}"


def _describe(done: Stored) -> dict[str, Any]:
    return {
        "status": "success",
        "rows": done.added,
        "replaced": done.replaced,
        "removed": done.removed,
        "refused": list(done.refused[:MOST_REFUSED]),
        "table_version": done.version,
    }
