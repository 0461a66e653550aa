"""The whole data cycle beside a market that stands still, and what it must come to."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import polars as pl
from _market import point_at
from _orders import OffsetClock

from quant_sdk import QuantSDK, StageRegistry, verify_chain
from quant_sdk.lakehouse.fingerprint import combine, fingerprint
from quant_sdk.lakehouse.snapshot import list_snapshots, scan_snapshot, verify_snapshot
from quant_sdk.lakehouse.timeframe import to_micros
from quant_sdk.market.faults import Faults, Halt
from quant_sdk.market.market import Market
from quant_stages import STAGES

if TYPE_CHECKING:
    from pathlib import Path

STAGE = "ops.flow_data"
NOW = datetime(2026, 2, 3, 10, 5, tzinfo=UTC)
HALT = Halt(
    start=to_micros(datetime(2026, 1, 30, 3, tzinfo=UTC)),
    end=to_micros(datetime(2026, 1, 30, 8, tzinfo=UTC)),
)
SCANNER = "markets: [crypto]\nexchanges: [BINANCE]\nsort_by: Value.Traded\nlimit: 5\n"
STRATEGY = {"scanners": ["coins"], "interval": "1h", "ingestion_depth": 20}


def still_market(**faults: Any) -> Market:
    """Return a market whose time stands, so that runs at other moments find the same."""
    return Market(seed=13, now=lambda: NOW, faults=Faults(halts=(HALT,), **faults))


def offset_now() -> float:
    """Return by how much the machine's clock is off from the market's."""
    return (NOW - datetime.now(UTC)).total_seconds()


def make_cycle(root: Path, url: str) -> Path:
    """Write the settings, the manifest and the scanner of a workspace; return its folder."""
    point_at(root, url)
    profile = {"discovery": {"strategies": {"coins": STRATEGY}}}
    manifest = {"default_profile": "small", "profiles": {"small": profile}}
    (root / "data").mkdir(exist_ok=True)
    (root / "data/manifest.json").write_text(json.dumps(manifest))
    (root / "data/coins.yaml").write_text(SCANNER)
    return root


def copy(template: Path, folder: Path) -> Path:
    return shutil.copytree(template, folder / "workspace")


def sdk_of(root: Path, offset: float) -> QuantSDK:
    return QuantSDK(root, registry=StageRegistry(STAGES), clock=OffsetClock(offset), actor="test")


def contents(sdk: QuantSDK) -> dict[str, Any]:
    """Return what must be equal whatever happened on the way."""
    lakehouse = sdk.lakehouse

    def rows(name: str, *without: str) -> list[tuple[Any, ...]]:
        return sorted(lakehouse.table(name).scan().drop(without).collect().rows(), key=repr)

    return {
        "bars": lakehouse.content_hash(),
        "quarantine": lakehouse.quarantine_summary(),
        "corrections": rows("corrections"),
        "holes": _holes(sdk),
        **{name: rows(name, "valid_from") for name in ("symbols", "execution", "exchanges")},
        "features": rows("features", "known_at"),
        "candidates": _candidates(sdk),
    }


def _holes(sdk: QuantSDK) -> list[tuple[Any, ...]]:
    """Return series and opening of each missing bar of which the cause is known."""
    hour = pl.duration(hours=1)
    parts = [
        sdk.lakehouse.table(name)
        .scan()
        .select(
            "symbol",
            "timeframe",
            "cause",
            ts=pl.datetime_ranges("start", pl.col("end") - hour, "1h"),
        )
        .explode("ts")
        .collect()
        for name in ("verified_empty", "unfilled")
    ]
    return sorted(pl.concat(parts).rows())


def _candidates(sdk: QuantSDK) -> list[dict[str, Any]]:
    newest = max((sdk.workspace.root / "data/export").glob("*-data.discover-*/candidates.json"))
    return json.loads(newest.read_bytes())["data"]


def check_end(sdk: QuantSDK, expected: dict[str, Any]) -> None:
    """Compare with an undisturbed end, and see that nothing is left over or told twice."""
    found = contents(sdk)
    for name, value in expected.items():
        assert found[name] == value, name
    assert (
        sdk.lakehouse.table("bars")
        .scan()
        .select(pl.struct("symbol", "timeframe", "ts").is_unique().all())
        .collect()
        .item()
    )
    _check_snapshots(sdk)
    assert all(run.is_terminal for run in sdk.runs(limit=1000))
    heads = {run.run_id: tuple(run.audit_head.values()) for run in sdk.runs(limit=1000)}
    assert all(report.ok for report in verify_chain(sdk.workspace.audit, heads=heads))


def _check_snapshots(sdk: QuantSDK) -> None:
    workspace = sdk.workspace
    known = [item["id"] for item in list_snapshots(workspace)]
    assert sorted(path.name for path in workspace.snapshots.iterdir()) == sorted(known)
    for name in known:
        assert verify_snapshot(workspace, name)["ok"], name
    bars = scan_snapshot(workspace, known[-1], "bars")
    assert combine(fingerprint(bars)) == sdk.lakehouse.content_hash()
