#!/usr/bin/env python3
"""Pass the production gate, from the lakehouse alone: ``quant stage run ops.flow_production``.

Options are those of the stage, such as ``--profile NAME`` and ``--allow-stale``.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROOMS = [str(ROOT / room) for room in ("", "registry", "stages", "cli")]


def main() -> None:
    """Put the rooms first on ``sys.path``: beside this file stands one with a package's name."""
    here = Path(__file__).resolve().parent
    sys.path[:] = ROOMS + [entry for entry in sys.path if Path(entry or ".").resolve() != here]
    from quant_cli.main import main as quant

    sys.exit(quant(["stage", "run", "ops.flow_production", *sys.argv[1:]]))


if __name__ == "__main__":
    main()
