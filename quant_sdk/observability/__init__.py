"""Reports of what was checked: kept, found by URI, compared, shown. Names resolve on first use."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quant_sdk.observability.html import render_html
    from quant_sdk.observability.regression import Change, Regression, compare
    from quant_sdk.observability.saved import Entry, SavedReport
    from quant_sdk.observability.store import ReportStore, open_report
    from quant_sdk.observability.uri import ReportUri

_HOME_OF = {
    "Change": "regression",
    "Entry": "saved",
    "Regression": "regression",
    "ReportStore": "store",
    "ReportUri": "uri",
    "SavedReport": "saved",
    "compare": "regression",
    "open_report": "store",
    "render_html": "html",
}

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


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
