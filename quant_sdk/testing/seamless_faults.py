"""`SeamlessFaults`: what can be wrong with rows, sources and storage, planted by a test.

Under pytest it is the fixture `seamless_fault_injection`::

    def test_the_check_counts_them(seamless_fault_injection):
        planted = seamless_fault_injection.plant(flaws={"ohlc_order": 3})
        assert my_check(planted.frame)["ohlc_order"] == planted.expected["ohlc_order"]
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final

from quant_registry.errors import Conflict, disk_full
from quant_sdk.testing.clean import clean_bars, clean_quotes, clean_ticks
from quant_sdk.testing.deformed import DEFORMATIONS, Deformed, deform
from quant_sdk.testing.faulty_source import SOURCE_FAULTS, FaultySource
from quant_sdk.testing.flaws import ALL, flaws_of
from quant_sdk.testing.planting import Planted, plant

if TYPE_CHECKING:
    from collections.abc import Mapping

    import polars as pl

    from quant_sdk.sources.protocol import BarSource
    from quant_sdk.testing.faults import FaultPoints, Gate

_FIX: Final = "planted by a test"


class StorageFaults:
    """What the storage does to the next publication of a run of this process.

    Args:
        points: the fault points that the runs come by.
    """

    def __init__(self, points: FaultPoints) -> None:
        self._points = points

    def commit_fails(self, error: BaseException | None = None, *, occurrence: int = 1) -> None:
        """Let a commit fail before anything is written; by default others changed the table."""
        conflict = Conflict("the table was changed by others", fix=_FIX)
        self._points.raise_at("before_commit", error or conflict, occurrence=occurrence)

    def disk_full(self, *, occurrence: int = 1) -> None:
        """Let a commit find no space."""
        self._points.raise_at("before_commit", disk_full("a test"), occurrence=occurrence)

    def breaks(self, *, occurrence: int = 1) -> None:
        """Let the device fail once the data is written, and its event too."""
        error = OSError(errno.EIO, os.strerror(errno.EIO))
        self._points.raise_at("after_commit", error, occurrence=occurrence)

    def slow(self, *, occurrence: int = 1) -> Gate:
        """Hold a commit until the gate that is returned lets it through."""
        return self._points.pause_at("before_commit", occurrence=occurrence)


class SeamlessFaults:
    """Plants flaws in frames, and faults in sources and in the storage.

    Args:
        points: the fault points that the runs of the test come by.
    """

    flaws: Final = tuple(flaw.name for flaw in ALL)
    """Every flaw that rows can have, by the rule that finds it."""

    deformations: Final = DEFORMATIONS
    """Every way in which a frame can be other than its schema says."""

    source_faults: Final = SOURCE_FAULTS
    """Every way in which a source can fail."""

    def __init__(self, points: FaultPoints) -> None:
        self.storage = StorageFaults(points)
        """Faults of the storage."""

    @staticmethod
    def bars(symbols: int = 3, rows: int = 500, timeframe: str = "1h") -> pl.DataFrame:
        """Return bars without a flaw; see `quant_sdk.testing.clean.clean_bars`."""
        return clean_bars(symbols, rows, timeframe)

    @staticmethod
    def ticks(symbols: int = 3, rows: int = 500) -> pl.DataFrame:
        """Return trades without a flaw."""
        return clean_ticks(symbols, rows)

    @staticmethod
    def quotes(symbols: int = 3, rows: int = 500) -> pl.DataFrame:
        """Return quotes without a flaw."""
        return clean_quotes(symbols, rows)

    @staticmethod
    def flaws_of(kind: str) -> tuple[str, ...]:
        """Return the flaws that ``bars``, ``ticks`` or ``quotes`` can have."""
        return tuple(flaw.name for flaw in flaws_of(kind))

    def plant(
        self,
        frame: pl.DataFrame | None = None,
        flaws: Mapping[str, int] | None = None,
        *,
        seed: int = 0,
    ) -> Planted:
        """Return a frame with flaws, and what a check of it must find.

        Args:
            frame: clean, in the order of series and time; by default 3 series of 500 bars.
            flaws: name to count; by default one of each that bars can have.
            seed: draws the places.

        Raises:
            UnknownFlaw: such a frame cannot have that flaw.
            InvalidInput: the frame has no room for all of them, or is not in order.
        """
        clean = self.bars() if frame is None else frame
        wanted = dict.fromkeys(self.flaws_of("bars"), 1) if flaws is None else flaws
        return plant(clean, wanted, seed=seed)

    def deform(self, name: str, frame: pl.DataFrame | None = None) -> Deformed:
        """Return a frame that is not what its schema says, and how the schema rollup must call it.

        Args:
            name: one of `deformations`.
            frame: by default 3 series of 500 bars, or trades where the deformation is of them.

        Raises:
            UnknownDeformation: there is none of that name.
            InvalidInput: the frame has no such column.
        """
        clean = self.ticks() if name == "side_unknown" else self.bars()
        return deform(clean if frame is None else frame, name)

    def source(self, source: BarSource) -> FaultySource:
        """Return `source`, ready to fail: ``.fails("torn", times=2)``."""
        return FaultySource(source)
