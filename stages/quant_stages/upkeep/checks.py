"""Prerequisites of upkeep."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quant_sdk import Check
from quant_stages.tables import written

if TYPE_CHECKING:
    from quant_sdk import CheckContext, CheckStatus


def _tables(context: CheckContext) -> tuple[CheckStatus, str, str]:
    names = [table.spec.name for table in written(context.workspace)]
    if not names:
        return "failed", "the lakehouse is empty", "fill it: make migrate, or make flow-data"
    return "passed", f"tables: {', '.join(names)}", ""


CHECKS = (Check(name="tables", look=_tables),)
