"""A stand-in for the ingestion endpoint of Application Insights, which keeps what arrives."""

import gzip
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from tempfile import TemporaryDirectory
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer


@dataclass
class Ingestion:
    """What has arrived at an address."""

    url: str = ""
    folder: str = ""
    """Where the exporter keeps what it could not send: the next test must not receive that."""
    items: list[dict[str, Any]] = field(default_factory=list)

    @property
    def settings(self) -> dict[str, str]:
        """App settings that send the worker's telemetry here, soon, and nothing to Microsoft."""
        return {
            "PYTHON_APPLICATIONINSIGHTS_ENABLE_TELEMETRY": "true",
            "PYTHON_APPLICATIONINSIGHTS_LOGGER_NAME": "delete_session",
            "APPLICATIONINSIGHTS_CONNECTION_STRING": "InstrumentationKey="
            f"00000000-0000-0000-0000-000000000001;IngestionEndpoint={self.url};LiveEndpoint={self.url}",
            "APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL": "true",
            "APPLICATIONINSIGHTS_CONTROLPLANE_DISABLED": "true",
            "TMPDIR": self.folder,
            "OTEL_METRIC_EXPORT_INTERVAL": "500",
            "OTEL_BLRP_SCHEDULE_DELAY": "200",
        }

    def kinds(self, *kinds: str) -> list[dict[str, Any]]:
        """Return the data of these kinds, e.g. MessageData."""
        return [
            item["data"]["baseData"] for item in self.items if item["data"]["baseType"] in kinds
        ]

    @property
    def logged(self) -> list[str]:
        """The texts of all log lines and exceptions."""
        return [
            data.get("message") or data["exceptions"][0]["message"]
            for data in self.kinds("MessageData", "ExceptionData")
        ]

    async def _receive(self, request: web.Request) -> web.Response:
        body = await request.read()
        if body.startswith(b"\x1f\x8b"):
            body = gzip.decompress(body)
        items = json.loads(body) if request.path.endswith("/track") else []
        self.items += items
        accepted = {"itemsReceived": len(items), "itemsAccepted": len(items), "errors": []}
        return web.json_response(accepted)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["Ingestion"]:
        """Serve on a free port."""
        app = web.Application(client_max_size=1 << 28)
        app.router.add_route("*", "/{path:.*}", self._receive)
        with TemporaryDirectory(ignore_cleanup_errors=True) as self.folder:
            async with TestServer(app) as server:
                self.url = str(server.make_url("/"))
                yield self
