"""Parity: what the sources brought, by the ledger, against what the tables hold now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import polars as pl

from quant_sdk.lakehouse.fingerprint import combine, fingerprint, merge
from quant_sdk.lakehouse.ledger import AMENDMENTS, MANY, contributions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quant_sdk.lakehouse.ledger import Entry
    from quant_sdk.lakehouse.table import Table

_ENDS: Final = ("first", "last")
_FACTS: Final = ("rows", "first", "last", "key_hash", "value_hash")


def parity(entries: Sequence[Entry], bars: Table, quarantine: Table) -> dict[str, Any]:
    """Compare ledger and tables; return the parity report.

    Returns:
        ``ok``; ``content_hash`` of the bars; ``series``, one object each with `rows`, `first`,
        `last`, `key_hash`, `value_hash` as the sources gave them, ``ok`` and, where they differ,
        ``found``; ``unaccounted``, sources whose rows do not add up.

    Raises:
        Corrupted: a file of a table is gone or damaged.
    """
    held = bars.read(fingerprint)
    series = _compared(*_comparable(contributions(entries), held))
    unaccounted = [*_unaccounted(entries), *_not_quarantined(entries, quarantine)]
    return {
        "ok": not unaccounted and all(item["ok"] for item in series),
        "content_hash": combine(held),
        "series": series,
        "unaccounted": unaccounted,
        "superseded": superseded(entries),
    }


def describe(report: dict[str, Any]) -> str:
    """Return the first series and sources of a parity report that do not add up."""
    broken = [item for item in report["series"] if not item["ok"]]
    series = [f"{item['symbol']} {item['timeframe']}" for item in broken]
    return ", ".join([*series, *(item["source"] for item in report["unaccounted"])][:5])


def superseded(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """Return the sources whose earlier declaration left bars that the present one does not give.

    Each as ``{source, bars, symbol, timeframe}``, the series that of the earlier declaration.
    """
    by_source: dict[str, list[Entry]] = {}
    for entry in entries:
        by_source.setdefault(entry.source, []).append(entry)
    found = []
    for source, history in by_source.items():
        if source.partition(":")[0] in AMENDMENTS:
            continue
        now = history[-1].spec_digest
        before = [entry for entry in history if entry.spec_digest != now]
        amended = [entry for kind in AMENDMENTS for entry in by_source.get(f"{kind}:{source}", ())]
        left = sum(entry.bars for entry in [*before, *amended] if entry.spec_digest != now)
        first = next((entry for entry in history if entry.spec_digest == now), history[-1])
        kept = first.unchanged + first.corrected
        if before and left > kept:
            found.append(
                {
                    "source": source,
                    "bars": left - kept,
                    "symbol": before[-1].symbol,
                    "timeframe": before[-1].timeframe,
                }
            )
    return found


def _comparable(told: pl.DataFrame, held: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Fold the series of a timeframe into one where a source tells only of all of them."""
    many = told.filter(pl.col("symbol") == MANY)["timeframe"].implode()
    name = pl.when(pl.col("timeframe").is_in(many)).then(pl.lit(MANY)).otherwise("symbol")
    # A fold's rows may have been withdrawn at its ends: only what adds up is compared.
    ends = [pl.when(pl.col("symbol") != MANY).then(pl.col(end)).alias(end) for end in _ENDS]
    one, other = (
        merge(frame.with_columns(symbol=name)).with_columns(*ends) for frame in (told, held)
    )
    return one.filter(pl.any_horizontal(pl.col("rows", "key_hash", "value_hash") != 0)), other


def _compared(told: pl.DataFrame, held: pl.DataFrame) -> list[dict[str, Any]]:
    both = told.join(held, on=["symbol", "timeframe"], how="full", coalesce=True, suffix="_held")
    report = []
    for row in both.sort("symbol", "timeframe").iter_rows(named=True):
        expected = {name: _plain(row[name]) for name in _FACTS}
        # Where rows were taken back, nobody told where the series begins and ends.
        known = [name for name in _FACTS if row[name] is not None or name not in _ENDS]
        found = {name: _plain(row[f"{name}_held"]) if name in known else None for name in _FACTS}
        item = {
            "symbol": row["symbol"],
            "timeframe": row["timeframe"],
            **expected,
            "ok": expected == found,
        }
        report.append(item if item["ok"] else item | {"found": found})
    return report


def _plain(value: Any) -> Any:
    """Return hashes as text: JSON readers lose integers beyond 2**53."""
    if isinstance(value, int) and value >= 2**32:
        return f"{value:016x}"
    return value


def _unaccounted(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    return [
        {"source": entry.source, "rows": entry.rows, "unaccounted": entry.unaccounted}
        for entry in entries
        if entry.unaccounted
    ]


def _not_quarantined(entries: Sequence[Entry], quarantine: Table) -> list[dict[str, Any]]:
    """Return the sources of which the quarantine holds fewer rows than the ledger says."""
    told = {
        (entry.source, entry.sha256): entry.quarantined for entry in entries if entry.symbol != MANY
    }
    if not any(told.values()):
        return []
    counts = quarantine.read(lambda rows: rows.group_by("source", "source_sha256").len().collect())
    held = {(source, sha): count for source, sha, count in counts.iter_rows()}
    return [
        {"source": source, "quarantined": count, "held": held.get((source, sha), 0)}
        for (source, sha), count in told.items()
        if held.get((source, sha), 0) < count
    ]
