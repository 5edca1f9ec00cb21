"""The production Python worker's runtime, in-process: indexing, metadata, invocation.

It is `azure-functions-runtime`, unchanged. The worker that wraps it on the platform talks to the
host in protobuf over gRPC; here, plain objects stand in for those messages.
"""

import datetime
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import azure_functions_runtime as runtime
from azure_functions_runtime import native_invocation
from azure_functions_runtime.bindings.datumdef import Datum


class IndexingFailed(Exception):
    """The app could not be loaded; the text is what the platform would show."""


@dataclass(frozen=True, slots=True)
class Function:
    """One indexed function: its id, its name and its bindings as function.json would have them."""

    id: str
    name: str
    bindings: list[dict[str, Any]]


class _Messages:
    """Stands in for the generated protobuf module: any message is its fields."""

    class StatusResult(SimpleNamespace):
        Failure = 0
        Success = 1

    class BindingInfo(SimpleNamespace):
        out = 1
        inout = 2

    def __getattr__(self, name: str) -> type[SimpleNamespace]:
        return type(name, (SimpleNamespace,), {})


def _request(**fields: object) -> SimpleNamespace:
    return SimpleNamespace(
        request=SimpleNamespace(**fields),
        properties={"host": "127.0.0.1", "protos": _Messages()},
    )


async def index(app_directory: Path) -> list[Function]:
    """Load `function_app.py` from a directory.

    Raises:
        IndexingFailed: the import or a binding failed.
    """
    runtime.start_threadpool_executor()
    init = SimpleNamespace(capabilities={}, function_app_directory=str(app_directory))
    response = await runtime.worker_init_request(_request(worker_init_request=init))
    if response.result.status != _Messages.StatusResult.Success:
        raise IndexingFailed(response.result.exception.message)
    response = await runtime.functions_metadata_request(_request())
    return [
        Function(found.function_id, found.name, [json.loads(raw) for raw in found.raw_bindings])
        for found in response.function_metadata_results or []
    ]


async def invoke(
    function: Function, parameter: str, body: bytes | str, metadata: Mapping[str, object]
) -> str | None:
    """Invoke a function; return None if it succeeded, else what it raised, with the traceback."""
    ok, _, _, error, trace = await native_invocation.invocation_request_native(
        str(uuid.uuid4()),
        function.id,
        [(parameter, Datum(body, "bytes" if isinstance(body, bytes) else "string"))],
        {name: datum(value) for name, value in metadata.items() if value is not None},
    )
    return None if ok else f"{error}\n{trace}"


def datum(value: object) -> Datum:
    match value:
        case str():
            return Datum(value, "string")
        case int():
            return Datum(value, "int")
        case _:
            return Datum(json.dumps(value, default=_json), "json")


def _json(value: object) -> object:
    match value:
        case datetime.datetime():
            return value.isoformat()
        case bytes():
            return value.decode("utf-8", "replace")
        case _:
            return str(value)
