"""Where the commands connect to: their options, then the function's own environment variables."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Literal, Self

from azure.servicebus import ServiceBusSubQueue
from azure.servicebus.aio import ServiceBusClient, ServiceBusReceiver, ServiceBusSender

from delete_session.connection import CONNECTION, ServiceBusConnection, service_bus_connection
from delete_session.endpoint import face_scope as scope_of
from delete_session.queue import open_client
from delete_session.settings import TABLE, receipts_problem
from revoker.caller import Caller
from revoker.failure import Exit, Failure
from revoker.service_bus_errors import QUEUE_NAMED_BY, explain

RETRIES = 1
CLOSE_SECONDS = 0.02
ANSWER_SECONDS = 30.0
"""How long the broker may take to answer; it is waited for no longer."""

type Right = Literal["Send", "Listen"]

# Failures say what went wrong: without a handler, the SDK's tracebacks would be on standard error, too.
logging.getLogger("azure").addHandler(logging.NullHandler())


async def answered[T](operation: Awaitable[T]) -> T:
    """Return what an operation of the broker returns.

    Raises:
        TimeoutError: there was no answer in time.
    """
    async with asyncio.timeout(ANSWER_SECONDS):
        return await operation


@dataclass(frozen=True, slots=True)
class Options:
    """The connection options of the command line; None leaves the environment's value."""

    namespace: str | None = None
    queue: str | None = None
    outcome_queue: str | None = None
    face_endpoint: str | None = None
    api_version: str | None = None

    def applied(self, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
        """Return the environment with these options applied."""
        values = dict(environment)
        if self.namespace is not None:
            namespace = f"{CONNECTION}__fullyQualifiedNamespace"
            # In any letter case, because the connection is read case-insensitively.
            replaced = (CONNECTION.lower(), namespace.lower())
            values = {k: v for k, v in values.items() if k.lower() not in replaced}
            values[namespace] = self.namespace
        for name, value in (
            (TABLE["queue"].name, self.queue),
            (TABLE["outcome_queue"].name, self.outcome_queue),
            (TABLE["face_endpoint"].name, self.face_endpoint),
            (TABLE["face_api_version"].name, self.api_version),
        ):
            if value is not None:
                values[name] = value
        return values


def setting(field: str, environment: Mapping[str, str]) -> str:
    """Return one text setting of the function, by its field in Settings.

    Raises:
        Failure: it is missing or wrong.
    """
    row = TABLE[field]
    try:
        return str(row.parse(environment.get(row.name, "").strip() or row.default))
    except ValueError as error:
        raise Failure(
            f"{row.name} {error}.",
            f"Set {row.name}, or use the option for it (see --help).",
            Exit.USAGE,
        ) from None


def face_scope(environment: Mapping[str, str]) -> str:
    """Return the scope of the tokens that the Face API accepts.

    Raises:
        Failure: a setting is missing or wrong.
    """
    given = setting("face_token_scope", environment)
    try:
        return scope_of(setting("face_endpoint", environment), given)
    except ValueError as error:
        raise Failure(
            f"{error}.", "Set FACE_TOKEN_SCOPE, or use --face-endpoint.", Exit.USAGE
        ) from None


@dataclass(frozen=True, slots=True)
class QueueAddress:
    """One queue of one namespace, and how to log in to it."""

    connection: ServiceBusConnection
    queue: str
    named_by: str = QUEUE_NAMED_BY
    """The option or setting that names the queue."""

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Self:
        """Read the address from the function's settings.

        Raises:
            Failure: it is missing or wrong.
        """
        queue = setting("queue", environment)
        try:
            connection = service_bus_connection(environment)
        except ValueError as error:
            raise Failure(
                f"{error}.",
                "Set it, or use --namespace (and log in with 'az login'). For the local cloud, "
                "paste the export lines that make run ARGS=--serve prints.",
                Exit.USAGE,
            ) from None
        return cls(connection, queue)

    def outcomes(self, environment: Mapping[str, str]) -> "QueueAddress | None":
        """Return the address of the receipts, a queue or a topic; None if there are none.

        Raises:
            Failure: it is wrong.
        """
        row = TABLE["outcome_queue"]
        try:
            name: str | None = row.parse(environment.get(row.name, "").strip())
            problem = receipts_problem(name, self.queue)
        except ValueError as error:
            name, problem = None, f"{row.name} {error}"
        if problem:
            raise Failure(f"{problem}.", "Use --outcome-queue.", Exit.USAGE)
        if not name:
            return None
        return QueueAddress(self.connection, name, f"--outcome-queue or {row.name}")

    @property
    def where(self) -> str:
        """The namespace, for people. Never holds a key."""
        if self.connection.fully_qualified_namespace:
            return self.connection.fully_qualified_namespace
        parts = (self.connection.connection_string or "").split(";")
        named = dict(part.strip().partition("=")[::2] for part in parts)
        endpoint = next((v for k, v in named.items() if k.lower() == "endpoint"), "")
        return endpoint.removeprefix("sb://").strip("/")

    @asynccontextmanager
    async def client(self) -> AsyncIterator[ServiceBusClient]:
        """Open a client that logs in as the function does."""
        async with AsyncExitStack() as stack:
            try:
                client, login = open_client(self.connection, RETRIES)
            except ValueError:  # its text might repeat some of the connection string
                raise Failure(
                    f"{CONNECTION} is not a usable connection string.",
                    "Copy it again from where it is kept, or set "
                    f"{CONNECTION}__fullyQualifiedNamespace and log in with 'az login'.",
                    Exit.USAGE,
                ) from None
            if login is not None:
                stack.push_async_callback(login.close)
            stack.push_async_callback(_close, client)
            yield client

    @asynccontextmanager
    async def explained(self, right: Right) -> AsyncIterator[None]:
        """Turn the SDK's errors into a Failure that names the cause and the remedy."""
        try:
            yield
        except Failure:
            raise
        except Exception as error:
            caller = Caller.of(self.connection.connection_string)
            port = 443 if self.connection.websockets else 5671
            raise explain(
                error, self.where, self.queue, right, self.named_by, caller, port
            ) from error

    @asynccontextmanager
    async def receiver(self, *, dead_letters: bool = False) -> AsyncIterator[ServiceBusReceiver]:
        """Open a receiver. It receives nothing until it is asked, and needs the right Listen."""
        sub_queue = ServiceBusSubQueue.DEAD_LETTER if dead_letters else None
        async with self.explained("Listen"), self.client() as client:
            receiver = client.get_queue_receiver(self.queue, sub_queue=sub_queue)
            try:
                yield await answered(receiver.__aenter__())
            finally:
                await _close(receiver)

    @asynccontextmanager
    async def sender(self) -> AsyncIterator[ServiceBusSender]:
        """Open a sender. It needs the right Send."""
        async with self.explained("Send"), self.client() as client:
            sender = client.get_queue_sender(self.queue)
            try:
                yield await answered(sender.__aenter__())
            finally:
                await _close(sender)


async def _close(link: ServiceBusClient | ServiceBusReceiver | ServiceBusSender) -> None:
    # Everything is confirmed by now. The SDK writes its last frames within a millisecond, and then
    # waits for its keep-alive task to wake up, which takes up to a second and is of no use here.
    with suppress(TimeoutError):
        async with asyncio.timeout(CLOSE_SECONDS):
            await link.close()
