"""The tools: one line a primitive; schema and description come from the SDK's method."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from quant_cli import documents
from quant_cli.mcp import answers, signatures
from quant_sdk.errors import InvalidInput, UnknownName

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from quant_sdk import QuantSDK

Schema = dict[str, Any]

# An agent's own patience with one call; it asks again.
LONGEST_WAIT_SECONDS = 600
WAIT_SECONDS = 30
MOST_EVENTS = 1000
MOST_BARS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """One tool.

    Attributes:
        name: what agents call.
        method: of `QuantSDK`, from which description and parameters are taken.
        answer: makes the document; the same one that ``quant --json`` prints.
        output: the answer's schema.
        writes: it changes the workspace, so a read-only server does not list it.
        destructive: what it ends does not come back.
        idempotent: the same call twice changes nothing the second time.
        leave_out: parameters that cannot come from outside.
        more: what to add to parameters, such as bounds.
        says: a sentence after the method's own description.
        instead: the description, where a tool does less than its method.
    """

    name: str
    method: str
    answer: Callable[..., dict[str, Any]]
    output: Callable[[], Schema]
    writes: bool = False
    destructive: bool = False
    idempotent: bool = True
    leave_out: tuple[str, ...] = ()
    more: Mapping[str, Schema] = field(default_factory=dict)
    says: str = ""
    instead: str = ""

    @property
    def description(self) -> str:
        """What it does, in the words of the SDK."""
        text = self.instead or signatures.description(self.method)
        return f"{text} {self.says}".rstrip()

    def input_schema(self) -> Schema:
        """Return the schema of its arguments."""
        return signatures.input_schema(self.method, leave_out=self.leave_out, more=self.more)

    def arguments(self, given: Mapping[str, Any] | None) -> dict[str, Any]:
        """Return the arguments, checked and with the defaults of the schema; null is not given.

        Raises:
            InvalidInput: one is missing, unknown, of another type or out of bounds.
        """
        from jsonschema import Draft202012Validator
        from jsonschema.exceptions import best_match

        schema = self.input_schema()
        found = {key: value for key, value in (given or {}).items() if value is not None}
        problem = best_match(Draft202012Validator(schema).iter_errors(found))
        if problem is not None:
            where = ".".join(map(str, problem.absolute_path))
            raise InvalidInput(
                f"{self.name}: {f'{where}: ' if where else ''}{problem.message[:300]}",
                fix=f"the arguments are: {', '.join(schema['properties'])}",
            )
        defaults = {
            key: item["default"] for key, item in schema["properties"].items() if "default" in item
        }
        return signatures.native(self.method, {**defaults, **found})


def _limit(most: int, default: int, what: str) -> Schema:
    return {
        "type": "integer",
        "minimum": 1,
        "maximum": most,
        "default": default,
        "description": f"{what} at most.",
    }


def _steer(action: str) -> Callable[..., dict[str, Any]]:
    def answer(sdk: QuantSDK, **given: Any) -> dict[str, Any]:
        steered: dict[str, Any] = getattr(sdk, action)(**given).to_dict()
        return steered

    return answer


def _explain(sdk: QuantSDK, **given: Any) -> dict[str, Any]:
    return sdk.explain(**given).to_dict()


_STEERED: Mapping[str, Schema] = {
    "scope": {"description": "`*` for every run, a stage id or a run id."},
    "reason": {"description": "for people who find it so."},
}

TOOLS = (
    Tool(
        name="list_stages",
        method="stages",
        answer=documents.stages,
        output=answers.stages,
        more={
            "category": {"description": "only stages of this category."},
            "tag": {"description": "only stages with this tag."},
        },
        says="Plugins that could not be imported are listed under broken.",
    ),
    Tool(
        name="describe_stage",
        method="describe",
        answer=lambda sdk, **given: sdk.describe(**given),
        output=answers.description,
        says="Its params_schema says what validate_stage and run_stage take as params.",
    ),
    Tool(
        name="validate_stage",
        method="validate_stage",
        answer=lambda sdk, **given: sdk.validate_stage(**given).to_dict(),
        output=answers.validation,
    ),
    Tool(
        name="run_stage",
        method="run_stage",
        answer=lambda sdk, **given: documents.outcome(sdk.run_stage(**given, detach=True)),
        output=answers.handle,
        writes=True,
        idempotent=False,
        leave_out=("detach", "stop", "on_start"),
        more={"params": {"description": "what the stage's params_schema asks for."}},
        instead="Start a stage in a process of its own that outlives this server; return its "
        "handle at once. Follow it with wait_run.",
    ),
    Tool(
        name="run_status",
        method="status",
        answer=documents.statuses,
        output=answers.statuses,
        more={
            "scope": {"description": "a stage id or a run id; without it, everything live."},
            "since_seq": {"minimum": 0},
        },
    ),
    Tool(
        name="wait_run",
        method="wait",
        answer=lambda sdk, **given: sdk.wait(**given).to_dict(),
        output=answers.waited,
        more={
            "timeout": {
                "type": "number",
                "minimum": 0,
                "maximum": LONGEST_WAIT_SECONDS,
                "default": WAIT_SECONDS,
                "description": "seconds; when they are over, met is false and error is the "
                "retryable wait_timeout: call again.",
            }
        },
        says="Progress is notified meanwhile.",
    ),
    Tool(
        name="pause",
        method="pause",
        answer=_steer("pause"),
        output=answers.steered,
        writes=True,
        more=_STEERED,
    ),
    Tool(
        name="resume",
        method="resume",
        answer=_steer("resume"),
        output=answers.steered,
        writes=True,
        more=_STEERED,
    ),
    Tool(
        name="cancel",
        method="cancel",
        answer=_steer("cancel"),
        output=answers.steered,
        writes=True,
        destructive=True,
        idempotent=False,  # it ends what is live at the time
        more=_STEERED,
    ),
    Tool(
        name="throttle",
        method="throttle",
        answer=_steer("throttle"),
        output=answers.steered,
        writes=True,
        more=_STEERED,
    ),
    Tool(
        name="tail_audit",
        method="tail",
        answer=documents.events,
        output=answers.events,
        leave_out=("follow", "stop"),
        more={
            "run_id": {"description": "only this run's events."},
            "since_seq": {
                "minimum": 0,
                "description": "events of run_id after this one; next_cursor of the last answer.",
            },
            "limit": _limit(MOST_EVENTS, documents.EVENTS, "events"),
        },
        instead="Return audit events, oldest first: the newest ones, or with since_seq the next.",
    ),
    Tool(name="explain", method="explain", answer=_explain, output=answers.explanation),
    Tool(
        name="read_bars",
        method="bars",
        answer=documents.bars,
        output=answers.bars,
        more={"limit": _limit(MOST_BARS, documents.BARS, "bars")},
        says="next_cursor is the start of the next page.",
    ),
)


def find(name: str, *, allow_writes: bool) -> Tool:
    """Return the tool of that name.

    Raises:
        UnknownName: there is none; the nearest ones are in the fix.
        InvalidInput: it writes, and this server may not.
    """
    known = {tool.name: tool for tool in TOOLS}
    if name not in known:
        raise UnknownName(name, known, fix=None)
    if known[name].writes and not allow_writes:
        raise InvalidInput(
            f"{name} writes, and this server is read-only",
            fix="start the server with: quant mcp --allow-writes",
        )
    return known[name]
