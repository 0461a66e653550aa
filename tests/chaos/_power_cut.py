"""What a power cut may take: files as strace saw them written, less what was never synced."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

CALLS = "openat,write,writev,pwrite64,pwritev,fsync,fdatasync,rename,renameat,renameat2,link,linkat"
_FD = re.compile(r"\w+\(\d+<([^>]*)>")
_OPENED = re.compile(r"openat\(.*O_CREAT.*\) = \d+<([^>]*)>")
_MOVED = re.compile(r'(?:rename|link)\w*\(.*?"([^"]*)".*?"([^"]*)".*\) = 0')
_RESULT = re.compile(r"= (\d+)")


@dataclass
class Written:
    """One file of the traced process."""

    created: bool = False
    named_durably: bool = False
    size: int = 0
    synced: int = 0


def cut(trace: Path, root: Path) -> list[str]:
    """Take from the files under `root` what the traced process had not synced; say what went."""
    lost = []
    for path, state in sorted(_read(trace).items()):
        file = Path(path)
        if not file.is_relative_to(root) or not file.is_file():
            continue
        if state.created and not state.named_durably and not state.synced:
            file.unlink()
            lost.append(f"removed {file.relative_to(root)}")
        elif state.size > state.synced:
            keep = file.stat().st_size - (state.size - state.synced)
            with file.open("r+b") as stream:
                stream.truncate(max(keep, 0))
            lost.append(f"cut {file.relative_to(root)}")
    return lost


def _read(trace: Path) -> dict[str, Written]:
    files: dict[str, Written] = {}
    for line in trace.read_text(errors="replace").splitlines():
        call = line.split(maxsplit=1)[-1]
        if opened := _OPENED.match(call):
            files.setdefault(opened[1], Written(created=True))
        elif moved := _MOVED.match(call):
            _move(files, moved[1], moved[2], keep=call.startswith("link"))
        elif call.startswith(("write", "pwrite")) and (named := _FD.match(call)):
            result = _RESULT.search(call.rpartition(")")[2])
            if named[1] in files or result:
                state = files.setdefault(named[1], Written())
                state.size += int(result[1]) if result else 0
        elif call.startswith(("fsync", "fdatasync")) and (named := _FD.match(call)):
            _sync(files, named[1])
    return files


def _move(files: dict[str, Written], old: str, new: str, *, keep: bool) -> None:
    """Follow a rename; whether the new name is durable is the folder's business."""
    state = files.get(old) if keep else files.pop(old, None)
    if state is not None:
        files[new] = Written(
            created=False, named_durably=True, size=state.size, synced=state.synced
        )


def _sync(files: dict[str, Written], path: str) -> None:
    if path in files:
        files[path].synced = files[path].size
        return
    for name, state in files.items():
        if name.rpartition("/")[0] == path:
            state.named_durably = True
