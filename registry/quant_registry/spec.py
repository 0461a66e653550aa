"""A stage, declared: frozen data that names its parts by import path."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from typing import Any, Literal

from .errors import BrokenPlugin, InvalidInput
from .ids import check_stage_id

CONTROL_NAME = "migration_control.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Effects:
    """What a stage does to the world, for agents that must decide whether to start it.

    Attributes:
        network: it opens connections beyond loopback.
        idempotent: the same run twice changes nothing the second time.
        destructive: it may remove or replace what was there.
    """

    network: bool = False
    idempotent: bool = True
    destructive: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StageSpec:
    """One declaration; its parts are named as ``module:name``.

    Attributes:
        id: dotted lower-case words.
        category: the first word people filter by.
        version: the stage's own version, kept in every run record.
        title: one line, imperative.
        body: ``def body(run: Run, params) -> result``.
        params: a pydantic model; CLI options and JSON Schema come from it. None: no parameters.
        result: a pydantic model of the result. None: a plain dict.
        checks: a tuple of prerequisites, see `quant_registry.checks`.
        plan: ``def plan(context) -> Plan``, what a run would do, looking only at headers.
        rehearse: ``def rehearse(context) -> dict``, the dry run: reads sources, writes nothing.
        lock: ``"stage"``, one run at a time; None, any number at once.
        status_file: name under ``data/lakehouse``; default ``status/<id>.json``.
    """

    id: str
    category: str
    title: str
    body: str
    version: str = "1.0"
    tags: tuple[str, ...] = ()
    params: str | None = None
    result: str | None = None
    checks: str | None = None
    plan: str | None = None
    rehearse: str | None = None
    effects: Effects = field(default_factory=Effects)
    lock: Literal["stage"] | None = "stage"
    status_file: str | None = None

    def __post_init__(self) -> None:
        check_stage_id(self.id)
        name = self.status_file
        plain = name is None or ("/" not in name and name.endswith(".json") and name[0] != ".")
        if not plain or name == CONTROL_NAME:
            raise InvalidInput(
                f"status_file {name!r} of {self.id} is not a plain .json name of its own",
                fix='use a name such as "my_status.json"',
            )

    def load(self, part: str) -> Any:
        """Import and return a part (``"body"``, ``"params"`` …); None where none is declared.

        Raises:
            BrokenPlugin: the path cannot be imported.
        """
        path: str | None = getattr(self, part)
        return None if path is None else load_path(path, f"{part} of {self.id}")

    def to_dict(self) -> dict[str, Any]:
        """Return the declaration for listings; imports nothing."""
        return {
            "id": self.id,
            "category": self.category,
            "tags": list(self.tags),
            "version": self.version,
            "title": self.title,
            "lock": self.lock,
            "effects": {
                "network": self.effects.network,
                "idempotent": self.effects.idempotent,
                "destructive": self.effects.destructive,
            },
        }


def load_path(path: str, what: str) -> Any:
    """Import ``module:name``.

    Raises:
        BrokenPlugin: the module fails to import, or has no such name.
    """
    module_name, _, name = path.partition(":")
    try:
        module = importlib.import_module(module_name)
        return getattr(module, name)
    except (Exception, SystemExit) as error:
        raise BrokenPlugin(
            f"{what} ({path}) cannot be imported: {type(error).__name__}: {error}",
            fix=f"run: python -c 'import {module_name}'",
            path=path,
        ) from error
