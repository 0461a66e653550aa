from __future__ import annotations

import copy
import pickle
import traceback

import keyring.backend
import keyring.errors
import pytest

from quant_sdk.sources.credentials import SERVICE, Credentials, find_credentials

PLANTED = "planted/secret+4711="


def nothing(_service, _name):
    return None


def test_credentials_come_from_the_environment():
    environ = {
        "QUANT_BINANCE_API_KEY": "key",
        "QUANT_BINANCE_SECRET": PLANTED,
        "QUANT_KRAKEN_API_KEY": "another",
    }
    found = find_credentials("BINANCE", environ, nothing)
    assert found.reveal() == {"api_key": "key", "secret": PLANTED}


def test_a_venue_without_credentials_has_empty_ones():
    found = find_credentials("BINANCE", {"QUANT_BINANCE_API_KEY": ""}, nothing)
    assert not found
    assert found.reveal() == {}


def test_what_is_no_letter_or_digit_becomes_an_underscore():
    assert find_credentials("my-venue", {"QUANT_MY_VENUE_PASSWORD": "p"}, nothing).reveal() == {
        "password": "p"
    }


def test_the_keyring_is_asked_where_the_environment_is_silent():
    asked = []

    def ask(service, name):
        asked.append((service, name))
        return PLANTED if name == "BINANCE_SECRET" else None

    assert find_credentials("BINANCE", {}, ask).reveal() == {"secret": PLANTED}
    assert (SERVICE, "BINANCE_API_KEY") in asked


def test_the_environment_is_never_mixed_with_the_keyring():
    found = find_credentials("BINANCE", {"QUANT_BINANCE_API_KEY": "key"}, lambda *_: PLANTED)
    assert found.reveal() == {"api_key": "key"}


class Keyring(keyring.backend.KeyringBackend):
    priority = 1

    def __init__(self, answer) -> None:
        super().__init__()
        self.answer = answer

    def get_password(self, service, username):
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer.get((service, username))

    def set_password(self, service, username, password):
        raise AssertionError("nothing is written to a keyring")


@pytest.fixture
def installed():
    """Let a test put a keyring in place of the machine's."""
    before = keyring.get_keyring()
    yield lambda answer: keyring.set_keyring(Keyring(answer))
    keyring.set_keyring(before)


def test_the_installed_keyring_is_used(installed):
    installed({(SERVICE, "BINANCE_API_KEY"): PLANTED})
    assert find_credentials("BINANCE", {}).reveal() == {"api_key": PLANTED}


@pytest.mark.parametrize(
    "error", [keyring.errors.NoKeyringError(), keyring.errors.KeyringLocked("locked")]
)
def test_a_keyring_that_cannot_be_opened_counts_as_empty(installed, error):
    installed(error)
    assert not find_credentials("BINANCE", {})


def test_credentials_show_themselves_to_nobody():
    secret = Credentials(api_key=PLANTED, secret=PLANTED, password=PLANTED)
    assert PLANTED not in f"{secret!r} {secret} {secret!s:>80}"
    assert not hasattr(secret, "__dict__")
    for leak in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError) as caught:
            leak(secret)
        assert PLANTED not in "".join(traceback.format_exception(caught.value))
