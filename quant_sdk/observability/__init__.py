"""Reports of what was checked: kept, found by URI, compared, shown. Names resolve on first use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quant_registry.lazy import lazily

if TYPE_CHECKING:
    from quant_sdk.observability.html import render_html
    from quant_sdk.observability.regression import Change, Regression, compare
    from quant_sdk.observability.saved import Entry, SavedReport
    from quant_sdk.observability.store import ReportStore, open_report
    from quant_sdk.observability.uri import ReportUri

__all__ = [
    "Change",
    "Entry",
    "Regression",
    "ReportStore",
    "ReportUri",
    "SavedReport",
    "compare",
    "open_report",
    "render_html",
]

__getattr__, __dir__ = lazily(
    __name__,
    {
        ".html": ("render_html",),
        ".regression": ("Change", "Regression", "compare"),
        ".saved": ("Entry", "SavedReport"),
        ".store": ("ReportStore", "open_report"),
        ".uri": ("ReportUri",),
    },
)
