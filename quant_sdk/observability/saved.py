"""A report as it is kept: the envelope around it, and the name of its file."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Self

from quant_registry.errors import Corrupted, InvalidIdentifier
from quant_sdk.conformance.report import ConformanceReport
from quant_sdk.observability.regression import Regression
from quant_sdk.observability.uri import ReportUri

if TYPE_CHECKING:
    from collections.abc import Mapping

SCHEMA: Final = "saved_report/1"

_AT: Final = "%Y%m%dT%H%M%S.%fZ"
_SUFFIX: Final = ".json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A report in the archive, as its file's name tells: when it was saved (UTC), its digest."""

    node: str
    saved_at: datetime
    digest: str

    @property
    def uri(self) -> str:
        """The URI of exactly this report."""
        return str(ReportUri(node=self.node, digest=self.digest))

    @property
    def name(self) -> str:
        """The name of its file."""
        return f"{self.saved_at:{_AT}}-{self.digest}{_SUFFIX}"

    @classmethod
    def parse(cls, node: str, name: str) -> Self | None:
        """Return what a file's name tells; None where it is no report's."""
        at, _, digest = name.removesuffix(_SUFFIX).partition("-")
        try:
            moment = datetime.strptime(at, _AT).replace(tzinfo=UTC)
            ReportUri(node=node, digest=digest)
        except (ValueError, InvalidIdentifier):
            return None
        return cls(node=node, saved_at=moment, digest=digest) if name.endswith(_SUFFIX) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedReport:
    """A report as it was kept.

    Attributes:
        uri: names exactly this report.
        saved_at: when it was kept (UTC, RFC 3339).
        run_id: the run that made it; empty where none did.
        path: its file, seen from the workspace.
        refused: whether a gate refused it for being worse than the last one that was not refused.
        regression: how it compares with the one before.
        report: what was found.
        is_new: False where the node's last report says the same, and stands for this one.
    """

    uri: str
    saved_at: str
    run_id: str
    path: str
    refused: bool
    regression: Regression
    report: ConformanceReport
    is_new: bool = True

    def to_dict(self) -> dict[str, Any]:
        """Return the form in which it is kept."""
        return {
            "schema": SCHEMA,
            "uri": self.uri,
            "saved_at": self.saved_at,
            "run_id": self.run_id,
            "refused": self.refused,
            "regression": self.regression.to_dict(),
            "report": self.report.to_dict(),
        }

    @classmethod
    def from_dict(cls, found: Mapping[str, Any], path: str) -> Self:
        """Return what `to_dict` wrote.

        Args:
            found: the document.
            path: the file it stands in, seen from the workspace.

        Raises:
            Corrupted: it is not what was kept.
        """
        try:
            _check(found)
            return cls(
                uri=str(found["uri"]),
                saved_at=str(found["saved_at"]),
                run_id=str(found["run_id"]),
                path=path,
                refused=bool(found["refused"]),
                regression=Regression.from_dict(found["regression"]),
                report=ConformanceReport.from_dict(found["report"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError, Corrupted) as error:
            raise Corrupted(
                f"the report {path} is not what was kept: {error}",
                fix=f"move {path} away, and run the check again",
                path=path,
            ) from error


def _check(found: Mapping[str, Any]) -> None:
    if found["schema"] != SCHEMA:
        raise Corrupted(f"it is no {SCHEMA}")
