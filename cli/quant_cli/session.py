"""One call of ``quant``: its workspace, its actor, its output; and the options that set them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from quant_cli.output import Output

if TYPE_CHECKING:
    from collections.abc import Callable

    from quant_sdk import QuantSDK


class Session:
    """What every command of one call shares.

    Args:
        output: where the answer goes.
    """

    def __init__(self, output: Output | None = None) -> None:
        self.output = output or Output()
        self._settings: dict[str, str | None] = {"workspace": None, "actor": None}
        self._sdk: QuantSDK | None = None

    def use(self, name: str, value: str) -> None:
        """Set ``workspace`` or ``actor``; what stands nearer to the command wins."""
        if self._settings[name] != value:
            self._settings[name] = value
            self._sdk = None

    @property
    def sdk(self) -> QuantSDK:
        """The SDK of the workspace; made on first use.

        Raises:
            InvalidInput: the workspace is no folder.
        """
        if self._sdk is None:
            from quant_sdk import QuantSDK

            self._sdk = QuantSDK(self._settings["workspace"], actor=self._settings["actor"])
        return self._sdk


def session_of(ctx: click.Context) -> Session:
    """Return the session of this call."""
    found = ctx.find_object(Session)
    if found is None:
        found = ctx.find_root().obj = Session()
    return found


pass_session = click.make_pass_decorator(Session, ensure=True)


class Leaf(click.Command):
    """A command that answers; it takes ``--workspace`` and ``--json``, and keeps stdout clean."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += [workspace_option(), json_option()]

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; only its answer reaches stdout."""
        with session_of(ctx).output.only_answers():
            return super().invoke(ctx)


def workspace_option() -> click.Option:
    """Return ``--workspace``."""
    return click.Option(
        ["--workspace"],
        metavar="PATH",
        expose_value=False,
        is_eager=True,
        callback=_use("workspace"),
        help="The workspace's root; default: QUANT_WORKSPACE, else this folder.",
    )


def actor_option() -> click.Option:
    """Return ``--actor``."""
    return click.Option(
        ["--actor"],
        metavar="NAME",
        expose_value=False,
        is_eager=True,
        callback=_use("actor"),
        help="Who acts, in audit and records; default: QUANT_ACTOR, else the user's name.",
    )


def json_option() -> click.Option:
    """Return ``--json``."""
    return click.Option(
        ["--json"],
        is_flag=True,
        expose_value=False,
        is_eager=True,
        callback=_answer_in_json,
        help="Answer with one JSON object on stdout; the same as QUANT_OUTPUT=json.",
    )


def common_options() -> list[click.Parameter]:
    """Return the options that a group takes on behalf of its commands."""
    return [workspace_option(), actor_option(), json_option()]


def _use(name: str) -> Callable[[click.Context, click.Parameter, str | None], None]:
    def callback(ctx: click.Context, _: click.Parameter, value: str | None) -> None:
        if value is not None:
            session_of(ctx).use(name, value)

    return callback


def _answer_in_json(ctx: click.Context, _: click.Parameter, value: bool) -> None:  # noqa: FBT001 - click's signature
    if value:
        session_of(ctx).output.json = True
