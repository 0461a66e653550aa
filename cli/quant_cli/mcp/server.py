"""The server: lists the tools, calls them in threads, and turns errors into results."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import anyio.to_thread
from mcp.server import Server
from mcp.shared.exceptions import MCPError
from mcp.types import (
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    ContentBlock,
    ListResourcesResult,
    ListResourceTemplatesResult,
    ListToolsResult,
    PaginatedRequestParams,
    ReadResourceRequestParams,
    ReadResourceResult,
    TextContent,
    ToolAnnotations,
)
from mcp.types import Tool as ListedTool

from quant_cli import documents
from quant_cli.mcp import resources
from quant_cli.mcp.tools import TOOLS, Tool, find
from quant_cli.mcp.waiting import wait_run
from quant_cli.output import dump
from quant_sdk import QuantError

if TYPE_CHECKING:
    from mcp.server import ServerRequestContext

    from quant_sdk import QuantSDK

NAME = "quant-stage-sdk"
INSTRUCTIONS = (
    "Stages are declared jobs on market data. Work in this order: list_stages, describe_stage for "
    "its params_schema, validate_stage, run_stage with the plan_hash of the validation and an "
    "idempotency_key of yours, then wait_run with the run_id. A run goes on without you; pause, "
    "resume and cancel it by its run_id. When it does not move, ask explain. "
    "An error carries code, message, fix and retryable: do what fix says."
)

log = logging.getLogger(__name__)


class QuantServer:
    """The SDK of one workspace, behind the protocol.

    Args:
        sdk: whose stages and runs.
        allow_writes: also list what starts, pauses, resumes and cancels.
    """

    def __init__(self, sdk: QuantSDK, *, allow_writes: bool = False) -> None:
        self._sdk = sdk
        self._allow_writes = allow_writes
        self._listed = [_listed(tool, sdk) for tool in TOOLS if allow_writes or not tool.writes]
        self.protocol: Server[Any] = Server(
            NAME,
            version=_version(),
            title="Data-operations stages for quant teams",
            instructions=INSTRUCTIONS,
            on_list_tools=self._list_tools,
            on_call_tool=self._call_tool,
            on_list_resources=self._list_resources,
            on_list_resource_templates=self._list_templates,
            on_read_resource=self._read_resource,
        )

    async def _list_tools(
        self, _: ServerRequestContext[Any], __: PaginatedRequestParams | None
    ) -> ListToolsResult:
        return ListToolsResult(tools=self._listed)

    async def _call_tool(
        self, ctx: ServerRequestContext[Any], params: CallToolRequestParams
    ) -> CallToolResult:
        try:
            tool = find(params.name, allow_writes=self._allow_writes)
            document = await self._answer(ctx, tool, tool.arguments(params.arguments))
        except Exception as error:  # noqa: BLE001 - every failure becomes an answer
            return _failed(error)
        return _answered(document)

    async def _answer(
        self, ctx: ServerRequestContext[Any], tool: Tool, given: dict[str, Any]
    ) -> dict[str, Any]:
        if tool.name == "wait_run":
            return await wait_run(self._sdk, ctx.session.report_progress, given)
        return await anyio.to_thread.run_sync(lambda: tool.answer(self._sdk, **given))

    async def _list_resources(
        self, _: ServerRequestContext[Any], __: PaginatedRequestParams | None
    ) -> ListResourcesResult:
        found = await anyio.to_thread.run_sync(resources.resources, self._sdk)
        return ListResourcesResult(resources=found)

    async def _list_templates(
        self, _: ServerRequestContext[Any], __: PaginatedRequestParams | None
    ) -> ListResourceTemplatesResult:
        return ListResourceTemplatesResult(resource_templates=resources.templates())

    async def _read_resource(
        self, _: ServerRequestContext[Any], params: ReadResourceRequestParams
    ) -> ReadResourceResult:
        try:
            content = await anyio.to_thread.run_sync(resources.read, self._sdk, params.uri)
        except QuantError as error:
            # Resources have no result that is an error.
            raise MCPError(INVALID_PARAMS, error.message, error.to_dict()) from error
        return ReadResourceResult(contents=[content])


def _listed(tool: Tool, sdk: QuantSDK) -> ListedTool:
    schema = tool.input_schema()
    if "stage_id" in schema["properties"]:
        schema["properties"]["stage_id"]["examples"] = [spec.id for spec in sdk.registry]
    return ListedTool(
        name=tool.name,
        description=tool.description,
        input_schema=schema,
        output_schema=tool.output(),
        annotations=_annotations(tool, sdk),
    )


def _annotations(tool: Tool, sdk: QuantSDK) -> ToolAnnotations:
    """Return the hints; what a run may do is what the stages that are declared say they do."""
    effects = [spec.effects for spec in sdk.registry] if tool.name == "run_stage" else []
    return ToolAnnotations(
        read_only_hint=not tool.writes,
        destructive_hint=tool.destructive or any(effect.destructive for effect in effects),
        idempotent_hint=tool.idempotent,
        open_world_hint=any(effect.network for effect in effects),
    )


def _answered(document: dict[str, Any]) -> CallToolResult:
    return CallToolResult(content=_text(document), structured_content=documents.as_json(document))


def _failed(error: Exception) -> CallToolResult:
    """Return an error as text: clients hold structured content against the output schema."""
    return CallToolResult(content=_text(_described(error)), is_error=True)


def _text(document: dict[str, Any]) -> list[ContentBlock]:
    return [TextContent(type="text", text=dump(document).decode().rstrip("\n"))]


def _described(error: Exception) -> dict[str, Any]:
    if isinstance(error, QuantError):
        return error.to_dict()
    log.error("a tool failed", exc_info=error)
    return {
        "code": "internal",
        "message": f"{type(error).__name__}: {error}",
        "fix": "see the traceback on the server's stderr",
        "retryable": False,
    }


def _version() -> str:
    import quant_sdk

    version: str = quant_sdk.__version__
    return version
