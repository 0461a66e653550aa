"""``qmtl://observability/seamless/<node>[/<digest>]``: the name of a node's reports.

A node is whatever is looked at again and again, such as ``table:bars``. Without a digest the URI
names the node's last report, with one exactly that report.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Self

from quant_registry.errors import InvalidIdentifier

PREFIX: Final = "qmtl://observability/seamless/"
MAX_NODE: Final = 128
SHORTEST_DIGEST: Final = 8
"""So many digits of a digest suffice, where they name one report."""

_NODE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]*")
_DIGEST: Final = re.compile(rf"[0-9a-f]{{{SHORTEST_DIGEST},64}}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportUri:
    """A node, and the digest of one of its reports; an empty digest means the last one.

    Raises:
        InvalidIdentifier: the node cannot name a folder, or the digest is none.
    """

    node: str
    digest: str = ""

    def __post_init__(self) -> None:
        check_node(self.node)
        if self.digest and not _DIGEST.fullmatch(self.digest):
            raise InvalidIdentifier(
                f"{self.digest[:64]!r} is not the digest of a report",
                fix=f"give {SHORTEST_DIGEST} to 64 digits of 0-9a-f; "
                f"list them: quant conformance list {self.node}",
            )

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return what a URI names, or ``node`` and ``node/digest`` without its prefix.

        Raises:
            InvalidIdentifier: it is no such URI.
        """
        rest = text.removeprefix(PREFIX)
        if "://" in rest:
            raise InvalidIdentifier(
                f"{text[:200]!r} does not name a report", fix=f"write {PREFIX}NODE[/DIGEST]"
            )
        node, _, digest = rest.partition("/")
        return cls(node=node, digest=digest)

    def __str__(self) -> str:
        return PREFIX + "/".join(part for part in (self.node, self.digest) if part)


def check_node(text: str) -> str:
    """Return `text` if it can name a node, and its folder.

    Raises:
        InvalidIdentifier: it is too long, begins with a sign, has ``..`` or another character.
    """
    if len(text) > MAX_NODE or not _NODE.fullmatch(text) or ".." in text:
        raise InvalidIdentifier(
            f"{text[:MAX_NODE]!r} is not a valid node",
            fix=f"use letters, digits and . _ : - (at most {MAX_NODE}), a letter or digit first",
        )
    return text
