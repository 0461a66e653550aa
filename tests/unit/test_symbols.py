from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_registry.errors import InvalidIdentifier
from quant_sdk.lakehouse.symbols import check_symbol, join_symbol, split_symbol


@pytest.mark.parametrize(
    "symbol",
    ["BINANCE:ADABTC", "FX_IDC:GBPUSD", "NASDAQ:BRK.B", "CME_MINI:ES1!", "NSE:M&M", "X:1-A_B"],
)
def test_symbol_is_returned_unchanged(symbol):
    assert check_symbol(symbol) == symbol


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ADABTC",
        ":ADABTC",
        "BINANCE:",
        "../../etc/x",
        "BINANCE:../../ETC",
        "BINANCE:A..B",
        "BINANCE:A/B",
        "BINANCE:A'B",
        'BINANCE:A"B',
        "BINANCE:A\x00B",
        "BINANCE:ADABTC\n",
        "BINANCE:.ADA",
        "BINANCE:ADA:BTC",
        "BINANCE:ÅDA",
        "A" * 33 + ":X",
        "A:" + "X" * 65,
        "X" * 10_000,
    ],
)
def test_what_is_no_symbol_is_refused_in_a_short_printable_sentence(text):
    with pytest.raises(InvalidIdentifier) as caught:
        check_symbol(text)
    assert caught.value.fix
    assert len(caught.value.message) < 120
    assert caught.value.message.isprintable()


def test_small_letters_are_answered_with_the_symbol_that_was_meant():
    with pytest.raises(InvalidIdentifier) as caught:
        check_symbol("binance:adabtc")
    assert caught.value.fix == "did you mean BINANCE:ADABTC?"


def test_join_and_split_are_inverse():
    assert join_symbol("BINANCE", "ADA", "BTC") == "BINANCE:ADABTC"
    assert split_symbol("BINANCE:ADABTC") == ("BINANCE", "ADABTC")


@given(st.text(max_size=40))
def test_any_accepted_text_is_safe_in_a_path_and_in_a_predicate(text):
    try:
        check_symbol(text)
    except InvalidIdentifier:
        return
    assert not set(text) & set("/\\'\"\0\n\r ")
    assert ".." not in text
