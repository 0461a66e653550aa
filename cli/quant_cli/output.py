"""`Output`: one answer, as text for people or as JSON for programs.

A command hands over its document and a renderer of that document; it never asks which of the two
is wanted. In JSON mode stdout carries exactly one object (or one a line, for a stream of events),
in text mode the rendered lines. Notes, warnings and text errors go to stderr.
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager, redirect_stdout
from datetime import datetime
from typing import TYPE_CHECKING, Any, NoReturn

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

FORMAT = "QUANT_OUTPUT"
_WIDEST = 60
_LONGEST = 400
_HELD = "stage_locked"


class ReaderGone(Exception):  # noqa: N818 - not a failure: the reader has seen enough
    """Whoever read stdout has closed it."""


class Output:
    """Where answers go, and in which form.

    Args:
        json: answer in JSON; by default as ``QUANT_OUTPUT`` says.
    """

    def __init__(self, *, json: bool | None = None) -> None:
        self.json = os.environ.get(FORMAT) == "json" if json is None else json
        self.answered = False
        """Whether stdout carries something already."""

    @property
    def live(self) -> bool:
        """Whether a person watches: text is wanted and stderr is a terminal."""
        return not self.json and sys.stderr.isatty()

    @property
    def can_ask(self) -> bool:
        """Whether a question would reach a person."""
        return self.live and sys.stdin is not None and sys.stdin.isatty()

    def confirm(self, question: str, *, otherwise: str) -> None:
        """Go on where a person says yes.

        Args:
            question: for the person.
            otherwise: what would happen, for the error where nobody can be asked.

        Raises:
            Abort: the answer is no.
            InvalidInput: nobody can be asked.
        """
        if not self.can_ask:
            from quant_sdk.errors import InvalidInput

            raise InvalidInput(f"{otherwise}, and nobody can be asked", fix="add --yes")
        click.confirm(question, abort=True, err=True)

    def emit(self, document: Any, render: Callable[[Any], Iterable[str]]) -> None:
        """Give the answer; a reader that has gone away does not change the outcome."""
        try:
            if self.json:
                self._write(dump(document))
            else:
                self._write("".join(f"{line}\n" for line in render(document)).encode())
        except ReaderGone:
            return

    def event(self, document: Any, render: Callable[[Any], str]) -> None:
        """Give one document of a stream, on a line of its own.

        Raises:
            ReaderGone: nobody reads any more.
        """
        self._write(dump(document) if self.json else f"{render(document)}\n".encode())

    def note(self, text: str) -> None:
        """Tell people something by the way; silent in JSON mode."""
        if not self.json:
            _say(text)

    def warn(self, text: str) -> None:
        """Tell whoever reads stderr, people and programs alike."""
        _say(printable(text))

    def fail(self, error: Mapping[str, Any]) -> None:
        """Give an error: ``{code, message, fix, retryable, exit_code}``.

        A stage that somebody else is at work on is one line: timers meet it, and it is no failure.
        """
        if self.json and not self.answered:
            self.emit({"error": error}, lambda _: ())
            return
        if error["code"] == _HELD:
            _say(printable(f"locked: {error['message']}; {error['fix']}"))
            return
        _say(f"error: {printable(str(error['message']))}")
        if error["fix"]:
            _say(f"fix: {printable(str(error['fix']))}")

    @contextmanager
    def only_answers(self) -> Iterator[None]:
        """Send what stages and plugins print to stderr, so that stdout carries only the answer."""
        self._stdout = sys.stdout
        try:
            with redirect_stdout(sys.stderr):
                yield
        finally:
            del self._stdout

    def _write(self, content: bytes) -> None:
        stream = getattr(self, "_stdout", sys.stdout)
        self.answered = True
        try:
            stream.flush()
            stream.buffer.write(content)
            stream.buffer.flush()
        except BrokenPipeError:
            _abandon_stdout(stream)


def dump(document: Any) -> bytes:
    """Return one line of JSON; times in UTC as RFC 3339, what is not finite as null."""
    import orjson

    return orjson.dumps(document, default=str, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z)


def listing(name: str, items: Sequence[Any], limit: int | None = None) -> dict[str, Any]:
    """Return ``{name: [...], truncated, next_cursor}``, cut to `limit` items."""
    kept = list(items if limit is None else items[:limit])
    return {name: kept, "truncated": len(kept) < len(items), "next_cursor": None}


def table(
    rows: Iterable[Mapping[str, Any]],
    columns: Sequence[str],
    empty: str = "nothing",
    widest: int = _WIDEST,
) -> Iterator[str]:
    """Yield aligned lines under a header; numbers stand right. `empty` where there are no rows."""
    found = list(rows)
    if not found:
        yield empty
        return
    cells = [[cell(row.get(column), widest=widest) for column in columns] for row in found]
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    right = [all(_is_number(row.get(column)) for row in found) for column in columns]
    for line in ([name.upper() for name in columns], *cells):
        padded = [
            text.rjust(width) if at_right else text.ljust(width)
            for text, width, at_right in zip(line, widths, right, strict=True)
        ]
        yield "  ".join(padded).rstrip()


def facts(document: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    """Yield ``name  value`` lines; what is null or empty is left out."""
    shown = {key: value for key, value in document.items() if value not in (None, "", [], {}, ())}
    width = max(map(len, shown), default=0)
    for key, value in shown.items():
        text = cell(value, widest=_LONGEST)
        if isinstance(value, dict) and len(text) > _WIDEST:
            yield f"{indent}{key}"
            yield from facts(value, f"{indent}  ")
        elif _is_rows(value):
            yield f"{indent}{key}"
            for line in table(value, list(value[0]), widest=_LONGEST):
                yield f"{indent}  {line}"
        else:
            yield f"{indent}{key.ljust(width)}  {text}"


def _is_rows(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


def cell(value: Any, *, widest: int | None = _WIDEST) -> str:
    """Return a value as one short printable line."""
    match value:
        case None:
            text = "-"
        case bool():
            text = "yes" if value else "no"
        case float():
            text = f"{value:.10g}"
        case datetime():
            text = value.isoformat().replace("+00:00", "Z")
        case dict():
            text = (
                ", ".join(f"{key} {cell(item, widest=widest)}" for key, item in value.items())
                or "-"
            )
        case list() | tuple():
            text = ", ".join(cell(item, widest=widest) for item in value) or "-"
        case _:
            text = printable(str(value))
    return text if widest is None or len(text) <= widest else f"{text[: widest - 3]}..."


def printable(text: str) -> str:
    """Return `text` without line breaks and terminal controls that a file may have brought."""
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else " " for sign in text)


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))


def _say(text: str) -> None:
    try:
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()
    except BrokenPipeError:
        return


def _abandon_stdout(stream: Any) -> NoReturn:
    """Point stdout at nothing, so that the interpreter's last flush is quiet too."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
    raise ReaderGone
