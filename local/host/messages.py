"""The protobuf messages between the platform's host and its worker, as far as they are needed here.

Names and numbers are those of FunctionRpc.proto (Azure/azure-functions-language-worker-protobuf). No
package has classes generated from it that work with Python 3.13.
"""

import base64
import json
from collections.abc import Mapping
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_PACKAGE = "AzureFunctionsRpcMessages"
_FIELDS: Mapping[str, Mapping[str, tuple[int, str]]] = {
    "StreamingMessage": {
        "request_id": (1, "string"),
        "invocation_request": (4, "InvocationRequest"),
        "invocation_response": (5, "InvocationResponse"),
        "worker_init_request": (17, "WorkerInitRequest"),
        "functions_metadata_request": (29, "FunctionsMetadataRequest"),
    },
    "WorkerInitRequest": {
        "capabilities": (2, "map string"),
        "function_app_directory": (5, "string"),
    },
    "WorkerInitResponse": {
        "capabilities": (2, "map string"),
        "result": (3, "StatusResult"),
        "worker_metadata": (4, "WorkerMetadata"),
    },
    "WorkerMetadata": {
        "runtime_name": (1, "string"),
        "runtime_version": (2, "string"),
        "worker_version": (3, "string"),
        "worker_bitness": (4, "string"),
        "custom_properties": (5, "map string"),
    },
    "StatusResult": {"status": (4, "StatusResult.Status"), "exception": (2, "RpcException")},
    "RpcException": {
        "stack_trace": (1, "string"),
        "message": (2, "string"),
        "source": (3, "string"),
    },
    "FunctionsMetadataRequest": {"function_app_directory": (1, "string")},
    "FunctionMetadataResponse": {
        "function_metadata_results": (1, "repeated RpcFunctionMetadata"),
        "result": (2, "StatusResult"),
        "use_default_metadata_indexing": (3, "bool"),
    },
    "RpcFunctionMetadata": {
        "directory": (1, "string"),
        "script_file": (2, "string"),
        "entry_point": (3, "string"),
        "name": (4, "string"),
        "bindings": (6, "map BindingInfo"),
        "is_proxy": (7, "bool"),
        "language": (9, "string"),
        "raw_bindings": (10, "repeated string"),
        "function_id": (13, "string"),
        "managed_dependency_enabled": (14, "bool"),
        "retry_options": (15, "RpcRetryOptions"),
        "properties": (16, "map string"),
    },
    "RpcRetryOptions": {"max_retry_count": (2, "int32")},
    "BindingInfo": {
        "type": (2, "string"),
        "direction": (3, "BindingInfo.Direction"),
        "data_type": (4, "BindingInfo.DataType"),
    },
    "InvocationRequest": {
        "invocation_id": (1, "string"),
        "function_id": (2, "string"),
        "input_data": (3, "repeated ParameterBinding"),
        "trigger_metadata": (4, "map TypedData"),
        "trace_context": (5, "RpcTraceContext"),
        "retry_context": (6, "RetryContext"),
    },
    "InvocationResponse": {
        "invocation_id": (1, "string"),
        "output_data": (2, "repeated ParameterBinding"),
        "result": (3, "StatusResult"),
        "return_value": (4, "TypedData"),
    },
    "ParameterBinding": {"name": (1, "string"), "data": (2, "TypedData")},
    "TypedData": {
        "string": (1, "string"),
        "json": (2, "string"),
        "bytes": (3, "bytes"),
        "int": (6, "sint64"),
        "double": (7, "double"),
    },
    "RpcTraceContext": {
        "trace_parent": (1, "string"),
        "trace_state": (2, "string"),
        "attributes": (3, "map string"),
    },
    "RetryContext": {
        "retry_count": (1, "int32"),
        "max_retry_count": (2, "int32"),
        "exception": (3, "RpcException"),
    },
}
_ENUMS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "StatusResult": {"Status": ("Failure", "Success", "Cancelled")},
    "BindingInfo": {
        "Direction": ("in", "out", "inout"),
        "DataType": ("undefined", "string", "binary", "stream"),
    },
}
_ONE_OF = {"StreamingMessage": "content", "ParameterBinding": "rpc_data", "TypedData": "data"}
"""A message's union; every field but the identifying ones belongs to it."""
_IDENTIFYING = ("request_id", "name")


def _file() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(
        name="FunctionRpc.proto", package=_PACKAGE, syntax="proto3"
    )
    for name, fields in _FIELDS.items():
        message = file.message_type.add(name=name)
        for enum, values in _ENUMS.get(name, {}).items():
            added = message.enum_type.add(name=enum)
            for number, value in enumerate(values):
                added.value.add(name=value, number=number)
        if name in _ONE_OF:
            message.oneof_decl.add(name=_ONE_OF[name])
        for field, (number, kind) in fields.items():
            one = _add_field(message, field, number, kind)
            if name in _ONE_OF and field not in _IDENTIFYING:
                one.oneof_index = 0
    return file


def _add_field(message: Any, name: str, number: int, kind: str) -> Any:
    label, _, of = kind.rpartition(" ")
    if label == "map":
        entry = message.nested_type.add(name=f"{name.title().replace('_', '')}Entry")
        entry.options.map_entry = True
        _add_field(entry, "key", 1, "string")
        _add_field(entry, "value", 2, of)
        of = f"{message.name}.{entry.name}"
    kinds = descriptor_pb2.FieldDescriptorProto
    field = message.field.add(name=name, number=number)
    field.label = kinds.LABEL_REPEATED if label else kinds.LABEL_OPTIONAL
    if of[0].islower():
        field.type = kinds.Type.Value(f"TYPE_{of.upper()}")
    else:
        owner, _, nested = of.partition(".")
        field.type = kinds.TYPE_ENUM if nested in _ENUMS.get(owner, ()) else kinds.TYPE_MESSAGE
        field.type_name = f".{_PACKAGE}.{of}"
    return field


class Messages:
    """The message classes, by name."""

    def __init__(self) -> None:
        pool = descriptor_pool.DescriptorPool()
        pool.Add(_file())
        self.classes: dict[str, Any] = {
            name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}"))
            for name in _FIELDS
        }

    def __getattr__(self, name: str) -> Any:
        try:
            return self.classes[name]
        except KeyError:
            raise AttributeError(name) from None


messages = Messages()


class Json(str):
    """A value that is in JSON already."""


def typed_data(value: object) -> Any:
    """Return a value as the platform's host hands it over: all but text, bytes and floats as JSON."""
    match value:
        case Json():
            return messages.TypedData(json=value)
        case str():
            return messages.TypedData(string=value)
        case bytes():
            return messages.TypedData(bytes=value)
        case float():
            return messages.TypedData(double=value)
        case _:
            return messages.TypedData(json=json.dumps(value, default=_json))


def _json(value: object) -> str:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)
