"""``quant migrate``: begin to move a legacy folder."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from quant_cli.output import cell, printable, table
from quant_cli.session import Leaf, Session, pass_session

if TYPE_CHECKING:
    from collections.abc import Iterator

    from quant_sdk import QuantSDK
    from quant_sdk.sources.legacy.sniff import Sniffed

STAGE = "ops.migration.dataops_v2"
NOTHING = 3
SHOWN = 200


@click.group()
def migrate() -> None:
    """Begin to move a legacy folder."""


@migrate.command("init", cls=Leaf)
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--manifest",
    metavar="PATH",
    default="data/manifest.json",
    show_default=True,
    help="The manifest to write, absolute or seen from the workspace.",
)
@click.option("--profile", metavar="NAME", help="Add this profile to a manifest that stands.")
@click.option(
    "--exchange",
    "exchanges",
    metavar="[PATTERN=]NAME",
    multiple=True,
    help="Whose bars files are that do not say it; with a pattern, those whose name or path fits.",
)
@click.option("--timezone", metavar="ZONE", help="IANA zone of times that do not say theirs.")
@click.option("--dry-run", is_flag=True, help="Look only; write nothing.")
@click.option(
    "--limit",
    type=click.IntRange(1),
    default=SHOWN,
    show_default=True,
    help="Entries, files and left out ones to show, at most.",
)
@pass_session
def init(  # noqa: PLR0913 - an option each
    session: Session,
    *,
    path: Path,
    manifest: str,
    profile: str | None,
    exchanges: tuple[str, ...],
    timezone: str | None,
    dry_run: bool,
    limit: int,
) -> int:
    """Look through a folder of legacy bars and write the manifest that reads them.

    Exit code 3 where nothing can be read; then nothing is written.
    """
    from quant_sdk.sources.legacy.manifest_draft import check_writable, draft_profile, write_profile

    sdk = session.sdk
    target = sdk.workspace.inside(Path(manifest))
    name = check_writable(target, profile)
    found = _sniff(sdk, path, target, _by_pattern(exchanges), timezone)
    writes = bool(found.entries) and not dry_run
    if writes:
        shown = sdk.workspace.display(path.resolve())
        write_profile(target, name, draft_profile(f"Legacy bars of {shown}", found.entries))
    document = _document(found, limit) | {
        "manifest": sdk.workspace.display(target) if writes else None,
        "profile": name,
        "next": _next(sdk, target) if writes else [],
    }
    session.output.emit(document, _text)
    return 0 if found.entries else NOTHING


def _by_pattern(exchanges: tuple[str, ...]) -> dict[str, str]:
    """Return pattern to exchange; a name without a pattern is for all the others."""
    pairs = [text.rpartition("=") for text in exchanges]
    pairs.sort(key=lambda pair: not pair[0])
    return {pattern or "*": name for pattern, _, name in pairs}


def _sniff(
    sdk: QuantSDK, path: Path, manifest: Path, exchanges: dict[str, str], timezone: str | None
) -> Sniffed:
    from quant_sdk.sources.legacy.sniff import sniff
    from quant_sdk.sources.legacy.times import check_zone

    if timezone is not None:
        check_zone(timezone)
    workspace = sdk.workspace
    return sniff(
        path,
        base=manifest.parent,
        home=workspace.root,
        exchanges=exchanges,
        timezone=timezone,
        now=sdk.clock.now(),
        skip=(
            *(manifest, workspace.lakehouse, workspace.artifacts),
            *(workspace.data / "export", workspace.snapshots),
        ),
    )


def _document(found: Sniffed, limit: int) -> dict[str, Any]:
    parts: dict[str, list[Any]] = {
        "entries": list(found.entries),
        "files": [file.to_dict() for file in found.files],
        "left_out": [item.to_dict() for item in found.left_out],
        "notes": list(found.notes),
    }
    return {
        **{name: items[:limit] for name, items in parts.items()},
        "counts": {
            **{name: len(items) for name, items in parts.items()},
            "series": len({(file.symbol, file.timeframe) for file in found.files}),
            "ignored": sum(found.ignored.values()),
        },
        "truncated": any(len(items) > limit for items in parts.values()),
        "next_cursor": None,
    }


def _next(sdk: QuantSDK, manifest: Path) -> list[str]:
    """Return commands that work from here, wherever the workspace is."""
    options = []
    if sdk.workspace.display(manifest) != "data/manifest.json":
        options += ["--manifest", sdk.workspace.display(manifest)]
    if sdk.workspace.root != Path.cwd().resolve():
        options += ["--workspace", str(sdk.workspace.root)]
    return [
        shlex.join(["quant", "stage", *words, *options])
        for words in (["validate", STAGE], ["run", STAGE, "--dry-run"], ["run", STAGE])
    ]


def _text(document: dict[str, Any]) -> Iterator[str]:
    counts = document["counts"]
    columns = ("path", "layout", "symbol", "timeframe", "rows")
    yield from table(document["files"], columns, empty="nothing here can be read")
    for file in document["files"]:
        proof = file["evidence"]
        if proof and file["timestamp_unit"]:  # a unit that the layout does not declare
            yield (
                f"{printable(file['path'])}: row {proof['row']}, {proof['value']}, "
                f"is {proof['reads']} in {proof['unit']}"
            )
    for item in document["left_out"]:
        yield ""
        yield f"left out: {printable(item['path'])}: {printable(item['reason'])}"
        yield f"fix: {printable(item['fix'])}"
    yield ""
    yield from (printable(note) for note in document["notes"])
    if document["truncated"]:
        yield "more: raise --limit, or answer with --json"
    yield cell({name: counts[name] for name in ("files", "series", "entries", "left_out")})
    written = document["manifest"]
    yield f"wrote profile {document['profile']} into {written}" if written else "nothing written"
    for command in document["next"]:
        yield f"next: {printable(command)}"
