"""Cold starts: the shell's view of listing stages and of running one that does nothing."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from _measure import Row, alternate, milliseconds, shell

ROUNDS = 30
MODEL = """
import click
from pydantic import BaseModel
class Model(BaseModel):
    name: str = "x"
    count: int = 1
"""


def rows() -> list[Row]:
    quant = str(Path(sys.executable).with_name("quant"))
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        shutil.copy(Path(__file__).with_name("noop_stage.py"), here)
        (here / "quant.yml").write_text('stages: ["noop_stage:STAGES"]\n')
        imports = shell(sys.executable, "-c", "import click, pydantic", cwd=folder)
        model = shell(sys.executable, "-c", MODEL, cwd=folder)
        listing = shell(quant, "stage", "list", "--json", cwd=folder)
        running = shell(quant, "stage", "run", "bench.noop", "--json", cwd=folder)
        for call in (imports, model, listing, running):
            call()
        listed, floor = alternate(listing, imports, ROUNDS)
        ran, model_floor = alternate(running, model, ROUNDS)
    return [
        Row(
            name="`quant stage list --json`, cold",
            measured=milliseconds(listed),
            floor=f"{milliseconds(floor)}: import click, pydantic",
            value=listed / floor,
            target=2.0,
        ),
        Row(
            name="a no-op stage from the shell, all records",
            measured=milliseconds(ran),
            floor=f"{milliseconds(model_floor)}: import click, define one pydantic model",
            value=ran / model_floor,
            target=1.5,
        ),
    ]
