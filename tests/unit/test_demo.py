"""The committed demo is what the generator makes, and its flaws are where the README says."""

from __future__ import annotations

import gzip
import importlib.util
import json
import math
import sys
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "data"
DEMO = DATA / "demo"
SECONDS = {"1m": 60, "5m": 300, "15m": 900, "1h": 3600, "1d": 86400}
EXPECTED = json.loads((DEMO / "expected.json").read_text())["sources"]
READABLE = sorted(name for name, facts in EXPECTED.items() if not facts.get("torn"))
TORN = sorted(set(EXPECTED) - set(READABLE))


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """The demo folder, made anew."""
    spec = importlib.util.spec_from_file_location("make_demo", ROOT / "scripts" / "make_demo.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    out = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["make_demo.py", "--out", str(out / "demo")])
        module.main()
    return out


def read(path: Path) -> pl.DataFrame:
    """Read a demo file with nothing of the product."""
    match "".join(path.suffixes):
        case ".parquet":
            return pl.read_parquet(path)
        case ".feather":
            return pl.read_ipc(path.read_bytes())
        case ".json.gz":
            names = ["date", "open", "high", "low", "close", "volume"]
            return pl.DataFrame(json.loads(gzip.decompress(path.read_bytes())), names, orient="row")
        case _:
            return pl.read_csv(path)


def epoch(value: datetime | str | int | None, path: Path) -> int | None:
    """Return a file's own form of time in epoch seconds."""
    match value:
        case datetime():
            return round(value.timestamp())
        case str():
            return round(datetime.fromisoformat(value).timestamp())
        case int():
            return value if "lakehouse_v1" in path.parts else value // 1000
    return None


def verdict(ts: int | None, prices: tuple[float, ...], volume: float | None, step: int) -> str:
    """Name the rule that a row breaks by itself, or nothing."""
    first, high, low, last = prices
    if ts is None:
        return "timestamp_missing"
    if ts % step:
        return "off_grid"
    if not all(map(math.isfinite, prices)):
        return "non_finite"
    if min(prices) <= 0:
        return "non_positive_price"
    if (volume or 0) < 0:
        return "negative_volume"
    return "" if low <= min(first, last) and max(first, last) <= high else "ohlc_order"


def recount(path: Path, timeframe: str) -> dict[str, object]:
    """Count a file's flaws row by row, the slow and plain way."""
    rows = [
        (epoch(row[0], path), row[1:5], row[5] if len(row) > 5 else None)
        for row in read(path).iter_rows()
    ]
    distinct = list(dict.fromkeys((ts, repr(prices), volume) for ts, prices, volume in rows))
    first_of = {(ts, repr(prices), volume): prices for ts, prices, volume in rows}
    quarantined: dict[str, int] = {}
    good: dict[int, list[float]] = {}
    for ts, key, volume in distinct:
        prices = first_of[ts, key, volume]
        if rule := verdict(ts, prices, volume, SECONDS[timeframe]):
            quarantined[rule] = quarantined.get(rule, 0) + 1
        else:
            good.setdefault(ts, []).append(prices[3])
    for ts in [ts for ts, closes in good.items() if len(closes) > 1]:
        count = quarantined.get("duplicate_conflict", 0)
        quarantined["duplicate_conflict"] = count + len(good.pop(ts))
    closes = [good[ts][0] for ts in sorted(good)]
    if spikes := sum(later / earlier - 1 > 5 for earlier, later in pairwise(closes)):
        quarantined["return_spike"] = spikes
    return {
        "rows": len(rows),
        "bars": len(closes) - spikes,
        "quarantined": quarantined,
        "identical_duplicates": len(rows) - len(distinct),
    }


def test_the_same_files_are_committed_and_made(made):
    committed = {str(path.relative_to(DATA)) for path in DEMO.rglob("*") if path.is_file()}
    assert committed == {str(path.relative_to(made)) for path in made.rglob("*") if path.is_file()}
    assert committed == set(EXPECTED) | {"demo/README.md", "demo/expected.json"}


@pytest.mark.parametrize("name", READABLE)
def test_a_readable_file_has_the_content_the_generator_makes(made, name):
    assert_frame_equal(read(DATA / name), read(made / name), check_exact=True)


@pytest.mark.parametrize("name", [*TORN, "demo/README.md", "demo/expected.json"])
def test_a_torn_file_and_a_text_are_the_same_bytes(made, name):
    assert (DATA / name).read_bytes() == (made / name).read_bytes()


@pytest.mark.parametrize("name", TORN)
def test_a_torn_file_cannot_be_read(name):
    with pytest.raises(pl.exceptions.ComputeError):
        pl.read_parquet(DATA / name)


@pytest.mark.parametrize("name", READABLE)
def test_the_expected_counts_hold_against_a_plain_recount(name):
    facts = EXPECTED[name]
    counted = recount(DATA / name, facts["timeframe"])
    assert counted == {key: facts[key] for key in counted}
    accounted = facts["bars"] + sum(facts["quarantined"].values()) + facts["identical_duplicates"]
    assert facts["rows"] == accounted


@pytest.mark.parametrize("name", READABLE)
def test_the_expected_gaps_hold_against_the_steps_between_rows(name):
    facts = EXPECTED[name]
    step = SECONDS[facts["timeframe"]]
    stamps = {epoch(row[0], DATA / name) for row in read(DATA / name).iter_rows()}
    seen = sorted(ts for ts in stamps if ts is not None and ts % step == 0)
    holes = [(later - earlier) // step - 1 for earlier, later in pairwise(seen)]
    closed = 47 * 60 if "eurusd" in name else None  # a week-end of 48 hours, less the lost hour
    gaps = [hole for hole in holes if hole and hole != closed]
    assert (len(gaps), sum(gaps)) == (facts["gaps"], facts["missing"])
    assert closed is None or closed in holes


def test_every_quarantine_rule_has_a_row_that_breaks_it():
    planted = {rule for name in READABLE for rule in EXPECTED[name]["quarantined"]}
    assert planted == {
        "timestamp_missing",
        "off_grid",
        "non_finite",
        "non_positive_price",
        "negative_volume",
        "ohlc_order",
        "duplicate_conflict",
        "return_spike",
    }


def test_the_demo_stays_small():
    assert sum(path.stat().st_size for path in DEMO.rglob("*") if path.is_file()) <= 300_000


def test_every_path_of_the_manifest_exists():
    manifest = json.loads((DATA / "manifest.json").read_text())
    assert manifest["default_profile"] in manifest["profiles"]
    for profile in manifest["profiles"].values():
        if isinstance(profile, str):
            assert profile in manifest["profiles"]
            continue
        discovery = profile.get("discovery", {})
        for strategy in discovery.get("strategies", {}).values():
            assert all((DATA / f"{path}.yaml").is_file() for path in strategy["scanners"])
        assert all((DATA / entry["path"]).exists() for entry in discovery.get("legacy", []))


def test_the_manifest_reaches_every_demo_file():
    profile = json.loads((DATA / "manifest.json").read_text())["profiles"]["demo"]
    paths = [Path(entry["path"]) for entry in profile["discovery"]["legacy"]]
    reached = {name for name in EXPECTED for path in paths if Path(name).is_relative_to(path)}
    assert reached == set(EXPECTED)
