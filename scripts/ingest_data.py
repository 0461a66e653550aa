#!/usr/bin/env python3
"""Fetch the bars that the candidates lack: ``quant stage run data.ingest``.

The legacy command's options stay: ``--candidates FILE``, ``--dry-run`` and ``--lakehouse DIR``, the
``data/lakehouse`` of the workspace to work in. All others are the stage's.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROOMS = [str(ROOT / room) for room in ("", "registry", "stages", "cli")]
LAKEHOUSE = Path("data", "lakehouse")


def main() -> None:
    """Put the rooms first on ``sys.path``: beside this file stands one with a package's name."""
    here = Path(__file__).resolve().parent
    sys.path[:] = ROOMS + [entry for entry in sys.path if Path(entry or ".").resolve() != here]
    from quant_cli.main import main as quant

    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--candidates")
    parser.add_argument("--lakehouse", type=Path)
    known, others = parser.parse_known_args()
    if "--help" in others:
        print(__doc__)
    named = [] if known.candidates is None else ["--candidates", known.candidates]
    if known.lakehouse is not None:
        workspace = _workspace(known.lakehouse, others)
        others += ["--workspace", str(workspace)]
        if named:  # as the shell sees it; the stage sees it from the workspace
            named[1] = os.path.relpath(named[1], workspace)
    sys.exit(quant(["stage", "run", "data.ingest", *named, *others]))


def _workspace(lakehouse: Path, others: list[str]) -> Path:
    """Return the workspace of a lakehouse; any other folder is a usage error."""
    folder = lakehouse.absolute()
    if folder.parts[-2:] == LAKEHOUSE.parts:
        return folder.parent.parent
    from quant_cli.output import Output

    Output(json="--json" in others or None).fail(
        {
            "code": "usage",
            "message": f"--lakehouse {lakehouse} is not the {LAKEHOUSE} of a workspace",
            "fix": f"name it as WORKSPACE/{LAKEHOUSE}, or leave it out and use --workspace",
            "retryable": False,
            "exit_code": 2,
        }
    )
    sys.exit(2)


if __name__ == "__main__":
    main()
