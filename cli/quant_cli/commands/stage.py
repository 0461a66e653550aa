"""``quant stage``: list, show, validate and run stages."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import click

from quant_cli import documents
from quant_cli.commands.scaffold import new_stage
from quant_cli.commands.status import control_lines
from quant_cli.lazy import StageGroup
from quant_cli.output import cell, facts, printable, table
from quant_cli.session import Leaf, Session, actor_option, common_options, pass_session, session_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from quant_cli.options import StageOptions
    from quant_sdk import RunRecord, StageSpec

NOT_READY = 3


@click.group()
def stage() -> None:
    """List, describe, validate and run stages."""


@stage.command("list", cls=Leaf)
@click.option("--category", metavar="NAME", help="Only stages of this category.")
@click.option("--tag", metavar="NAME", help="Only stages with this tag.")
@pass_session
def list_stages(session: Session, category: str | None, tag: str | None) -> None:
    """List the stages that are declared, and the plugins that could not be imported."""
    document = documents.stages(session.sdk, category=category, tag=tag)
    for plugin in document["broken"]:
        session.output.note(f"warning: {plugin['origin']}: {printable(str(plugin['message']))}")
        session.output.note(f"fix: {printable(str(plugin['fix']))}")
    session.output.emit(document, _stages_text)


def _stages_text(document: dict[str, Any]) -> Iterator[str]:
    columns = ("id", "version", "category", "tags", "title")
    return table(document["stages"], columns, empty="no stages")


@stage.command("show", cls=Leaf)
@click.argument("stage_id", metavar="ID")
@pass_session
def show_stage(session: Session, stage_id: str) -> None:
    """Describe a stage and its parameters."""
    session.output.emit(session.sdk.describe(stage_id), _stage_text)


def _stage_text(document: dict[str, Any]) -> Iterator[str]:
    from quant_cli.options import StageOptions

    schema = document["params_schema"]
    yield from facts({key: value for key, value in document.items() if key != "params_schema"})
    context = click.Context(click.Command("show"))
    rows = [option.get_help_record(context) for option in StageOptions(schema).options]
    if any(rows):
        yield ""
        yield "options"
        formatter = click.HelpFormatter(width=100)
        formatter.write_dl([row for row in rows if row])
        yield formatter.getvalue().rstrip("\n")


def _build_validate(spec: StageSpec) -> click.Command:
    return _stage_command(spec, f"Check whether {spec.id} could run, and what it would do.", _check)


def _build_run(spec: StageSpec) -> click.Command:
    own: list[click.Parameter] = [
        click.Option(["--dry-run"], is_flag=True, help="Validate and rehearse; write nothing."),
        click.Option(
            ["--fresh"],
            is_flag=True,
            help="Start over instead of continuing the last unfinished run.",
        ),
        click.Option(["--lock-id"], metavar="ID", help="Your own id for the stage's lock."),
        click.Option(
            ["--detach"],
            is_flag=True,
            help="Start it in a process of its own, and answer once it is recorded.",
        ),
        click.Option(
            ["--idempotency-key"],
            metavar="KEY",
            help="The same key again attaches to the run, or returns or continues it.",
        ),
        click.Option(
            ["--plan-hash"],
            metavar="HASH",
            help="Refuse to run where the plan is not this one, from stage validate, any more.",
        ),
        actor_option(),
    ]
    return _stage_command(spec, f"{spec.title}.", _run, own)


def _stage_command(
    spec: StageSpec,
    text: str,
    act: Callable[..., int],
    own: list[click.Parameter] | None = None,
) -> click.Command:
    """Make a command that takes the stage's own options, and `own`."""
    from quant_cli.options import StageOptions
    from quant_sdk import params_schema

    options = StageOptions(params_schema(spec))

    @click.pass_context
    def callback(ctx: click.Context, /, **_: Any) -> int:
        return act(ctx, spec, options)

    params = [*options.options, *(own or [])]
    return Leaf(spec.id, params=params, callback=callback, help=text, short_help=spec.title)


class StageLeaf(Leaf):
    """A command that runs one stage by another name; it takes ``--actor`` and ``--dry-run`` too."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        dry_run = click.Option(
            ["--dry-run"], is_flag=True, help="Tell what would be done; write nothing."
        )
        self.params += [dry_run, actor_option()]


def carry_out(session: Session, stage_id: str, params: dict[str, Any], *, dry_run: bool) -> int:
    """Run a stage, or rehearse it, and answer as ``quant stage run`` does; return the exit code."""
    spec = session.sdk.registry[stage_id]
    given = {name: value for name, value in params.items() if value is not None}
    if dry_run:
        return _examine(session, spec, given, rehearse=True)
    return _to_the_end(session, spec, given, {})


def _check(ctx: click.Context, spec: StageSpec, options: StageOptions) -> int:
    rehearse = bool(ctx.params.get("dry_run"))
    return _examine(session_of(ctx), spec, options.given(ctx), rehearse=rehearse)


def _examine(session: Session, spec: StageSpec, params: dict[str, Any], *, rehearse: bool) -> int:
    validation = session.sdk.validate_stage(spec.id, params, rehearse=rehearse)
    session.output.emit(validation.to_dict(), _validation_text)
    return 0 if validation.ok else NOT_READY


def _validation_text(document: dict[str, Any]) -> Iterator[str]:
    for check in document["checks"]:
        yield f"{check['name']}: {check['status']}: {printable(check['detail'])}"
        if check["fix"] and check["status"] != "passed":
            yield f"  fix: {printable(check['fix'])}"
    yield ""
    yield from facts(document["plan"])
    if document["rehearsal"] is not None:
        yield ""
        yield "rehearsal (nothing was written)"
        yield from facts(document["rehearsal"])
    yield ""
    for factor in document["factors"]:
        yield f"{factor['name']} {factor['value']} ({printable(factor['evidence'])})"
    yield f"success probability {document['success_probability']}"
    yield f"plan hash {document['plan_hash']}"
    yield f"{document['stage_id']} {'can run' if document['ok'] else 'cannot run'}"


def _run(ctx: click.Context, spec: StageSpec, options: StageOptions) -> int:
    if ctx.params["dry_run"]:
        return _check(ctx, spec, options)
    session = session_of(ctx)
    names = ("lock_id", "fresh", "idempotency_key", "plan_hash")
    asked = {name: ctx.params[name] for name in names}
    if ctx.params["detach"]:
        record = session.sdk.run_stage(spec.id, options.given(ctx), detach=True, **asked)
        session.output.emit(documents.outcome(record), _handle_text)
        return 0
    return _to_the_end(session, spec, options.given(ctx), asked)


def _to_the_end(
    session: Session, spec: StageSpec, params: dict[str, Any], asked: dict[str, Any]
) -> int:
    stop = threading.Event()
    with ExitStack() as during:
        from quant_cli.signals import stop_on_signals

        during.enter_context(stop_on_signals(stop))
        record = session.sdk.run_stage(
            spec.id,
            params,
            stop=stop,
            on_start=_announcer(session, spec, during),
            **asked,
        )
    for warning in (record.result or {}).get("warnings") or ():
        session.output.note(f"warning: {printable(str(warning))}")
    session.output.emit(documents.outcome(record), _outcome_text)
    if record.error is not None and not session.output.json:
        session.output.fail(record.error)
    return record.exit_code


def _announcer(session: Session, spec: StageSpec, during: ExitStack) -> Callable[[RunRecord], None]:
    """Return what tells a person that the run began: a line, and on a terminal a live bar."""

    def announce(record: RunRecord) -> None:
        continues = f", continues {record.continues}" if record.continues else ""
        session.output.note(f"run {record.run_id}{continues}")
        for line in control_lines(session.sdk.standing()):
            session.output.note(line)

    if not session.output.live:
        return announce
    from quant_cli.progress_bar import ProgressBar

    bar = during.enter_context(ProgressBar(session.sdk.workspace, spec))

    def announce_and_follow(record: RunRecord) -> None:
        announce(record)
        bar.follow(record)

    return announce_and_follow


def _handle_text(document: dict[str, Any]) -> Iterator[str]:
    yield f"run {document['run_id']} {document['state']}"
    for action in document["next_actions"]:
        yield f"next: {cell(action, widest=None)}"


def _outcome_text(document: dict[str, Any]) -> Iterator[str]:
    if document["result"]:
        yield from facts(document["result"])
    yield f"{document['state']} in {document['active_seconds']:.1f} s"
    yield f"next: {cell(document['next_actions'][0], widest=None)}"


stage.add_command(new_stage)
stage.add_command(
    StageGroup(
        "validate",
        build=_build_validate,
        params=common_options(),
        help="Check prerequisites and plan a run; exit code 3 where it could not start.",
    )
)
stage.add_command(
    StageGroup(
        "run",
        build=_build_run,
        params=common_options(),
        help="Run a stage to its end; its options: quant stage run STAGE --help.",
    )
)
