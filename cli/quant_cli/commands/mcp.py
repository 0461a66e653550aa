"""``quant mcp``: the same primitives for agents that speak the Model Context Protocol."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from quant_cli.session import Leaf, Session, pass_session, session_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

TOKEN = "QUANT_MCP_TOKEN"  # noqa: S105 - the variable's name
ACTOR = "mcp"
HOST = "127.0.0.1"
PORT = 8765


class _Served(Leaf):
    """A command whose actor, where nobody names one, is the server."""

    def invoke(self, ctx: click.Context) -> Any:
        callers = (ctx, ctx.find_root())
        named = {caller.get_parameter_source("actor") for caller in callers}
        if ParameterSource.COMMANDLINE not in named:
            session_of(ctx).use("actor", ACTOR)
        return super().invoke(ctx)


def _use_actor(ctx: click.Context, _: click.Parameter, value: str | None) -> None:
    if value is not None:
        session_of(ctx).use("actor", value)


@click.command(cls=_Served)
@click.option("--http", is_flag=True, help="Serve streamable HTTP instead of stdin and stdout.")
@click.option(
    "--host",
    metavar="ADDRESS",
    default=HOST,
    show_default=True,
    help=f"With --http: where to listen; beyond this machine only with {TOKEN} set.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=PORT,
    show_default=True,
    help="With --http: 0 takes any that is free.",
)
@click.option(
    "--allow-writes", is_flag=True, help="Also offer run_stage, pause, resume and cancel."
)
@click.option(
    "--actor",
    metavar="NAME",
    expose_value=False,
    is_eager=True,
    callback=_use_actor,
    help=f"Who acts, in audit and records; default: {ACTOR}.",
)
@pass_session
def mcp(session: Session, *, http: bool, host: str, port: int, allow_writes: bool) -> None:
    """Serve the stages to agents over the Model Context Protocol."""
    # Taken out, so that no run inherits it.
    token = os.environ.pop(TOKEN, "") or None
    if http:
        _check_reach(host, token)
    try:
        from quant_cli.mcp import transports
        from quant_cli.mcp.server import QuantServer
    except ImportError as error:
        raise _missing(error) from error
    server = QuantServer(session.sdk, allow_writes=allow_writes).protocol
    if http:
        transports.serve_http(server, host, port, token=token, announce=_announcer(session))
    else:
        transports.serve_stdio(server)


def _check_reach(host: str, token: str | None) -> None:
    from quant_cli.mcp.hosts import is_loopback
    from quant_sdk.errors import InvalidInput

    if token is None and not is_loopback(host):
        raise InvalidInput(
            f"{host[:200]!r} can be reached from other machines, and no token is set",
            fix=f"set {TOKEN}, or leave --host {HOST}",
        )


def _announcer(session: Session) -> Callable[[str], None]:
    return lambda url: session.output.note(f"serving MCP at {url}")


def _missing(error: ImportError) -> Exception:
    from quant_sdk.errors import MissingExtra

    return MissingExtra(
        f"the MCP server needs the package mcp, 2.3 or newer: {error}",
        fix="run: pip install 'quant-stage-sdk[mcp]'",
    )
