"""What becomes of the rows that go through the rules: good ones, refused ones, twins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import polars as pl

from quant_sdk.conformance.selection import PLACE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from quant_sdk.conformance.asking import Crashed
    from quant_sdk.conformance.selection import Selection
    from quant_sdk.conformance.steps import Steps

REFUSED: Final = {"at": PLACE, "rule": pl.String, "reason": pl.String}


@dataclass(frozen=True, slots=True, kw_only=True)
class Divided:
    """The rows of many series of one timeframe, each accounted for.

    Attributes:
        selection: the good rows, sorted by symbol and ts, each once.
        steps: of the good rows.
        refused: ``at`` (UInt32, position in the input), ``rule``, ``reason``, in no order.
        twins: positions in the input of identical duplicates, which are dropped.
        marks: positions in the input by rule, of rows that break it and stay.
        crashed: rules that could not be asked.
    """

    selection: Selection
    steps: Steps
    refused: pl.DataFrame
    twins: pl.Series
    marks: Mapping[str, pl.Series]
    crashed: Sequence[Crashed]
