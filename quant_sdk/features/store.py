"""`FeatureStore`: the one way into the table `features`.

Keyed by symbol, timeframe, ts and source. A row that stands already is not written again, and makes
no version; one that differs takes the other's place, in one commit with all that differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import polars as pl

from quant_sdk.lakehouse.catalog import split_unknown
from quant_sdk.lakehouse.durability import mend
from quant_sdk.lakehouse.locks import writing
from quant_sdk.lakehouse.specs import FEATURE_VALUES, FEATURES
from quant_sdk.lakehouse.table import Table

if TYPE_CHECKING:
    from pathlib import Path

    from quant_registry.run import Commit

KEY: Final = ("symbol", "timeframe", "ts", "source")
_COMPARED: Final = ("inputs", *FEATURE_VALUES)
_PLACE: Final = ("timeframe", "bucket", "symbol", "ts")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What became of rows.

    Attributes:
        added: rows that nothing stood for.
        replaced: rows that took another's place.
        removed: rows taken away.
        unchanged: rows that stood already.
        refused: symbols that `symbols` does not hold; their rows were not written.
        version: of the table, -1 where nothing had to be written.
    """

    added: int = 0
    replaced: int = 0
    removed: int = 0
    unchanged: int = 0
    refused: tuple[str, ...] = ()
    version: int = -1


class FeatureStore:
    """Writes `features` under `lakehouse`, one writer at a time."""

    def __init__(self, lakehouse: Path, locks: Path) -> None:
        self._lakehouse = lakehouse
        self._locks = locks
        self._table = Table(lakehouse, FEATURES)

    def mend(self) -> list[str]:
        """Take back what a power cut tore of the last commits; name the files set aside."""
        with writing(self._locks, FEATURES.name):
            return mend(self._table.path, -1)

    def put(self, rows: pl.DataFrame, commit: Commit, gone: pl.DataFrame | None = None) -> Stored:
        """Add rows, or put them in the place of those that differ; take away those that are gone.

        A row known earlier than the one that stands changes nothing. Rows of symbols that `symbols`
        does not hold are refused.

        Args:
            rows: in the columns of `features`; keys are unique.
            commit: from ``run.commit``.
            gone: symbol, timeframe, bucket, ts, source of rows to be taken away.

        Raises:
            OwnershipLost: a newer run of the stage has written meanwhile.
            Conflict: other writers kept changing the table.
        """
        admitted, refused = split_unknown(self._lakehouse, rows)
        gone = FEATURES.empty if gone is None else gone
        with writing(self._locks, FEATURES.name):
            met = self._met(admitted)
            added = met.filter(pl.col("place") == "added").select(list(FEATURES.columns))
            changed = met.filter(pl.col("place") == "replaced").select(list(FEATURES.columns))
            removed = self._standing(gone).join(gone, on=KEY, how="semi")
            version = -1
            if changed.height or removed.height:
                version = self._replace(changed, removed, commit)
            if added.height:
                version = self._table.append(added.sort(_PLACE), commit, {})
        return Stored(
            added=added.height,
            replaced=changed.height,
            removed=removed.height,
            unchanged=admitted.height - added.height - changed.height,
            refused=refused,
            version=version,
        )

    def _met(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return the rows with their ``place``: added, replaced or unchanged."""
        standing = self._standing(rows)
        if not standing.height:
            return rows.with_columns(place=pl.lit("added"))
        old = standing.select(
            *KEY, *(pl.col(name).alias(f"old_{name}") for name in ("known_at", *_COMPARED))
        )
        met = rows.join(old, on=KEY, how="left", maintain_order="left")
        same = pl.all_horizontal(
            pl.col(name).eq_missing(pl.col(f"old_{name}")) for name in _COMPARED
        )
        place = (
            pl.when(pl.col("old_known_at").is_null())
            .then(pl.lit("added"))
            .when(same | (pl.col("old_known_at") > pl.col("known_at")))
            .then(pl.lit("unchanged"))
            .otherwise(pl.lit("replaced"))
        )
        return met.with_columns(place=place)

    def _standing(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return the rows that stand where `rows` may have some."""
        if not rows.height or not self._table.exists():
            return FEATURES.empty
        return (
            self._table.scan()
            .filter(
                *(pl.col(name).is_in(rows[name].unique().implode()) for name in _SETS),
                # Ranges skip files and row groups by their statistics.
                *(
                    pl.col(name).is_between(pl.lit(rows[name].min()), pl.lit(rows[name].max()))
                    for name in ("symbol", "ts")
                ),
            )
            .collect()
        )

    def _replace(self, changed: pl.DataFrame, removed: pl.DataFrame, commit: Commit) -> int:
        touched = pl.concat([changed, removed.select(list(FEATURES.columns))])
        names = {name: touched[name].unique().sort().to_list() for name in _SETS}
        standing = (
            self._table.scan()
            .filter(*(pl.col(name).is_in(values) for name, values in names.items()))
            .collect()
        )
        kept = standing.join(touched, on=KEY, how="anti")
        merged = pl.concat([kept, changed]).sort(_PLACE)
        return self._table.replace(merged, names, commit, {})


_SETS: Final = ("timeframe", "bucket", "symbol", "source")
