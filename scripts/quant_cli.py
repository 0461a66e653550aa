#!/usr/bin/env python3
"""Run the ``quant`` command from a checkout, installed or not."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROOMS = [str(ROOT / room) for room in ("", "registry", "stages", "cli")]


def main() -> None:
    """Put the rooms first on ``sys.path``: this file bears the name of the package it starts."""
    here = Path(__file__).resolve().parent
    sys.path[:] = ROOMS + [entry for entry in sys.path if Path(entry or ".").resolve() != here]
    from quant_cli.main import main as quant

    sys.exit(quant())


if __name__ == "__main__":
    main()
