"""Run the benchmarks and write their table to docs/benchmarks.md.

``python benchmarks/run.py [NAME …]``, names as in `NAMES`; exit 1 where a target is missed.
"""

from __future__ import annotations

import importlib
import os
import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

NAMES = (
    "start",
    "runtime",
    "control",
    "agents",
    "migration",
    "fetch",
    "universe",
    "corrections",
    "conformance",
)
HEADER = ("what", "measured", "beside", "ratio", "target", "")
DOCUMENT = Path(__file__).parents[1] / "docs" / "benchmarks.md"
LIBRARIES = ("polars", "deltalake", "pyarrow", "pydantic", "click", "filelock")


def main(names: list[str]) -> int:
    found = []
    for name in names or NAMES:
        for row in importlib.import_module(name).rows():
            print("  ".join(row.cells()), flush=True)
            found.append(row)
    if not names:
        DOCUMENT.write_text(document([row.cells() for row in found]))
    return 0 if all(row.met for row in found) else 1


def document(cells: list[tuple[str, ...]]) -> str:
    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    lines = [HEADER, ("---",) * len(HEADER), *cells]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"""# Benchmarks

Each figure stands beside a floor measured in the same run, turn by turn, so that the machine's
speed and noise fall on both. `make bench` runs them and writes this page.

{table}

Measured {datetime.now(UTC):%Y-%m-%d} on {platform.system()} {platform.machine()}, \
{os.cpu_count()} cores, Python {platform.python_version()}; {libraries}.
"""


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    sys.exit(main(sys.argv[1:]))
