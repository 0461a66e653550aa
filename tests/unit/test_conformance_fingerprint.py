"""Fingerprints by partition: only what changed is computed again."""

from __future__ import annotations

import polars as pl
from _bars import put, series

from quant_sdk.lakehouse.fingerprint import fingerprint, incremental, merge


def unreadable() -> pl.LazyFrame:
    return series().lazy().select(pl.col("no_such_column"))


def test_only_the_partition_that_changed_is_read_again():
    parts = {
        f"{day}.1": series(start=1_704_067_200_000_000 + day * 86_400_000_000) for day in range(4)
    }
    known = incremental(parts, {})
    whole = fingerprint(pl.concat(parts.values()))
    assert merge(*known.values()).equals(whole)
    changed = {name: unreadable() for name in ("0.1", "1.1", "3.1")}
    fresh = put(parts["2.1"], 5, close=1.5)
    again = incremental({**changed, "2.2": fresh}, known)
    rows = pl.concat([fresh, *(parts[name] for name in changed)])
    assert merge(*again.values()).equals(fingerprint(rows))
    assert "2.1" not in again
