"""Which canonical schemas there are, which one is in force, and what its mode does to a response.

In ``canary`` a check is recorded and blocks nothing; in ``strict`` a response that deviates is
stopped. The stage ``schema.promote`` leads from the one to the other.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, Protocol

from quant_registry.clock import Clock, SystemClock
from quant_registry.errors import Corrupted, InvalidInput, UnknownSchema
from quant_registry.files import read_json
from quant_sdk.schemas.checks import CheckLog, Diagnosis, blocked
from quant_sdk.schemas.finding import DRIFTED, Finding
from quant_sdk.schemas.schema import CanonicalSchema
from quant_sdk.schemas.state import read_state

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from quant_registry.workspace import Workspace
    from quant_sdk.schemas.finding import AnyFinding
    from quant_sdk.schemas.state import State

Mode = Literal["canary", "strict"]

CANONICAL: Final = Path(__file__).with_name("canonical")
"""The folder of the schemas that come with the package: ``<name>/<version>.json``."""

OWN: Final = Path("configs") / "schemas"
"""Where a workspace keeps schemas of its own, under the same names."""


class SchemaRegistryClient(Protocol):
    """Schemas and their modes; safe to use from several threads at once."""

    def names(self) -> tuple[str, ...]:
        """Return the names of the schemas, sorted."""

    def versions(self, name: str) -> tuple[int, ...]:
        """Return the versions of a schema, ascending.

        Raises:
            UnknownSchema: there is none of that name.
        """

    def get(self, name: str, version: int | None = None) -> CanonicalSchema:
        """Return a schema; without a version the one in force: the newest strict one, else newest.

        Raises:
            UnknownSchema: there is none of that name and version.
        """

    def mode(self, schema: CanonicalSchema) -> Mode:
        """Tell what a deviation from this version does."""

    def check(
        self, schema: CanonicalSchema, findings: Iterable[AnyFinding], *, node: str, rows: int
    ) -> Diagnosis:
        """Judge what was found of a response, and record it.

        Args:
            schema: what the response was held against.
            findings: of severity ``block`` where it deviates.
            node: whose response it is.
            rows: of the response.

        Raises:
            ConformanceError: the mode is strict and something blocks; ``findings`` has it all.
        """


class FileSchemaRegistry:
    """The schemas in files: the package's, and the workspace's own in ``configs/schemas``.

    Args:
        workspace: where modes, approvals and checks are kept; None: every schema is in canary and
            nothing is recorded.
        clock: stamps the checks.
        folder: in the place of the package's.
    """

    def __init__(
        self,
        workspace: Workspace | None = None,
        *,
        clock: Clock | None = None,
        folder: Path = CANONICAL,
    ) -> None:
        self.workspace = workspace
        self._folder = folder
        self._log = None if workspace is None else CheckLog(workspace, clock or SystemClock())

    @property
    def broken(self) -> tuple[Corrupted, ...]:
        """What is wrong with files that hold no schema of their place, by their path."""
        return tuple(self._read[1].values())

    def names(self) -> tuple[str, ...]:
        """Return the names of the schemas, sorted."""
        return tuple(sorted(self._schemas))

    def versions(self, name: str) -> tuple[int, ...]:
        """Return the versions of a schema, ascending.

        Raises:
            UnknownSchema: there is none of that name.
        """
        return tuple(sorted(self._of(name)))

    def __iter__(self) -> Iterator[CanonicalSchema]:
        """Yield every version of every schema, sorted."""
        return (
            self._schemas[name][version] for name in self.names() for version in self.versions(name)
        )

    def get(self, name: str, version: int | None = None) -> CanonicalSchema:
        """Return a schema; without a version the one in force: the newest strict one, else newest.

        Raises:
            UnknownSchema: there is none of that name and version.
            Corrupted: its file is broken; without a version, one of its files is: nobody can tell
                whether that one is in force.
        """
        self._refuse_broken(name, version)
        found = self._of(name)
        if version is None:
            strict = [each for each in found if self._state(name, each) is not None]
            version = max(strict or found)
        if version not in found:
            raise UnknownSchema(f"{name}/{version}", [f"{name}/{each}" for each in found])
        return found[version]

    def newest(self, name: str) -> CanonicalSchema:
        """Return the newest version of a schema, whatever its mode.

        Raises:
            UnknownSchema: there is none of that name.
            Corrupted: one of its files is broken.
        """
        self._refuse_broken(name, None)
        return self.get(name, max(self._of(name)))

    def find(self, text: str) -> CanonicalSchema:
        """Return the schema that ``bars/1`` names; of ``bars`` the version in force.

        Raises:
            UnknownSchema: there is none.
        """
        name, slash, version = text.partition("/")
        if not slash:
            return self.get(name)
        if not version.isascii() or not version.isdecimal():
            raise UnknownSchema(text, [schema.id for schema in self])
        return self.get(name, int(version))

    def mode(self, schema: CanonicalSchema) -> Mode:
        """Tell what a deviation from this version does."""
        return "canary" if self._state(schema.name, schema.version) is None else "strict"

    def check(
        self, schema: CanonicalSchema, findings: Iterable[AnyFinding], *, node: str, rows: int
    ) -> Diagnosis:
        """Judge what was found of a response, and record it.

        A strict schema that is not, any more, what was approved blocks every response.

        Raises:
            ConformanceError: the mode is strict and something blocks; ``findings`` has it all.
        """
        state = self._state(schema.name, schema.version)
        found = tuple(map(Finding.of, findings))
        if state is not None and state.fingerprint != schema.fingerprint:
            found = (
                Finding(code=DRIFTED, severity="block", detail=_drifted(schema, state)),
                *found,
            )
        diagnosis = Diagnosis(
            schema_id=schema.id,
            fingerprint=schema.fingerprint,
            mode="canary" if state is None else "strict",
            node=node,
            rows=rows,
            findings=found,
        )
        if self._log is not None:
            self._log.record(diagnosis)
        if diagnosis.stopped:
            raise blocked(diagnosis)
        return diagnosis

    def flush(self) -> None:
        """Write down the checks that were counted and not yet written."""
        if self._log is not None:
            self._log.flush()

    def _refuse_broken(self, name: str, version: int | None) -> None:
        for (folder, stem), error in self._read[1].items():
            if folder == name and version in {None, _number(stem)}:
                raise error

    def _of(self, name: str) -> dict[int, CanonicalSchema]:
        if name not in self._schemas:
            raise UnknownSchema(name, self.names())
        return self._schemas[name]

    def _state(self, name: str, version: int) -> State | None:
        """Return what made this version strict, or None."""
        return None if self.workspace is None else read_state(self.workspace, name, version)

    @property
    def _schemas(self) -> dict[str, dict[int, CanonicalSchema]]:
        return self._read[0]

    @cached_property
    def _read(
        self,
    ) -> tuple[dict[str, dict[int, CanonicalSchema]], dict[tuple[str, str], Corrupted]]:
        """Return schemas by name and version, and what is broken by folder and file."""
        found: dict[str, dict[int, CanonicalSchema]] = {}
        broken: dict[tuple[str, str], Corrupted] = {}
        own = [] if self.workspace is None else [self.workspace.root / OWN]
        for folder in (self._folder, *own):
            for path in sorted(folder.glob("*/*.json")):
                try:
                    schema = read_canonical(path, self._shown(path))
                except Corrupted as error:
                    broken[path.parent.name, path.stem] = error
                    continue
                versions = found.setdefault(schema.name, {})
                if schema.version in versions:
                    broken[schema.name, path.stem] = Corrupted(
                        f"{schema.id} stands in the package and in {OWN.as_posix()}",
                        fix="give your own one the next version",
                    )
                versions.setdefault(schema.version, schema)
        return found, broken

    def _shown(self, path: Path) -> str:
        return str(path) if self.workspace is None else self.workspace.display(path)


def read_schema_file(path: Path, place: str = "") -> CanonicalSchema:
    """Return the schema in a file of any name; errors name it by `place`, else by its path.

    Raises:
        InvalidInput: there is no such file.
        Corrupted: it does not hold a schema.
    """
    place = place or str(path)
    try:
        return CanonicalSchema.from_dict(read_json(path))
    except FileNotFoundError:
        raise InvalidInput(f"there is no file {place}", fix="name a schema's file") from None
    except OSError as error:
        raise Corrupted(
            f"{place} cannot be read: {error.strerror}", fix="make it a file that can be read"
        ) from error
    except Corrupted as error:
        raise Corrupted(f"{place}: {error.message}", fix=f"correct {place}") from error


def read_canonical(path: Path, place: str = "") -> CanonicalSchema:
    """Return the schema in ``<name>/<version>.json``; errors name it by `place`.

    Raises:
        Corrupted: the file does not hold a schema of that name and version.
    """
    schema = read_schema_file(path, place)
    if schema.id != f"{path.parent.name}/{path.stem}":
        raise Corrupted(f"{place or path} holds {schema.id}", fix="name folder and file after it")
    return schema


def _number(stem: str) -> int | None:
    return int(stem) if stem.isascii() and stem.isdecimal() else None


def _drifted(schema: CanonicalSchema, state: State) -> str:
    return (
        f"{schema.id} is {schema.fingerprint[:12]}, and {state.fingerprint[:12]} was approved: "
        "a version that was approved is not changed any more"
    )
