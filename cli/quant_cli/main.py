"""``quant``: the command, its groups, and how an error becomes an exit code.

Exit codes: 0 ok, 1 internal, 2 usage or invalid params, 3 prerequisites not met, 4 locked or
conflict, 5 ownership lost, 6 source failed, 7 wait ran out of time, 8 blocked by conformance,
130 cancelled.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import click

from quant_cli.lazy import LazyGroup
from quant_cli.output import Output, ReaderGone, facts
from quant_cli.session import Session, common_options, session_of

if TYPE_CHECKING:
    from collections.abc import Sequence

DEBUG = "QUANT_DEBUG"
INTERRUPTED = 130

_HOME = "quant_cli.commands"
COMMANDS = {
    "stage": (f"{_HOME}.stage:stage", "List, describe, validate and run stages."),
    "run": (f"{_HOME}.run:run", "List, show and follow runs."),
    "wait": (f"{_HOME}.wait:wait", "Wait until a run is where it should be."),
    "explain": (f"{_HOME}.explain:explain", "Say why a run is not moving, and what helps."),
    "watch": (f"{_HOME}.watch:watch", "Watch all runs live, and steer them with keys."),
    "status": (f"{_HOME}.status:status", "Show what is live, or where a stage or run stands."),
    "pause": (f"{_HOME}.steering:pause", "Ask runs to stop at their next safe point."),
    "resume": (f"{_HOME}.steering:resume", "Let paused runs go on."),
    "cancel": (f"{_HOME}.steering:cancel", "End live runs at their next safe point."),
    "throttle": (f"{_HOME}.steering:throttle", "Bound how often runs ask venues."),
    "lock": (f"{_HOME}.lock:lock", "Show who holds the stages' locks, or recover one."),
    "audit": (f"{_HOME}.audit:audit", "Follow and verify the audit log."),
    "doctor": (f"{_HOME}.doctor:doctor", "Examine the workspace, and say what to do."),
    "schema": (f"{_HOME}.schema:schema", "Show and govern the schemas of data and files."),
    "lakehouse": (f"{_HOME}.lakehouse:lakehouse", "Read the tables, and keep them in shape."),
    "conformance": (f"{_HOME}.conformance:conformance", "Check data, and compare the reports."),
    "quarantine": (f"{_HOME}.quarantine:quarantine", "See the refused rows, and check them again."),
    "migrate": (f"{_HOME}.migrate:migrate", "Begin to move a legacy folder."),
    "snapshot": (f"{_HOME}.snapshot:snapshot", "Make, list, verify and read snapshots."),
    "market": (f"{_HOME}.market:market", "Serve invented prices, the way venues serve real ones."),
    "mcp": (f"{_HOME}.mcp:mcp", "Serve the stages to agents over the Model Context Protocol."),
}


def _show_version(ctx: click.Context, _: click.Parameter, value: bool) -> None:  # noqa: FBT001 - click's signature
    if value:
        session_of(ctx).output.emit({"version": _version()}, facts)
        ctx.exit()


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("quant-stage-sdk")
    except PackageNotFoundError:
        return "unknown (run from a checkout)"


root = LazyGroup(
    "quant",
    lazy=COMMANDS,
    params=[
        *common_options(),
        click.Option(
            ["--version"],
            is_flag=True,
            expose_value=False,
            callback=_show_version,
            help="Show the version.",
        ),
    ],
    help="Run, watch, pause and trust data-operations stages.",
    epilog="Exit codes: 0 ok, 1 internal, 2 usage, 3 prerequisites not met, 4 locked or conflict, "
    "5 ownership lost, 6 source failed, 7 wait ran out of time, 8 blocked by conformance, "
    "130 cancelled.",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``quant`` with `argv`; return the exit code."""
    args = list(sys.argv[1:] if argv is None else argv)
    session = Session(Output())
    if "--dry-run" in args:
        sys.dont_write_bytecode = True  # a workspace's own stages stand where nothing is written
    try:
        code = root.main(args, prog_name="quant", standalone_mode=False, obj=session)
    except ReaderGone:
        return 0
    except (click.Abort, KeyboardInterrupt):
        return _fail(session.output, args, _interrupted())
    except click.ClickException as error:
        if isinstance(error, click.exceptions.NoArgsIsHelpError) and "--json" not in args:
            session.output.note(error.format_message())
        return _fail(session.output, args, _usage(error))
    except Exception as error:  # noqa: BLE001 - every failure becomes an answer and an exit code
        if os.environ.get(DEBUG) == "1":
            sys.excepthook(type(error), error, error.__traceback__)
        return _fail(session.output, args, _described(error))
    return code if isinstance(code, int) else 0


def _fail(output: Output, args: list[str], error: dict[str, Any]) -> int:
    # What went wrong may stand before a --json that was not reached.
    output.json = output.json or "--json" in args
    output.fail(error)
    return int(error["exit_code"])


def _described(error: Exception) -> dict[str, Any]:
    from quant_sdk import QuantError

    if isinstance(error, QuantError):
        # Whoever waited in vain gets the handle, to wait on with.
        waited = {"waited": error.waited} if hasattr(error, "waited") else {}
        return {**error.to_dict(), "exit_code": error.exit_code, **waited}
    return _error(
        "internal",
        f"{type(error).__name__}: {error}",
        f"see the traceback with {DEBUG}=1",
        exit_code=1,
    )


def _usage(error: click.ClickException) -> dict[str, Any]:
    context = getattr(error, "ctx", None)
    path = "quant" if context is None else context.command_path
    bare = isinstance(error, click.exceptions.NoArgsIsHelpError)
    message = "a command is missing" if bare else error.format_message()
    return _error("usage", message, f"see: {path} --help", exit_code=2)


def _interrupted() -> dict[str, Any]:
    return _error("interrupted", "interrupted", "", exit_code=INTERRUPTED)


def _error(code: str, message: str, fix: str, *, exit_code: int) -> dict[str, Any]:
    return {
        "code": code,
        "message": message,
        "fix": fix,
        "retryable": False,
        "exit_code": exit_code,
    }


if __name__ == "__main__":
    sys.exit(main())
