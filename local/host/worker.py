"""The platform's worker for Python 3.13, in-process: indexing and invocation.

It is `azure-functions-runtime`, unchanged, called as the platform's proxy worker calls it: with
protobuf messages, each invocation in a task of the worker's own kind. On the platform, the messages
come over gRPC.
"""

import asyncio
import json
import re
import secrets
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import azure_functions_runtime as runtime

from local.host.messages import messages, typed_data

_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")


class IndexingFailed(Exception):
    """The app could not be loaded; the text is what the platform would show."""


@dataclass(frozen=True, slots=True)
class Function:
    """One indexed function: its id, its name and its bindings as function.json would have them."""

    id: str
    name: str
    bindings: list[dict[str, Any]]


class WorkerTask(asyncio.Task[Any]):
    """Hands the id of its invocation on to the tasks that it starts."""

    def __init__(self, coro: Any, *, loop: asyncio.AbstractEventLoop, **more: Any) -> None:
        super().__init__(coro, loop=loop, **more)
        self.invocation_id = getattr(asyncio.current_task(loop), "invocation_id", None)


def _task(loop: asyncio.AbstractEventLoop, coro: Any, **more: Any) -> WorkerTask:
    return WorkerTask(coro, loop=loop, **more)


async def index(app_directory: Path) -> list[Function]:
    """Load `function_app.py` from a directory; from now on, the loop's tasks are `WorkerTask`s.

    Raises:
        IndexingFailed: the import or a binding failed.
    """
    asyncio.get_running_loop().set_task_factory(_task)
    runtime.start_threadpool_executor()
    init = messages.WorkerInitRequest(function_app_directory=str(app_directory))
    response = await runtime.worker_init_request(_to_runtime(worker_init_request=init))
    if response.result.status != messages.StatusResult.Success:
        raise IndexingFailed(response.result.exception.message)
    asked = messages.FunctionsMetadataRequest(function_app_directory=str(app_directory))
    response = await runtime.functions_metadata_request(
        _to_runtime(functions_metadata_request=asked)
    )
    return [
        Function(found.function_id, found.name, [json.loads(raw) for raw in found.raw_bindings])
        for found in response.function_metadata_results
    ]


def _to_runtime(**content: Any) -> SimpleNamespace:
    return SimpleNamespace(
        request=messages.StreamingMessage(**content),
        properties={"host": "127.0.0.1", "protos": messages},
    )


def invocation_request(
    function: Function, parameter: str, body: bytes | str, metadata: Mapping[str, object]
) -> bytes:
    """Return the request to invoke a function, as the host sends it."""
    request = messages.InvocationRequest(
        invocation_id=str(uuid.uuid4()),
        function_id=function.id,
        input_data=[messages.ParameterBinding(name=parameter, data=typed_data(body))],
        trigger_metadata={
            name: typed_data(value) for name, value in metadata.items() if value is not None
        },
        trace_context=messages.RpcTraceContext(trace_parent=_trace_parent(metadata)),
    )
    raw: bytes = messages.StreamingMessage(invocation_request=request).SerializeToString()
    return raw


def _trace_parent(metadata: Mapping[str, object]) -> str:
    """Return a span in the publisher's trace if there is one, as the host's Service Bus client does."""
    properties = metadata.get("ApplicationProperties")
    given = properties if isinstance(properties, dict) else {}
    parent = _TRACEPARENT.fullmatch(str(given.get("traceparent") or given.get("Diagnostic-Id")))
    return f"00-{parent[1] if parent else secrets.token_hex(16)}-{secrets.token_hex(8)}-01"


async def handle(raw: bytes) -> Any:
    """Handle the request to invoke a function, as the worker does; return its response.

    It must run as a separate task.
    """
    message = messages.StreamingMessage.FromString(raw)
    task = asyncio.current_task()
    assert isinstance(task, WorkerTask)
    task.invocation_id = message.invocation_request.invocation_id
    return await runtime.invocation_request(SimpleNamespace(request=message, properties=None))


async def invoke(
    function: Function, parameter: str, body: bytes | str, metadata: Mapping[str, object]
) -> str | None:
    """Invoke a function; return None if it succeeded, else what it raised, with the traceback."""
    response = await handle(invocation_request(function, parameter, body, metadata))
    result = response.result
    if result.status == messages.StatusResult.Success:
        return None
    return f"{result.exception.message}\n{result.exception.stack_trace}"
