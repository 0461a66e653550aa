"""``quant stage new``: a stage of your own, with its test, from templates."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from quant_cli.output import printable
from quant_cli.session import Leaf, Session, pass_session

if TYPE_CHECKING:
    from collections.abc import Iterator

    from quant_sdk import Workspace


@click.command("new", cls=Leaf)
@click.argument("stage_id", metavar="ID")
@click.option(
    "--path",
    metavar="DIR",
    default=".",
    show_default=True,
    help="The folder for the files, seen from the workspace.",
)
@pass_session
def new_stage(session: Session, stage_id: str, path: str) -> None:
    """Write a stage of your own and its test, and announce it in quant.yml."""
    sdk = session.sdk
    draft = _draft(sdk.workspace, stage_id, path)
    _check(draft, known=stage_id in sdk.registry)
    files = _write(draft)
    session.output.emit({"stage_id": stage_id, "files": files, "next": _next(draft)}, _text)


def _text(document: dict[str, Any]) -> Iterator[str]:
    for name in document["files"]:
        yield f"wrote {printable(name)}"
    for command in document["next"]:
        yield f"next: {printable(command)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Draft:
    """What is to be written, and where."""

    workspace: Workspace
    stage_id: str
    folder: Path
    module: str

    @property
    def declaration(self) -> str:
        return f"{self.module}:STAGES"

    @property
    def files(self) -> dict[Path, str]:
        """Path of each file to its template."""
        name = self.module.rpartition(".")[2]
        return {
            self.folder / f"{name}.py": "stage.py.template",
            self.folder / f"test_{name}.py": "test_stage.py.template",
        }


def _draft(workspace: Workspace, stage_id: str, path: str) -> _Draft:
    from quant_sdk import StageSpec
    from quant_sdk.errors import InvalidInput

    StageSpec(id=stage_id, category="", title="", body="")  # an id that is none is refused here
    folder = workspace.inside(Path(path))
    parts = folder.relative_to(workspace.root).parts
    if not all(part.isidentifier() for part in parts):
        raise InvalidInput(
            f"{path!r} cannot be imported from: a folder's name is no Python name",
            fix="use letters, digits and _ in the names, as in --path stages",
        )
    return _Draft(
        workspace=workspace,
        stage_id=stage_id,
        folder=folder,
        module=".".join((*parts, stage_id.replace(".", "_"))),
    )


def _check(draft: _Draft, *, known: bool) -> None:
    """Look before anything is written."""
    from quant_sdk.announce import check_announceable
    from quant_sdk.errors import Conflict

    for path in draft.files:
        if os.path.lexists(path):
            raise Conflict(
                f"{draft.workspace.display(path)} stands there already",
                fix="move it away, or choose another id or --path",
            )
    if known:
        raise Conflict(f"stage {draft.stage_id!r} exists already", fix="choose another id")
    top = draft.module.partition(".")[0]
    if _is_taken(top, draft.workspace.root):
        raise Conflict(
            f"{top!r} is the name of an installed module", fix="choose another id or --path"
        )
    check_announceable(draft.workspace, draft.declaration)


def _is_taken(name: str, root: Path) -> bool:
    """Tell whether `name` would import something that is not the workspace's own."""
    from importlib import util

    found = util.find_spec(name)
    if found is None or found.origin is None:
        return False  # nothing, or a folder without a module of its own
    return Path(found.origin) not in {root / f"{name}.py", root / name / "__init__.py"}


def _write(draft: _Draft) -> list[str]:
    import string
    from importlib import resources

    from quant_sdk.announce import announce

    names = {
        "id": draft.stage_id,
        "category": draft.stage_id.partition(".")[0],
        "module": draft.module,
        "test_file": f"test_{draft.module.rpartition('.')[2]}.py",
    }
    draft.folder.mkdir(parents=True, exist_ok=True)
    templates = resources.files("quant_cli") / "templates"
    for path, template in draft.files.items():
        text = string.Template((templates / template).read_text(encoding="utf-8"))
        with path.open("x", encoding="utf-8") as stream:
            stream.write(text.substitute(names))
    announce(draft.workspace, draft.declaration)
    return [draft.workspace.display(path) for path in (*draft.files, draft.workspace.settings)]


def _next(draft: _Draft) -> list[str]:
    """Return commands that work from here, wherever the workspace is."""
    import shlex

    root = draft.workspace.root
    here = root == Path.cwd().resolve()
    test = list(draft.files)[1]
    where = "" if here else f" --workspace {shlex.quote(str(root))}"
    shown = draft.workspace.display(test) if here else str(test)
    return [f"pytest {shlex.quote(shown)}", f"quant stage run {draft.stage_id}{where}"]
