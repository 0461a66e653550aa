"""What the watcher sees: every live run and those that ended lately, from the files alone."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from quant_sdk import Owner, RunRecord, liveness, read_status, run_ids
from quant_sdk.errors import Corrupted, InvalidIdentifier, UnknownRun
from quant_sdk.moments import age, recent_events

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from quant_sdk import QuantSDK

# So many of the newest runs are looked at; older unfinished ones are dead.
LOOK_BACK = 200
RECENT_SECONDS = 600.0
ERRORS = 3
_TROUBLE = frozenset({"failed", "error", "warning", "abandoned"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One run. `seen` is the age of its last heartbeat, or of its end, in seconds."""

    run_id: str
    stage_id: str
    state: str
    step: str | None
    phase: str | None
    current: int | None
    total: int | None
    percent: float | None
    eta_seconds: float | None
    actor: str
    lock_id: str | None
    pid: int | None
    host: str | None
    seen: float | None
    ended: bool
    directive: dict[str, Any] | None
    committing: bool
    error: str | None
    evidence: str | None
    next: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """An event that tells of something gone wrong."""

    timestamp: str
    run_id: str
    event: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Everything at one moment: live runs first, newest first."""

    root: str
    now: datetime
    rows: tuple[Row, ...]
    troubles: tuple[Trouble, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the form answers carry."""
        return {
            "runs": [asdict(row) for row in self.rows],
            "errors": [asdict(trouble) for trouble in self.troubles],
        }


class Watcher:
    """Looks at a workspace again and again; what cannot change any more is read once.

    Args:
        sdk: the workspace and the clock.
        stage_id: only runs of this stage.
    """

    def __init__(self, sdk: QuantSDK, stage_id: str | None = None) -> None:
        self._sdk = sdk
        self._stage_id = stage_id
        self._ended: dict[str, RunRecord] = {}
        self._log_size = -1
        self._troubles: tuple[Trouble, ...] = ()

    def look(self) -> Scene:
        """Return the scene as it is now."""
        now = self._sdk.clock.now()
        rows = [self._row(record, now) for record in self._records(now)]
        rows.sort(key=lambda row: row.ended)
        return Scene(
            root=str(self._sdk.workspace.root),
            now=now,
            rows=tuple(rows),
            troubles=self._lately(),
        )

    def _records(self, now: datetime) -> Iterator[RunRecord]:
        for run_id in islice(run_ids(self._sdk.workspace, self._stage_id), LOOK_BACK):
            record = self._ended.get(run_id)
            try:
                record = record or self._sdk.run(run_id)
            except (UnknownRun, InvalidIdentifier, Corrupted):
                continue  # quant doctor tells of those
            if record.is_terminal:
                self._ended[run_id] = record
                since = age(record.finished_at, now)
                if since is None or since > RECENT_SECONDS:
                    continue
            yield record

    def _row(self, record: RunRecord, now: datetime) -> Row:
        status = self._status(record)
        progress = status.get("progress") or {}
        control = status.get("control") or {}
        life, evidence = (
            ("", None) if record.is_terminal else liveness(Owner.from_dict(record.owner))
        )
        odd = life in {"dead", "frozen"}
        last = record.finished_at if record.is_terminal else status.get("heartbeat_at")
        return Row(
            run_id=record.run_id,
            stage_id=record.stage_id,
            state=life if odd else record.state,
            step=status.get("step"),
            phase=status.get("phase"),
            current=progress.get("current"),
            total=progress.get("total"),
            percent=progress.get("percent"),
            eta_seconds=None if record.is_terminal else progress.get("eta_seconds"),
            actor=record.actor,
            lock_id=record.lock_id,
            pid=record.owner.get("pid"),
            host=record.owner.get("host"),
            seen=age(last or record.created_at, now),
            ended=record.is_terminal or life == "dead",
            directive=control.get("directive"),
            committing=bool(control.get("committing")),
            error=(record.error or {}).get("message"),
            evidence=evidence if odd else record.evidence,
            next=_next(record, status, odd=odd),
        )

    def _status(self, record: RunRecord) -> dict[str, Any]:
        if record.status_file is None:
            return {}
        try:
            status = read_status(self._sdk.workspace.root / record.status_file)
        except Corrupted:
            return {}
        return status if status is not None and status.get("run_id") == record.run_id else {}

    def _lately(self) -> tuple[Trouble, ...]:
        log = self._sdk.workspace.audit
        size = log.stat().st_size if log.exists() else 0
        if size != self._log_size:
            self._log_size = size
            found = [_trouble(event) for event in recent_events(log) if self._is_trouble(event)]
            self._troubles = tuple(found[-ERRORS:])
        return self._troubles

    def _is_trouble(self, event: dict[str, Any]) -> bool:
        wanted = self._stage_id in {None, event.get("stage_id")}
        return wanted and event.get("status") in _TROUBLE


def _trouble(event: dict[str, Any]) -> Trouble:
    error = event.get("error")
    message = error.get("message") if isinstance(error, dict) else error
    return Trouble(
        timestamp=str(event.get("timestamp", "")),
        run_id=str(event.get("run_id", "")),
        event=str(event.get("event", "")),
        message=str(message or event.get("evidence") or event.get("reason") or ""),
    )


def _next(record: RunRecord, status: dict[str, Any], *, odd: bool) -> str | None:
    if odd:
        return f"quant explain {record.run_id}"
    actions = status.get("next_actions") or [f"quant run show {record.run_id}"]
    return str(actions[0])
