from __future__ import annotations

import os
from pathlib import Path

import pytest

from quant_registry.errors import OutsideWorkspace
from quant_sdk.errors import InvalidInput
from quant_sdk.sources.scanner.file import read_scanner
from quant_sdk.sources.scanner.filters import Filter

ROOT = Path(__file__).parents[2]


@pytest.fixture
def root(tmp_path):
    (tmp_path / "ws" / "deep").mkdir(parents=True)
    return tmp_path / "ws"


@pytest.fixture
def scanner(root):
    """Write files, each named by its path, and read the first of them."""

    def read(text="", **others):
        files = {"a.yaml": text} | {name.replace("__", "/"): body for name, body in others.items()}
        for name, body in files.items():
            path = root / (name if "." in name else f"{name}.yaml")
            path.write_bytes(body if isinstance(body, bytes) else body.encode())
        return read_scanner(root / "a", root)

    return read


def codes(found):
    return [(item.code, item.place) for item in found.findings]


def test_the_whole_dialect_is_read(scanner, root):
    (root / "coins.txt").write_text("# the big ones\nbinance:btcusdt\nETH  # a base\n\n")
    found = scanner("""
        markets: [Crypto]
        exchanges: [binance, OKX]
        filters:
          - {left: close, operation: greater, right: SMA50}
          - {left: type, operation: in_range, right: [spot, swap]}
          - {left: volume, operation: nempty}
        sort_by: volume
        limit: 7
        include_symbol_files: [coins.txt]
        exclude_stable_bases: true
        quote_priority: [usdt, USDC]
        trend: {timeframe: 4h, direction: short}
        metadata: {intent: reversal, owner: me}
        export_metadata: true
    """)
    assert found.markets == ("crypto",)
    assert found.exchanges == ("BINANCE", "OKX")
    assert found.filters == (
        Filter(left="close", operation="greater", right="SMA50"),
        Filter(left="type", operation="in_range", right=("spot", "swap")),
        Filter(left="volume", operation="nempty"),
    )
    assert (found.sort_by, found.sort_order, found.limit) == ("volume", "desc", 7)
    assert found.symbols == ("BINANCE:BTCUSDT", "ETH")
    assert found.quote_priority == ("USDT", "USDC")
    assert found.trend is not None
    assert found.trend.direction == "short"
    assert (found.intent, found.metadata["owner"]) == ("reversal", "me")
    assert found.exclude_stable_bases
    assert found.export_metadata
    assert found.findings == ()
    assert (found.name, found.path, found.chain) == ("a", "a.yaml", ("a.yaml",))


def test_a_preset_is_inherited_and_the_childs_keys_win_whole(scanner):
    found = scanner(
        "base_preset: deep/b.yaml\nexchanges: [OKX]\nmetadata: {intent: mine}",
        deep__b="base_preset: ../c\nexchanges: [BINANCE, KRAKEN]\nlimit: 5\nsort_by: volume",
        c="markets: [crypto]\nlimit: 9\nmetadata: {intent: theirs, owner: them}",
    )
    assert found.chain == ("a.yaml", "deep/b.yaml", "c.yaml")
    assert (found.exchanges, found.limit, found.sort_by) == (("OKX",), 5, "volume")
    assert (found.markets, dict(found.metadata)) == (("crypto",), {"intent": "mine"})


def test_symbol_files_stand_relative_to_the_file_that_names_them(scanner, root):
    (root / "deep" / "list.txt").write_text("FXCM:EURUSD")
    found = scanner(
        "base_preset: deep/b.yaml", deep__b="markets: [forex]\ninclude_symbol_files: [list.txt]"
    )
    assert found.symbols == ("FXCM:EURUSD",)


def test_a_cycle_of_presets_shows_the_whole_chain(scanner):
    with pytest.raises(InvalidInput, match=r"a\.yaml -> deep/b\.yaml -> a\.yaml"):
        scanner("base_preset: deep/b.yaml", deep__b="base_preset: ../a.yaml")


def test_a_cycle_by_a_symbolic_link_is_a_cycle(scanner, root):
    (root / "link.yaml").symlink_to(root / "a.yaml")
    with pytest.raises(InvalidInput, match=r"the presets go round: a\.yaml -> a\.yaml"):
        scanner("base_preset: link.yaml")


def test_a_missing_preset_shows_the_whole_chain(scanner):
    with pytest.raises(InvalidInput, match=r"a\.yaml -> deep/b\.yaml -> deep/gone\.yaml") as caught:
        scanner("base_preset: deep/b.yaml", deep__b="base_preset: gone.yaml")
    assert "deep/b.yaml" in caught.value.fix


def test_a_chain_without_an_end_is_refused(scanner):
    presets = {f"p{n}": f"base_preset: p{n + 1}" for n in range(40)}
    with pytest.raises(InvalidInput, match="more than 16 presets"):
        scanner("base_preset: p0", **presets)


def test_unknown_keys_are_kept_and_reported_with_the_nearest(scanner):
    found = scanner("markets: [crypto]\nquote_priorty: [USDT]\nmomentum_fields: [Perf.1M]")
    assert found.extra == {"quote_priorty": ["USDT"], "momentum_fields": ["Perf.1M"]}
    assert codes(found) == [
        ("unknown_key", "a.yaml: quote_priorty"),
        ("unknown_key", "a.yaml: momentum_fields"),
    ]
    assert "quote_priority" in found.findings[0].fix


def test_what_is_odd_in_a_preset_is_placed_there(scanner):
    found = scanner("base_preset: b\nlmit: 3", b="markets: [crypto]\nsort: volume")
    assert codes(found) == [("unknown_key", "b.yaml: sort"), ("unknown_key", "a.yaml: lmit")]
    with pytest.raises(InvalidInput, match=r"at `limit` of b\.yaml"):
        scanner("base_preset: b", b="markets: [crypto]\nlimit: many")
    with pytest.raises(InvalidInput, match=r"at `left` of b\.yaml: filters\[0\]"):
        scanner("base_preset: b", b="markets: [crypto]\nfilters: [{right: 1}]")


def test_a_key_that_stands_twice_is_reported(scanner):
    found = scanner("markets: [crypto]\nlimit: 5\nlimit: 6")
    assert found.limit == 6
    assert codes(found) == [("duplicate_key", "a.yaml: limit")]


def test_an_unknown_operation_is_kept_and_reported(scanner):
    found = scanner(
        "markets: [crypto]\nfilters: [{left: close, operation: greatr, right: 1, note: x}]"
    )
    assert found.filters[0].operation == "greatr"
    assert [item.code for item in found.findings] == ["unknown_key", "unknown_operation"]
    assert "greater" in found.findings[1].fix


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("1e12", 1e12),
        ("1e6", 1e6),
        ("1E+6", 1e6),
        ("1.5e6", 1.5e6),
        ("-2.5e-3", -0.0025),
        ("-.5", -0.5),
        (".5e1", 5.0),
        ("1_000", 1000),
        ("'1e6'", "1e6"),
        ("1e", "1e"),
        ("e6", "e6"),
        ("0885", "0885"),
    ],
)
def test_numbers_are_written_as_in_yaml_1_2(scanner, written, read):
    found = scanner(
        f"markets: [crypto]\nfilters: [{{left: volume, operation: greater, right: {written}}}]"
    )
    assert found.filters[0].right == read
    assert type(found.filters[0].right) is type(read)


def test_labels_under_export_metadata_turn_it_on(scanner):
    found = scanner("markets: [crypto]\nexport_metadata: {symbol: base_universe}")
    assert (found.export_metadata, found.labels) == (True, {"symbol": "base_universe"})


def test_a_missing_symbol_file_is_named(scanner):
    with pytest.raises(InvalidInput, match=r"no symbol file deep/gone\.txt, which a\.yaml"):
        scanner("markets: [crypto]\ninclude_symbol_files: [deep/gone.txt]")


def test_a_symbol_file_without_symbols_does_not_open_the_gates(scanner, root):
    (root / "empty.txt").write_text("# nothing yet\n")
    with pytest.raises(InvalidInput, match="hold no symbol"):
        scanner("markets: [crypto]\ninclude_symbol_files: [empty.txt]")


def test_a_line_that_is_no_symbol_is_left_out_and_reported(scanner, root):
    (root / "odd.txt").write_text("BINANCE:BTCUSDT\n../../etc/passwd\nBINANCE:\n")
    found = scanner("markets: [crypto]\ninclude_symbol_files: [odd.txt]")
    assert found.symbols == ("BINANCE:BTCUSDT",)
    assert codes(found) == [("bad_symbol", "odd.txt: line 2"), ("bad_symbol", "odd.txt: line 3")]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "just text",
        "[1, 2]",
        "limit: 5",
        "markets: []",
        "markets: crypto",
        "markets: [../admin]",
        "markets: [crypto]\nexchanges: [ON]",
        "markets: [crypto]\nlimit: 0",
        "markets: [crypto]\nlimit: yes",
        "markets: [crypto]\nlimit: 0x" + "f" * 9000,
        "markets: [crypto]\nsort_order: up",
        "markets: [crypto]\nfilters: {left: close}",
        "markets: [crypto]\nfilters: [close]",
        "markets: [crypto]\nfilters: [{left: close, right: 1}]",
        "markets: [crypto]\nfilters: [{left: close, operation: greater}]",
        "markets: [crypto]\nfilters: [{left: close, operation: less, right: .nan}]",
        "markets: [crypto]\nfilters: [{left: close, operation: less, right: {a: 1}}]",
        "markets: [crypto]\nfilters: [{left: close, operation: less, right: 2024-01-01}]",
        "markets: [crypto]\nexclude_stable_bases: sometimes",
        "markets: [crypto]\nmetadata: trend",
        "markets: [crypto]\nmetadata: {intent: [a]}",
        "markets: [crypto]\nexport_metadata: maybe",
        "base_preset: [a, b]",
        "markets: [crypto\n",
        "? [a, b]\n: c",
        "!!python/object/apply:os.system [true]",
        "markets: &a [*a]",
        "x: &x {y: 1}\n<<: *x\nmarkets: [crypto]",
        b"markets: [\xff\xfe]",
        "a: " + "[" * 5000,
    ],
)
def test_what_is_no_scanner_is_refused_with_a_fix(scanner, text):
    with pytest.raises(InvalidInput) as caught:
        scanner(text)
    assert caught.value.fix
    assert len(caught.value.message) < 400


def test_aliases_that_multiply_stay_cheap(scanner):
    levels = "".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]\n" for n in range(1, 30))
    found = scanner(f"markets: [crypto]\nl0: &l0 [x]\n{levels}")
    assert len(found.extra) == 30
    with pytest.raises(InvalidInput):
        scanner(f"markets: [crypto]\nl0: &l0 [x]\n{levels}\nlimit: *l29")


def test_paths_stay_inside_the_workspace(scanner, root):
    outside = root.parent / "outside.yaml"
    outside.write_text("markets: [crypto]")
    (root.parent / "outside.txt").write_text("BINANCE:BTCUSDT")
    for text in (
        "base_preset: ../outside.yaml",
        f"base_preset: {outside}",
        "markets: [crypto]\ninclude_symbol_files: [../outside.txt]",
    ):
        with pytest.raises(OutsideWorkspace):
            scanner(text)
    (root / "link.yaml").symlink_to(outside)
    with pytest.raises(OutsideWorkspace):
        scanner("base_preset: link.yaml")
    with pytest.raises(OutsideWorkspace):
        read_scanner(outside, root)


def test_what_is_no_plain_file_is_no_scanner(root):
    os.mkfifo(root / "a.yaml")
    (root / "a").mkdir()
    with pytest.raises(InvalidInput, match="no scanner file"):
        read_scanner(root / "a", root)


def test_files_beyond_their_size_are_refused(scanner, root):
    with pytest.raises(InvalidInput, match="larger"):
        scanner("# " + "x" * 300_000)
    (root / "big.txt").write_text("A\n" * 600_000)
    with pytest.raises(InvalidInput, match="larger"):
        scanner("markets: [crypto]\ninclude_symbol_files: [big.txt]")


def test_the_digest_names_all_that_was_read(scanner, root):
    def read(limit, listed):
        (root / "list.txt").write_text(listed)
        child = "base_preset: deep/b.yaml\ninclude_symbol_files: [list.txt]"
        return scanner(child, deep__b=f"markets: [crypto]\nlimit: {limit}").digest

    assert read(5, "BTC") == read(5, "BTC")
    assert len({read(5, "BTC"), read(6, "BTC"), read(5, "ETH")}) == 3


@pytest.mark.parametrize(
    "path", sorted((ROOT / "configs" / "scanners").rglob("*.yaml")), ids=lambda path: path.stem
)
def test_every_scanner_of_the_demo_is_sound(path):
    found = read_scanner(path, ROOT)
    assert found.findings == ()
    assert found.intent
