"""The errors a caller can meet, each with a code, a sentence, a fix and an exit code.

QuantError                          1    internal
├── InvalidInput                    2    invalid_input
│   ├── InvalidIdentifier           2    invalid_identifier
│   ├── InvalidParams               2    invalid_params
│   ├── InvalidManifest             2    invalid_manifest
│   ├── InvalidControl              2    invalid_control
│   ├── UnknownName                 2    unknown_name
│   │   ├── UnknownStage            2    unknown_stage
│   │   ├── UnknownRun              2    unknown_run
│   │   └── UnknownSchema           2    unknown_schema
│   └── OutsideWorkspace            2    outside_workspace
├── PrerequisitesNotMet             3    prerequisites_not_met
│   ├── MissingExtra                3    missing_extra
│   ├── NoData                      3    no_data
│   ├── DiskFull                    3    disk_full (retryable)
│   └── BrokenPlugin                3    broken_plugin
├── Conflict                        4    conflict
│   ├── StageLocked                 4    stage_locked (retryable)
│   ├── DuplicateStage              4    duplicate_stage
│   ├── IdempotencyConflict         4    idempotency_conflict
│   ├── PlanDrifted                 4    plan_drifted
│   └── LiveRun                     4    live_run (retryable)
├── OwnershipLost                   5    ownership_lost
├── SourceError                     6    source_error (retryable)
│   ├── SourceRefused               6    source_refused
│   ├── SourceUnreadable            6    source_unreadable
│   ├── UnknownSymbol               6    unknown_symbol
│   └── VenueBusy                   6    venue_busy (retryable)
├── WaitTimeout                     7    wait_timeout (retryable)
├── ConformanceError                8    conformance_blocked
├── RunCancelled                  130    run_cancelled
├── Corrupted                       1    corrupted
├── NetworkForbidden                1    network_forbidden
├── ParityFailed                    1    parity_failed
└── RunFailed                       1    run_failed
"""

from __future__ import annotations

import difflib
import errno
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class QuantError(Exception):
    """Root of the tree: one sentence, the fix, and the facts as attributes."""

    code: ClassVar[str] = "internal"
    exit_code: ClassVar[int] = 1
    retryable: ClassVar[bool] = False
    fix: str = ""

    def __init__(self, message: str, *, fix: str | None = None, **facts: Any) -> None:
        super().__init__(message)
        self.message = message
        if fix is not None:
            self.fix = fix
        self.facts = facts

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["facts"][name]
        except KeyError:
            raise AttributeError(name) from None

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.message, self.fix, self.facts)

    def to_dict(self) -> dict[str, Any]:
        """Return ``{code, message, fix, retryable}``, the form every file and answer carries."""
        return {
            "code": self.code,
            "message": self.message,
            "fix": self.fix,
            "retryable": self.retryable,
        }


def _rebuild(
    kind: type[QuantError], message: str, fix: str, facts: Mapping[str, Any]
) -> QuantError:
    error = kind.__new__(kind)
    QuantError.__init__(error, message, fix=fix, **facts)
    return error


class InvalidInput(QuantError):
    """Something the caller wrote is not valid."""

    code = "invalid_input"
    exit_code = 2


class InvalidIdentifier(InvalidInput):
    """A symbol, run id, stage id or lock id does not match its pattern."""

    code = "invalid_identifier"


class InvalidParams(InvalidInput):
    """The parameters of a stage do not fit its model."""

    code = "invalid_params"


class InvalidManifest(InvalidInput):
    """The manifest cannot be read as a whole."""

    code = "invalid_manifest"


class InvalidControl(InvalidInput):
    """The control file or a directive is malformed."""

    code = "invalid_control"


class UnknownName(InvalidInput):
    """A name nobody knows; the nearest known ones are part of the fix."""

    code = "unknown_name"
    noun: ClassVar[str] = "name"

    def __init__(
        self, name: str, known: Iterable[str] = (), *, fix: str | None = None, **facts: Any
    ) -> None:
        near = difflib.get_close_matches(name, list(known), n=3, cutoff=0.4)
        hint = f"did you mean {', '.join(near)}?" if near else self.fix
        super().__init__(
            f"unknown {self.noun} {name!r}",
            fix=hint if fix is None else fix,
            name=name,
            near=near,
            **facts,
        )


class UnknownStage(UnknownName):
    """No stage of that id is registered."""

    code = "unknown_stage"
    noun = "stage"
    fix = "list the stages with: quant stage list"


class UnknownRun(UnknownName):
    """No run of that id has a record in this workspace."""

    code = "unknown_run"
    noun = "run"
    fix = "list the runs with: quant run list"


class UnknownSchema(UnknownName):
    """No file contract of that name is published."""

    code = "unknown_schema"
    noun = "schema"
    fix = "list the schemas with: quant schema list"


class OutsideWorkspace(InvalidInput):
    """A path to be written leaves the workspace."""

    code = "outside_workspace"


class PrerequisitesNotMet(QuantError):
    """A blocking check failed, so nothing was started."""

    code = "prerequisites_not_met"
    exit_code = 3


class MissingExtra(PrerequisitesNotMet):
    """An optional dependency is not installed."""

    code = "missing_extra"


class NoData(PrerequisitesNotMet):
    """The lakehouse does not hold what was asked for."""

    code = "no_data"


class DiskFull(PrerequisitesNotMet):
    """The file system has no space left; what was told before stands."""

    code = "disk_full"
    retryable = True


class BrokenPlugin(PrerequisitesNotMet):
    """A stage or the plugin that declares it cannot be imported."""

    code = "broken_plugin"


class Conflict(QuantError):
    """Somebody else's work stands in the way."""

    code = "conflict"
    exit_code = 4


class StageLocked(Conflict):
    """Another live run holds the stage's lock."""

    code = "stage_locked"
    retryable = True


class DuplicateStage(Conflict):
    """Two declarations claim one stage id."""

    code = "duplicate_stage"


class IdempotencyConflict(Conflict):
    """An idempotency key was used before with other parameters."""

    code = "idempotency_conflict"


class PlanDrifted(Conflict):
    """What a run would do is no longer what was validated."""

    code = "plan_drifted"


class LiveRun(Conflict):
    """The operation is refused while a run is live."""

    code = "live_run"
    retryable = True


class OwnershipLost(QuantError):
    """The run no longer owns its lock, so it may not publish."""

    code = "ownership_lost"
    exit_code = 5


class SourceError(QuantError):
    """A source could not deliver; another try may succeed."""

    code = "source_error"
    exit_code = 6
    retryable = True


class SourceUnreadable(SourceError):
    """A source's content is torn, empty, of unknown shape or in another unit than declared."""

    code = "source_unreadable"
    retryable = False


class SourceRefused(SourceError):
    """A source answered, and will answer so again: a denied credential, a bad request."""

    code = "source_refused"
    retryable = False


class UnknownSymbol(SourceError):
    """A venue does not list the symbol, or does not any more."""

    code = "unknown_symbol"
    retryable = False


class VenueBusy(SourceError):
    """A venue asks for patience; `retry_after` is in seconds, None where it names no time."""

    code = "venue_busy"


class NetworkForbidden(QuantError):
    """Something opened a connection in a run that promised to open none."""

    code = "network_forbidden"


class WaitTimeout(QuantError):
    """The condition waited for did not come in time."""

    code = "wait_timeout"
    exit_code = 7
    retryable = True


class ConformanceError(QuantError):
    """The data does not conform, and the mode is blocking."""

    code = "conformance_blocked"
    exit_code = 8


class RunCancelled(QuantError):
    """The run was cancelled at a safe point."""

    code = "run_cancelled"
    exit_code = 130


class Corrupted(QuantError):
    """A file of the contract, or a table, is not what its record says."""

    code = "corrupted"


class ParityFailed(QuantError):
    """A row of a source is unaccounted for in the lakehouse."""

    code = "parity_failed"


class RunFailed(QuantError):
    """A body raised something that is not part of this tree."""

    code = "run_failed"


def disk_full(path: object) -> DiskFull:
    """Return the error for a write that found no space left at `path`."""
    return DiskFull(
        f"no space is left on the file system of {path}",
        fix="free space, then run the stage again: it continues where it stopped",
    )


def is_disk_full(error: BaseException) -> bool:
    """Tell whether `error` is that of a write for which no space, or no quota, was left."""
    full = (errno.ENOSPC, errno.EDQUOT)
    if isinstance(error, OSError) and error.errno in full:
        return True
    # Libraries in Rust give the number in words alone.
    return any(f"(os error {number})" in str(error) for number in full)


def error_of(code: str, message: str, *, fix: str = "", **facts: Any) -> QuantError:
    """Return an error of the class that has a code; `RunFailed` where none has it."""
    pending: list[type[QuantError]] = [QuantError]
    for kind in pending:
        if kind.code == code:
            return _rebuild(kind, message, fix, facts)
        pending += kind.__subclasses__()
    return RunFailed(message, fix=fix, **facts)
