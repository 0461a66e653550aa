from __future__ import annotations

import pickle
import re

import pytest

from quant_registry import errors
from quant_registry.errors import QuantError, StageLocked, UnknownStage


def _classes() -> list[type[QuantError]]:
    found = [item for item in vars(errors).values() if isinstance(item, type)]
    return [item for item in found if issubclass(item, QuantError)]


def _drawn() -> dict[str, tuple[int, int, str]]:
    """Return name → (depth, exit code, code) from the tree in the docstring."""
    row = re.compile(r"^([│├└─ ]*)(\w+) +(\d+) +(\w+)", re.MULTILINE)
    found = row.findall(errors.__doc__ or "")
    return {name: (len(lead) // 4, int(code), text) for lead, name, code, text in found}


def test_the_drawn_tree_is_the_tree_of_classes_with_its_codes():  # req: exit-codes
    drawn = _drawn()
    depth = {kind.__name__: len(kind.__mro__) - QuantError.__mro__.__len__() for kind in _classes()}
    assert drawn == {
        kind.__name__: (depth[kind.__name__], kind.exit_code, kind.code) for kind in _classes()
    }


def test_each_drawn_error_stands_under_its_parent():
    names = list(_drawn())
    for kind in _classes():
        if kind is not QuantError:
            parent = kind.__mro__[1].__name__
            assert names.index(parent) < names.index(kind.__name__)


def test_codes_are_unique_and_exit_codes_are_the_frozen_ones():
    codes = [kind.code for kind in _classes()]
    assert len(set(codes)) == len(codes)
    assert {kind.exit_code for kind in _classes()} == {1, 2, 3, 4, 5, 6, 7, 8, 130}


def test_the_tree_says_which_errors_are_retryable():
    marked = re.findall(r"(\w+) +\d+ +\w+ \(retryable\)", errors.__doc__ or "")
    assert set(marked) == {kind.__name__ for kind in _classes() if kind.retryable}


@pytest.mark.parametrize("kind", _classes())
def test_a_pickled_error_keeps_its_sentence_fix_and_facts(kind):
    error = kind("sent", fix="do it", rows=3)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert str(again) == str(error)
    assert again.to_dict() == error.to_dict()
    assert again.facts == error.facts
    assert again.rows == 3


def test_facts_are_attributes_and_other_names_are_not():
    error = StageLocked("held", lock_id="abc")
    assert error.lock_id == "abc"
    assert not hasattr(error, "nothing")


def test_an_unknown_name_answers_with_the_nearest_known_ones():
    error = UnknownStage("test.cuont", ["test.count", "other.thing"])
    assert "test.count" in error.fix
    assert "quant stage list" in UnknownStage("zzz", ["test.count"]).fix
