from __future__ import annotations

import dataclasses

import pytest

from quant_registry.errors import InvalidInput
from quant_registry.settings import MAX_BYTES, parse_settings
from quant_registry.workspace import Workspace
from quant_sdk.sources.settings import (
    SCANNER_URL,
    ScannerSettings,
    SourceSettings,
    VenueSettings,
    read_source_settings,
    source_settings,
)

WHOLE = b"""
stages: ["mine:STAGES"]
sources:
  market: embedded
  seed: 11
  venues:
    BINANCE: {exchange: binance, base_url: "http://127.0.0.1:8000/", max_requests_per_second: 20}
    KRAKEN: {}
  scanner: {base_url: "https://scans.example", max_requests_per_second: 0.5}
"""


def settings_of(content):
    return source_settings(parse_settings(content))


def test_a_whole_section_is_read():
    assert settings_of(WHOLE) == SourceSettings(
        market="embedded",
        seed=11,
        venues={
            "BINANCE": VenueSettings(
                exchange="binance", base_url="http://127.0.0.1:8000", max_requests_per_second=20.0
            ),
            "KRAKEN": VenueSettings(),
        },
        scanner=ScannerSettings(base_url="https://scans.example", max_requests_per_second=0.5),
    )


@pytest.mark.parametrize("content", [b"", b"stages: []", b"sources:"])
def test_without_a_section_the_real_venues_are_asked(content):
    found = settings_of(content)
    assert found == SourceSettings()
    assert found.market == "live"
    assert found.scanner.base_url == SCANNER_URL


@pytest.mark.parametrize(
    "content",
    [b"[1, 2]", b"text", b"{", b"sources: []", b"sources: false", b"sources: 0"],
)
def test_what_is_no_mapping_is_refused(content):
    with pytest.raises(InvalidInput, match=r"quant\.yml"):
        settings_of(content)


def test_settings_do_not_change():
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings_of(WHOLE).seed = 3


def test_the_file_is_that_of_the_workspace(tmp_path):
    workspace = Workspace(tmp_path)
    assert read_source_settings(workspace) == SourceSettings()
    workspace.settings.write_bytes(WHOLE)
    assert read_source_settings(workspace).seed == 11


def test_a_file_beyond_measure_is_refused(tmp_path):
    workspace = Workspace(tmp_path)
    workspace.settings.write_bytes(b"#" * (MAX_BYTES + 1))
    with pytest.raises(InvalidInput, match="larger than"):
        read_source_settings(workspace)


@pytest.mark.parametrize(
    ("section", "place", "fix"),
    [
        ("{markt: live}", "sources has no key 'markt'", "did you mean market?"),
        ("{zzz: 1}", "sources has no key 'zzz'", "use market, seed, venues, scanner"),
        ("[live]", "sources", "mapping"),
        ("{market: demo}", "sources.market", "live or embedded"),
        ("{market: [live]}", "sources.market", "live or embedded"),
        ("{seed: -1}", "sources.seed", "whole number"),
        ("{seed: true}", "sources.seed", "whole number"),
        ("{seed: 1.5}", "sources.seed", "whole number"),
        ("{seed: 99999999999999999999}", "sources.seed", "whole number"),
        ("{venues: []}", "sources.venues", "mapping"),
        ("{venues: {binance: {}}}", "sources.venues", "BINANCE"),
        ("{venues: {1: {}}}", "sources.venues", "BINANCE"),
        ("{venues: {../X: {}}}", "sources.venues", "BINANCE"),
        ("{venues: {BINANCE: 3}}", "sources.venues.BINANCE", "mapping"),
        ("{venues: {BINANCE: {rate: 3}}}", "sources.venues.BINANCE", "max_requests_per_second"),
        ("{venues: {BINANCE: {exchange: Bin/ance}}}", "BINANCE.exchange", "ccxt"),
        ("{venues: {BINANCE: {exchange: 3}}}", "BINANCE.exchange", "ccxt"),
        ("{venues: {BINANCE: {max_requests_per_second: 0}}}", "max_requests_per_second", "above 0"),
        ("{scanner: {max_requests_per_second: .inf}}", "scanner.max_requests", "above 0"),
        ("{scanner: {max_requests_per_second: .nan}}", "scanner.max_requests", "above 0"),
        ("{scanner: {max_requests_per_second: true}}", "scanner.max_requests", "above 0"),
        ("{scanner: {max_requests_per_second: fast}}", "scanner.max_requests", "above 0"),
    ],
)
def test_what_is_not_possible_is_refused_with_its_place(section, place, fix):
    with pytest.raises(InvalidInput) as caught:
        settings_of(f"sources: {section}".encode())
    assert place in caught.value.message
    assert fix in caught.value.fix


@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1:8000",
        "http://127.9.9.9",
        "http://[::1]:80",
        "http://localhost:1",
        "https://api.example/prefix",
    ],
)
def test_an_address_of_this_machine_or_a_secure_one_is_taken(address):
    found = settings_of(f"sources: {{scanner: {{base_url: '{address}'}}}}".encode())
    assert found.scanner.base_url == address


@pytest.mark.parametrize(
    "address",
    [
        "http://api.example",
        "http://10.0.0.1",
        "http://localhost.example",
        "http://127.0.0.1.example",
        "ftp://127.0.0.1",
        "file:///etc/passwd",
        "//127.0.0.1",
        "https://",
        "https://user:planted-password@api.example",
        "http://planted-password@127.0.0.1",
        "https://api.example?key=planted-password",
        "https://api.example#x",
        "https://api.example:port",
        "",
    ],
)
def test_another_address_is_refused_and_its_password_is_not_shown(address):
    with pytest.raises(InvalidInput) as caught:
        settings_of(f"sources: {{scanner: {{base_url: '{address}'}}}}".encode())
    assert "sources.scanner.base_url" in caught.value.message
    assert "planted" not in str(caught.value.to_dict())


@pytest.mark.parametrize(
    "content", [b"sources: {", b"\xff\xfe\x00", b"a: &a [*a, *b]", b"[" * 5000]
)
def test_what_is_no_yaml_is_refused(content):
    with pytest.raises(InvalidInput, match="not YAML"):
        settings_of(content)


def test_a_tag_that_makes_objects_is_refused():
    with pytest.raises(InvalidInput, match="not YAML"):
        settings_of(b"sources: !!python/object/apply:os.getcwd []")
