"""Looking ahead: which scanners a discovery would ask; no network."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from quant_sdk import Plan
from quant_stages.data.discover.wanted import wishes

if TYPE_CHECKING:
    from quant_sdk import CheckContext
    from quant_stages.data.discover.wanted import Wishes


def plan(context: CheckContext) -> Plan:
    """Count the scanners that would be asked; how many symbols they find is not known before."""
    found = wishes(context.workspace, context.params)
    named = len(found.readable) + len(found.failures)
    return Plan(
        steps=("read", "scan", "export"),
        files=len(found.readable),
        inputs=_digest(found),
        readable_share=len(found.readable) / named if named else None,
        notes=tuple(f"{item.scanner}: {item.error.message}" for item in found.failures),
    )


def _digest(found: Wishes) -> str:
    """Name exactly these scanners, as they are written, and what is wanted of them."""
    digest = hashlib.sha256()
    for item, scanner in found.readable:
        digest.update(f"{scanner.name}\0{scanner.digest}\0{item.markets}\0{item.ingest}\0".encode())
    return digest.hexdigest()
