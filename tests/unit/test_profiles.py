from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_sdk.errors import InvalidManifest
from quant_stages.manifest.document import Manifest, merge, read_manifest
from quant_stages.manifest.profiles import audit_profiles, manifest_findings

LEGACY = {"path": ".", "layout": "flat_v1"}


@pytest.fixture
def audit(tmp_path):
    def audited(document, only=()):
        path = tmp_path / "manifest.json"
        path.write_text(document if isinstance(document, str) else json.dumps(document))
        manifest = read_manifest(path)
        return {item.name: item for item in audit_profiles(manifest, only)}, manifest

    return audited


def discovery(**settings):
    return {"discovery": {"legacy": [LEGACY], **settings}}


def found(profile):
    return {(item.severity, item.code) for item in profile.findings}


def test_a_sound_profile_has_no_findings(audit):
    profiles, manifest = audit({"profiles": {"a": discovery()}, "default_profile": "a"})
    assert profiles["a"].findings == ()
    assert profiles["a"].entries[0].layout == "flat_v1"
    assert manifest_findings(manifest) == []


def test_defaults_are_merged_under_each_profile(audit):
    defaults = {"discovery": {"enabled_markets": ["crypto"], "legacy": []}}
    profiles, _ = audit({"defaults": defaults, "profiles": {"a": discovery()}})
    merged = profiles["a"].settings["discovery"]
    assert merged == {"enabled_markets": ["crypto"], "legacy": [LEGACY]}


def test_an_alias_resolves_through_others(audit):
    profiles, _ = audit({"profiles": {"a": "b", "b": "c", "c": discovery()}})
    assert profiles["a"].resolved == "c"
    assert profiles["a"].entries


def test_an_alias_cycle_is_shown_and_stops_only_itself(audit):
    profiles, _ = audit({"profiles": {"a": "b", "b": "a", "c": discovery()}})
    assert found(profiles["a"]) == {("error", "alias_cycle")}
    assert "a -> b -> a" in profiles["a"].findings[0].message
    assert profiles["c"].ok


def test_a_dangling_alias_names_the_nearest_profile(audit):
    profiles, _ = audit({"profiles": {"a": "produktion", "production": discovery()}})
    assert found(profiles["a"]) == {("error", "dangling_alias")}
    assert "production" in profiles["a"].findings[0].fix


def test_duplicate_keys_are_errors_at_their_place(audit):
    text = '{"profiles": {"a": {"discovery": {"legacy": [], "legacy": []}}}}'
    profiles, _ = audit(text)
    (finding,) = profiles["a"].findings
    assert (finding.code, finding.place) == ("duplicate_key", "profiles.a.discovery.legacy")


def test_an_unknown_key_near_a_known_one_is_a_warning(audit):
    profiles, _ = audit({"profiles": {"a": discovery(enabled_market=["crypto"])}})
    assert found(profiles["a"]) == {("warning", "unknown_key")}
    assert "enabled_markets" in profiles["a"].findings[0].fix
    assert profiles["a"].entries


def test_keys_that_resemble_nothing_are_left_alone(audit):
    profiles, _ = audit({"profiles": {"a": {**discovery(), "risk": {"x": 1}}}})
    assert profiles["a"].findings == ()


def test_a_missing_legacy_path_is_an_error_and_a_missing_scanner_a_warning(audit):
    strategy = {"trend": {"scanners": ["scanners/none"], "interval": "1h"}}
    profile = discovery(strategies=strategy, legacy=[{"path": "gone", "layout": "pair"}])
    profiles, _ = audit({"profiles": {"a": profile}})
    assert found(profiles["a"]) == {
        ("warning", "missing_scanner"),
        ("error", "missing_legacy_path"),
    }
    assert profiles["a"].entries == ()


def test_a_scanner_is_found_without_its_suffix(audit, tmp_path):
    (tmp_path / "trend.yaml").write_text("{}")
    strategy = {"trend": {"scanners": ["trend"]}}
    profiles, _ = audit({"profiles": {"a": discovery(strategies=strategy)}})
    assert profiles["a"].findings == ()


def test_a_profile_without_discovery_is_a_note_and_sleeves_make_it_a_meta_profile(audit):
    defaults = {"discovery": {"legacy": [LEGACY]}}
    profiles, _ = audit({"defaults": defaults, "profiles": {"m": {"sleeves": []}, "n": {}}})
    assert found(profiles["m"]) == found(profiles["n"]) == {("note", "no_discovery")}
    assert "meta profile" in profiles["m"].findings[0].message
    assert profiles["m"].entries == ()


@pytest.mark.parametrize(
    ("settings", "place"),
    [
        ({"strategies": {"s": {"interval": "5 minutes"}}}, "strategies.s.interval"),
        ({"strategies": {"s": {"ingestion_depth": 0}}}, "strategies.s.ingestion_depth"),
        ({"strategies": {"s": {"ingestion_depth": True}}}, "strategies.s.ingestion_depth"),
        ({"strategies": {"s": {"strict_health": "yes"}}}, "strategies.s.strict_health"),
        ({"strategies": {"s": {"scanners": "one"}}}, "strategies.s.scanners"),
        ({"strategies": []}, "strategies"),
        ({"enabled_markets": "crypto"}, "enabled_markets"),
        ({"legacy": {}}, "legacy"),
        ({"legacy": [{"path": "."}]}, "legacy[0]"),
        ({"legacy": [{**LEGACY, "layout": "flat"}]}, "legacy[0].layout"),
        ({"legacy": [{**LEGACY, "timestamp_unit": "seconds"}]}, "legacy[0].timestamp_unit"),
        ({"legacy": [{**LEGACY, "path": "a\0b"}]}, "legacy[0].path"),
        ({"legacy": [7]}, "legacy[0]"),
    ],
)
def test_an_impossible_value_is_an_error_at_its_place(audit, settings, place):
    profiles, _ = audit({"profiles": {"a": discovery(**settings)}})
    errors = [item for item in profiles["a"].findings if item.severity == "error"]
    (finding,) = [item for item in errors if item.code == "impossible_value"]
    assert finding.place == f"profiles.a.discovery.{place}"
    assert finding.fix


def test_a_profile_asked_for_by_an_unknown_name_is_an_error(audit):
    profiles, _ = audit({"profiles": {"main": discovery()}}, only=("mian",))
    assert found(profiles["mian"]) == {("error", "unknown_profile")}


def test_a_default_profile_that_does_not_exist_is_a_warning(audit):
    _, manifest = audit({"default_profile": "x", "profiles": {}})
    assert [item.code for item in manifest_findings(manifest)] == ["dangling_default"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"profiles": []}', "{'a': 1}", "[" * 100_000])
def test_a_manifest_of_another_form_is_refused_with_a_fix(tmp_path, text):
    path = tmp_path / "manifest.json"
    path.write_text(text)
    with pytest.raises(InvalidManifest) as caught:
        read_manifest(path)
    assert caught.value.fix


def test_a_missing_manifest_is_refused(tmp_path):
    with pytest.raises(InvalidManifest, match="cannot be read"):
        read_manifest(tmp_path / "none.json")


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["discovery", "legacy", "path", "layout", "strategies", "sleeves", "x"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(profiles=st.dictionaries(st.text(max_size=5), values, max_size=4), defaults=values)
def test_no_manifest_makes_the_audit_crash(profiles, defaults, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "manifest.json"
    document = {"profiles": profiles}
    if isinstance(defaults, dict):
        document["defaults"] = defaults
    manifest = Manifest(
        path=path,
        document=document,
        defaults=document.get("defaults", {}),
        profiles=profiles,
    )
    audited = audit_profiles(manifest)
    assert [item.name for item in audited] == list(profiles)
    assert all(item.to_dict()["findings"] is not None for item in audited)


def test_merging_replaces_lists_and_joins_objects():
    assert merge({"a": {"b": 1, "c": [1]}}, {"a": {"c": [2]}}) == {"a": {"b": 1, "c": [2]}}
