"""What several scanners found, as one list of candidates."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from quant_sdk.sources.candidates import merge_ingest
from quant_sdk.sources.scanner.query import looked_at

if TYPE_CHECKING:
    from quant_sdk.sources.scanner.file import ScannerFile
    from quant_sdk.sources.scanner.selection import Selected
    from quant_stages.data.discover.wanted import Wanted


@dataclass(slots=True)
class Gathering:
    """Candidates so far, by symbol, and the scanners that found them."""

    found: dict[str, dict[str, Any]] = field(default_factory=dict)
    scanners: list[dict[str, Any]] = field(default_factory=list)
    requests: int = 0

    def add(self, wanted: Wanted, scanner: ScannerFile, selected: Selected) -> None:
        """Take in what one scanner selected."""
        self.requests += selected.requests
        self.scanners.append(_facts(wanted, scanner, selected))
        columns = [name for name in _exported(scanner) if name in selected.rows.columns]
        for row in selected.rows.iter_rows(named=True):
            entry = self.found.setdefault(row["symbol"], _entry(row))
            pairs = merge_ingest(entry["ingest"], wanted.ingest)
            entry["ingest"] = pairs
            entry["scanners"] = sorted({*entry["scanners"], scanner.name})
            if columns:
                entry.setdefault("metadata", {}).update({name: row[name] for name in columns})

    def candidates(self) -> list[dict[str, Any]]:
        """Return one entry a symbol, sorted by symbol, in the form of ``candidates/1``."""
        return [_written(self.found[symbol]) for symbol in sorted(self.found)]


def _facts(wanted: Wanted, scanner: ScannerFile, selected: Selected) -> dict[str, Any]:
    return {
        "name": scanner.name,
        "path": scanner.path,
        "presets": list(scanner.chain[1:]),
        "intent": scanner.intent,
        "labels": dict(scanner.labels),
        "strategies": list(wanted.strategies),
        "count": selected.rows.height,
        "requests": selected.requests,
        "findings": [item.to_dict() for item in (*scanner.findings, *selected.findings)],
    }


def _exported(scanner: ScannerFile) -> tuple[str, ...]:
    return ("description", *looked_at(scanner)) if scanner.export_metadata else ()


def _entry(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "symbol": row["symbol"],
        "exchange": row["symbol"].partition(":")[0],
        "asset_type": row["asset_type"] or "unknown",
        "base": row["base"],
        "quote": row["quote"],
        "ingest": (),
        "scanners": [],
    }


def _written(entry: dict[str, Any]) -> dict[str, Any]:
    pairs = entry["ingest"]
    return {
        **entry,
        "timeframes": [timeframe for timeframe, _ in pairs],
        "depth_days": max((days for _, days in pairs if days is not None), default=None),
        "ingest": [{"timeframe": timeframe, "depth_days": days} for timeframe, days in pairs],
    }
