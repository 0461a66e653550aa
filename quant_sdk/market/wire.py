"""What a server of the market answers with, before it is put on the wire."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """An HTTP answer: status, body of one content type, and headers beyond that and the length."""

    status: int = 200
    body: bytes
    kind: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


def answer_json(document: Any, status: int = 200) -> Answer:
    """Return an answer that says `document`."""
    return Answer(status=status, body=orjson.dumps(document))
