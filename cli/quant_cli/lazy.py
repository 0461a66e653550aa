"""Groups whose commands are found, or made, only when one of them is called."""

from __future__ import annotations

import difflib
import importlib
from typing import TYPE_CHECKING, Any

import click

from quant_cli.session import session_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from quant_sdk import StageSpec


class _Listed(click.Group):
    """A group that can list its commands without having them."""

    def helps(self, ctx: click.Context) -> Iterable[tuple[str, str]]:
        """Return name and short help of each command."""
        raise NotImplementedError

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names, in the order of the help."""
        return [name for name, _ in self.helps(ctx)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands; imports none of them."""
        rows = list(self.helps(ctx))
        if rows:
            with formatter.section(self.heading):
                formatter.write_dl(rows)

    heading = "Commands"


class LazyGroup(_Listed):
    """A group of commands named by import path.

    Args:
        lazy: name to ``(module:attribute, short help)``.
    """

    def __init__(self, *args: Any, lazy: Mapping[str, tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._lazy = lazy

    def helps(self, ctx: click.Context) -> Iterable[tuple[str, str]]:  # noqa: ARG002 - the same for all
        """Return name and short help of each command."""
        return [(name, text) for name, (_, text) in self._lazy.items()]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command of that name."""
        if cmd_name not in self._lazy:
            if not cmd_name.startswith("-"):
                ctx.fail(_unknown(cmd_name, self._lazy))
            return None
        module, _, attribute = self._lazy[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command


class StageGroup(_Listed):
    """A group with one command a stage, made from the stage's declaration.

    Args:
        build: makes the command of a stage.
    """

    heading = "Stages"

    def __init__(
        self, *args: Any, build: Callable[[StageSpec], click.Command], **kwargs: Any
    ) -> None:
        kwargs.setdefault("subcommand_metavar", "STAGE [OPTIONS]")
        super().__init__(*args, **kwargs)
        self._build = build

    def helps(self, ctx: click.Context) -> Iterable[tuple[str, str]]:
        """Return id and title of each stage; imports no stage's body or parameters."""
        session = session_of(ctx)
        with session.output.only_answers():
            return [(spec.id, spec.title) for spec in session.sdk.stages()]

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the stage in the workspace that the options behind its id name."""
        workspace = _value_of("--workspace", args)
        if workspace is not None:
            session_of(ctx).use("workspace", workspace)
        return super().resolve_command(ctx, args)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Make the command of a stage.

        Raises:
            UnknownStage: no such stage; plugins that could not be imported are named too.
            BrokenPlugin: its parameters cannot be imported.
        """
        if cmd_name.startswith("-"):
            return None
        session = session_of(ctx)
        with session.output.only_answers():
            registry = session.sdk.registry
            if registry.broken and cmd_name not in registry:
                raise _with_broken(cmd_name, registry)
            return self._build(registry[cmd_name])


def _unknown(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=3)
    return f"no such command {name!r}" + (f"; did you mean {', '.join(near)}?" if near else "")


def _with_broken(name: str, registry: Any) -> Exception:
    from quant_sdk.errors import UnknownStage

    error = UnknownStage(name, [spec.id for spec in registry])
    origins = ", ".join(registry.broken)
    error.fix += f"; stages of {origins} could not be imported, see: quant stage list"
    return error


def _value_of(option: str, args: list[str]) -> str | None:
    """Return the option's value among arguments that are not parsed yet."""
    for index, argument in enumerate(args):
        if argument == "--":
            break
        if argument == option and index + 1 < len(args):
            return args[index + 1]
        if argument.startswith(f"{option}="):
            return argument.partition("=")[2]
    return None
