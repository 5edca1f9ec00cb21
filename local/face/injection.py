"""Errors and injected faults, put on the wire."""

import asyncio
import uuid
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from local.face.answers import ANSWERS, Answer
from local.face.errors import ApiError
from local.face.faults import Rule

_HUGE = 4 * 1024 * 1024


def error_response(
    error: ApiError, headers: Mapping[str, str] | None = None, *, retry_after_header: bool = True
) -> web.Response:
    """Return the documented form of an error, with the request id that every answer carries."""
    headers = {
        **error.headers,
        **(headers or {}),
        "x-ms-error-code": error.code,
        "apim-request-id": str(uuid.uuid4()),
    }
    if error.retry_after is not None and retry_after_header:
        headers["Retry-After"] = str(error.retry_after)
    return web.json_response(error.body, status=error.status, headers=headers)


def named_response(answer: Answer, headers: Mapping[str, str] | None = None) -> web.Response:
    """Return an answer that has a name."""
    headers = {**(headers or {}), "apim-request-id": str(uuid.uuid4())}
    if answer.code_header:
        headers["x-ms-error-code"] = answer.code_header
    if isinstance(answer.body, str):
        return web.Response(
            status=answer.status, text=answer.body, content_type="text/html", headers=headers
        )
    return web.json_response(answer.body, status=answer.status, headers=headers)


async def fail(request: web.Request, rule: Rule, entry: dict[str, Any]) -> web.StreamResponse:
    """Apply a rule to a call, and note the answer in its entry."""
    transport = request.transport
    assert transport is not None
    match rule.fault:
        case "disconnect":
            transport.close()
            return web.Response()
        case "hang":
            await asyncio.sleep(rule.seconds)
            transport.close()
            return web.Response()
        case "garbage":
            transport.write(b"\x16\x03\x01\x00not HTTP at all\r\n\r\n")
            transport.close()
            return web.Response()
    response = _failure(rule)
    entry["status"] = response.status
    entry["code"] = response.headers.get("x-ms-error-code")
    if rule.fault == "truncate":
        await response.prepare(request)
        await response.write(b'{"error": {"code"')
        transport.close()
    return response


def _failure(rule: Rule) -> web.StreamResponse:
    status = rule.status
    headers = dict(rule.headers)
    if rule.retry_after is not None:
        wait = rule.retry_after
        headers["Retry-After"] = f"{wait:g}" if isinstance(wait, int | float) else wait
    match rule.fault:
        case name if name in ANSWERS:
            return named_response(ANSWERS[name], headers)
        case "status" if rule.code is not None:
            error = ApiError(status, rule.code, rule.message, inner=rule.inner_code)
            return error_response(error, headers)
        case "truncate":
            return web.StreamResponse(status=status, headers={"Content-Length": "4096"})
        case "huge":
            return web.Response(status=status, body=b"x" * _HUGE, headers=headers)
        case "html":
            page = f"<html><head><title>{status}</title></head><body>Gateway</body></html>"
            return web.Response(status=status, text=page, content_type="text/html")
        case "redirect":
            return web.Response(status=307, headers={"Location": "http://127.0.0.1:9/"})
        case "other_json":
            return web.json_response({"statusCode": status, "error": ["odd"]}, status=status)
        case _:
            return web.Response(status=status, headers=headers)
