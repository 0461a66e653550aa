"""Write SKILL.md from docs/agents.md, the tools, the commands' own help and the registry.

``python -P scripts/make_skill.py`` (-P: the launcher beside it is called quant_cli, too); a test
compares the file with what this makes.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from quant_cli.lazy import StageGroup
from quant_cli.main import root
from quant_cli.mcp.tools import TOOLS
from quant_sdk import StageRegistry, schema_names

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
GUIDE = ROOT / "docs" / "agents.md"
SKILL = ROOT / "SKILL.md"
HEADER = """---
name: quant-stages
description: >-
  Validate, run, watch, pause, resume, wait for and verify data-operations stages on market data
  (legacy bars into a Delta lakehouse) with the quant command, its MCP server, or its files alone.
  Use it when a task names a migration, a backfill, a lakehouse, bars, a stage or a run.
---

<!-- Made by scripts/make_skill.py; edit docs/agents.md, or the code it is made from. -->
"""


def main() -> None:
    """Write the file."""
    SKILL.write_text(skill(), encoding="utf-8")
    print(f"wrote {SKILL.name}")


def skill() -> str:
    """Return the whole text."""
    guide = GUIDE.read_text(encoding="utf-8").rstrip()
    sections = [HEADER, guide, "\n## Reference\n", "### Stages\n", _table(*_stages())]
    sections += ["\n### MCP tools\n", _table(*_tools()), "\n### Commands\n", _table(*_commands())]
    sections += ["\n### Schemas\n", ", ".join(f"`{name}`" for name in schema_names()), ""]
    return "\n".join(sections)


def _stages() -> Iterator[tuple[str, ...]]:
    yield "stage", "version", "what", "lock", "network", "destructive"
    for spec in StageRegistry.discover():
        effects = spec.effects
        flags = ("yes" if flag else "no" for flag in (effects.network, effects.destructive))
        yield f"`{spec.id}`", spec.version, spec.title, spec.lock or "none", *flags


def _tools() -> Iterator[tuple[str, ...]]:
    yield "tool", "arguments", "what", "writes"
    for tool in TOOLS:
        schema = tool.input_schema()
        names = [
            f"`{name}`" + ("" if name in schema["required"] else "?")
            for name in schema["properties"]
        ]
        yield f"`{tool.name}`", ", ".join(names), tool.description, "yes" if tool.writes else "no"


def _commands() -> Iterator[tuple[str, ...]]:
    yield "command", "what"
    yield from _leaves(root, "quant")


def _leaves(group: click.Group, path: str) -> Iterator[tuple[str, str]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, StageGroup):
            yield f"`{path} {name} STAGE`", _sentence(command)
        elif isinstance(command, click.Group):
            yield from _leaves(command, f"{path} {name}")
        elif command is not None:
            pieces = [
                piece
                for parameter in command.params
                if isinstance(parameter, click.Argument)
                for piece in parameter.get_usage_pieces(click.Context(command))
            ]
            yield f"`{' '.join([path, name, *pieces])}`", _sentence(command)


def _sentence(command: click.Command) -> str:
    return " ".join((command.help or "").split())


def _table(header: tuple[str, ...], *rows: tuple[str, ...]) -> str:
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)


if __name__ == "__main__":
    main()
