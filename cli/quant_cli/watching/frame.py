"""How a scene is drawn: pure functions from what is seen to lines that fit the terminal."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, NamedTuple

from quant_cli.output import printable
from quant_cli.progress_bar import clock_time
from quant_sdk.moments import spell

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from quant_cli.watching.scene import Row, Scene, Trouble

KEYS = "up/down select   p pause   r resume   c cancel   q quit"
_WORDS = {"pause_requested": "pausing", "cancel_requested": "cancelling"}
_STYLES = {
    "running": "green",
    "queued": "cyan",
    "pause_requested": "yellow",
    "paused": "yellow",
    "cancel_requested": "magenta",
    "succeeded": "dim green",
    "cancelled": "dim magenta",
    "failed": "red",
    "abandoned": "red",
    "dead": "bold red",
    "frozen": "bold red",
}
_FULL, _EMPTY = "█", "░"
# A heartbeat comes every second.
_LATE_SECONDS = 5.0
_LEAST_ROWS = 3


class Span(NamedTuple):
    """A piece of a line in one style."""

    text: str
    style: str = ""


Line = tuple[Span, ...]


class Widths(NamedTuple):
    """How wide each column is; one blank stands between them."""

    state: int
    stage: int
    step: int
    bar: int
    eta: int
    seen: int
    who: int


def plain(lines: Iterable[Line]) -> list[str]:
    """Return the lines without styles and without blanks at their ends."""
    return ["".join(span.text for span in line).rstrip() for line in lines]


def draw(
    scene: Scene, *, selected: str | None, told: str, width: int, height: int | None
) -> list[Line]:
    """Return the lines of one frame, none wider than `width`, at most `height` of them.

    Args:
        scene: what is seen.
        selected: the run that is marked, and told of in detail; None for none.
        told: what the last line says: the keys, a question or an answer.
        width: of the terminal, in cells.
        height: of the terminal; None where a frame may be as long as it is.
    """
    marked = next((row for row in scene.rows if row.run_id == selected), None)
    details = [] if marked is None else [(), *_details(marked, width)]
    troubles = [(), *_troubles(scene.troubles, width)] if scene.troubles else []
    head = [_title(scene, width), _header(widths(width))]
    foot = [(), (Span(fit(told, width), "bold"),)] if told else []
    rows = [_row(row, widths(width), marked=row is marked) for row in scene.rows]
    if not rows:
        rows = [(Span(fit("  nothing is live, and nothing ended lately", width), "dim"),)]
    if height is None:
        return [*head, *rows, *details, *troubles, *foot]
    for part in (troubles, details):
        room = height - len(head) - len(details) - len(troubles) - len(foot)
        if room < min(len(rows), _LEAST_ROWS):
            part.clear()
    room = max(height - len(head) - len(details) - len(troubles) - len(foot), 1)
    begin = _first_shown(0 if marked is None else scene.rows.index(marked), len(rows), room)
    shown = rows[begin : begin + room]
    blank: list[Line] = [()] * (room - len(shown))
    return [*head, *shown, *details, *troubles, *blank, *foot][-height:]


def widths(width: int) -> Widths:
    """Return the columns' widths; what the terminal has beyond 80 cells goes to four of them."""
    more = max(width - 80, 0)
    stage, step, bar = (
        min(more * share // 10, most) for share, most in ((3, 16), (2, 14), (3, 20))
    )
    least = Widths(state=10, stage=18, step=11, bar=15, eta=7, seen=5, who=6)
    who = least.who + min(more - stage - step - bar, 24)
    return least._replace(
        stage=least.stage + stage, step=least.step + step, bar=least.bar + bar, who=who
    )


def fit(text: str, width: int) -> str:
    """Return `text` in exactly `width` cells: cut with ``…`` or filled with blanks."""
    clean = printable(text)
    if clean.isascii():
        return clean.ljust(width) if len(clean) <= width else f"{clean[: width - 1]}…"[:width]
    cells = [_cells(sign) for sign in clean]
    if sum(cells) <= width:
        return clean + " " * (width - sum(cells))
    kept, used = "", 0
    for sign, size in zip(clean, cells, strict=True):
        if used + size > width - 1:
            break
        kept, used = kept + sign, used + size
    return (f"{kept}…" + " " * (width - used - 1))[: max(width, 0)]


def bar(row: Row, width: int) -> str:
    """Return the progress as a bar with its percentage, or as a count where no total is known."""
    if row.percent is None:
        return "" if row.current is None else f"{row.current} done"
    cells = width - 5
    full = int(cells * min(row.percent, 100.0) / 100)
    return f"{_FULL * full}{_EMPTY * (cells - full)} {int(row.percent):3}%"


def _title(scene: Scene, width: int) -> Line:
    live = sum(not row.ended for row in scene.rows)
    counts = f"{live} live, {len(scene.rows) - live} ended lately"
    time = f"{scene.now:%H:%M:%S} UTC"
    room = width - len(counts) - len(time) - 6
    root = scene.root if len(scene.root) <= room else f"…{scene.root[-max(room - 1, 1) :]}"
    return (Span(fit(f"{fit(root, room)}   {counts}   {time}", width), "bold"),)


def _header(columns: Widths) -> Line:
    names = ("STATE", "STAGE", "STEP", "PROGRESS", "ETA", "SEEN", "WHO")
    cells = (fit(name, size) for name, size in zip(names, columns, strict=True))
    return (Span(f"  {' '.join(cells)}".rstrip(), "dim"),)


def _row(row: Row, columns: Widths, *, marked: bool) -> Line:
    eta = "" if row.eta_seconds is None else clock_time(row.eta_seconds)
    seen = "" if row.seen is None else spell(row.seen).replace(" ", "").replace("min", "m")
    late = not row.ended and row.seen is not None and row.seen > _LATE_SECONDS
    where = "committing" if row.committing else row.step or row.phase or ""
    rest = "dim" if row.ended else ""
    style = _STYLES.get(row.state, "")
    return (
        Span("> " if marked else "  ", "bold"),
        Span(fit(_WORDS.get(row.state, row.state), columns.state), style),
        Span(f" {fit(row.stage_id, columns.stage)}", "bold" if marked else rest),
        Span(f" {fit(where, columns.step)}", rest),
        Span(f" {fit(bar(row, columns.bar), columns.bar)}", style),
        Span(f" {fit(eta, columns.eta)}", rest),
        Span(f" {fit(seen, columns.seen)}", "bold red" if late else rest),
        Span(f" {fit(row.actor, columns.who)}", rest),
    )


def _details(row: Row, width: int) -> Iterator[Line]:
    told = {
        "run": row.run_id,
        "holder": _holder(row),
        "asked": _asked(row),
        "phase": row.phase or "",
        "error": row.error or "",
        "why": row.evidence or "",
        "next": row.next or "",
    }
    for name, text in told.items():
        if text:
            style = "red" if name in {"error", "why"} else ""
            yield Span(f"  {name.ljust(7)}", "dim"), Span(fit(text, width - 9).rstrip(), style)


def _holder(row: Row) -> str:
    process = f"pid {row.pid} on {row.host}" if row.pid else ""
    lock = f"lock {row.lock_id}" if row.lock_id else "no lock"
    return ", ".join(part for part in (row.actor, lock, process) if part)


def _asked(row: Row) -> str:
    if row.directive is None or row.ended:
        return ""
    until = f" until {row.directive['expires_at']}" if row.directive.get("expires_at") else ""
    why = f": {row.directive['reason']}" if row.directive.get("reason") else ""
    who = row.directive.get("actor") or "the control file"
    return f"{row.directive.get('action')} by {who}{until}{why}"


def _troubles(troubles: Iterable[Trouble], width: int) -> Iterator[Line]:
    yield (Span("  last errors", "dim"),)
    for item in troubles:
        text = f"  {item.timestamp[11:19]} {item.run_id[-6:]} {item.event} {item.message}"
        yield (Span(fit(text, width).rstrip(), "red"),)


def _first_shown(chosen: int, count: int, room: int) -> int:
    """Return the first row of a window that holds the chosen one, in the middle where it can."""
    return max(min(chosen - room // 2, count - room), 0)


def _cells(sign: str) -> int:
    if unicodedata.combining(sign):
        return 0
    return 2 if unicodedata.east_asian_width(sign) in {"W", "F"} else 1
