"""Where the commands connect to: their options, then the function's own environment variables."""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Literal, Self

from azure.servicebus import ServiceBusSubQueue
from azure.servicebus.aio import ServiceBusClient, ServiceBusReceiver, ServiceBusSender

from delete_session.settings import CONNECTION, TABLE, ServiceBusConnection, service_bus_connection
from revoker.failure import Exit, Failure
from revoker.service_bus_errors import explain

RETRIES = 1
CLOSE_SECONDS = 0.02

type Right = Literal["Send", "Listen"]


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says about where to connect; None leaves the environment's value."""

    namespace: str | None = None
    queue: str | None = None
    face_endpoint: str | None = None
    api_version: str | None = None

    def applied(self, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
        """Return the environment with these options put in."""
        values = dict(environment)
        if self.namespace is not None:
            values[f"{CONNECTION}__fullyQualifiedNamespace"] = self.namespace
            values.pop(CONNECTION, None)
        for name, value in (
            (TABLE["queue"].name, self.queue),
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
    text = environment.get(row.name, "").strip() or row.default
    try:
        if text is not None:
            return str(row.parse(text))
        row.parse("")
    except ValueError as error:
        missing = "is not set; it " if text is None else ""
        raise Failure(
            f"{row.name} {missing}{error}.",
            f"Set {row.name}, or use the option for it (see --help).",
            Exit.USAGE,
        ) from None
    raise AssertionError(field)  # a required setting refuses the empty text


@dataclass(frozen=True, slots=True)
class QueueAddress:
    """One queue of one namespace, and how to log in to it."""

    connection: ServiceBusConnection
    queue: str

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Self:
        """Read the address from the function's settings.

        Raises:
            Failure: it is missing or wrong.
        """
        try:
            connection = service_bus_connection(environment)
        except ValueError as error:
            raise Failure(
                f"{error}.", "Set it, or use --namespace (and log in with 'az login').", Exit.USAGE
            ) from None
        return cls(connection, setting("queue", environment))

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
        connection = self.connection
        async with AsyncExitStack() as stack:
            if connection.connection_string:
                try:
                    client = ServiceBusClient.from_connection_string(
                        connection.connection_string, retry_total=RETRIES
                    )
                except ValueError:  # its text might repeat some of the connection string
                    raise Failure(
                        f"{CONNECTION} is not a usable connection string.",
                        "Copy it again from where it is kept, or set "
                        f"{CONNECTION}__fullyQualifiedNamespace and log in with 'az login'.",
                        Exit.USAGE,
                    ) from None
            else:
                # Imported here: with a connection string nobody waits for azure.identity to load.
                from delete_session.identity import credential

                assert connection.fully_qualified_namespace is not None
                login = credential(connection.client_id)
                stack.push_async_callback(login.close)
                client = ServiceBusClient(
                    connection.fully_qualified_namespace, login, retry_total=RETRIES
                )
            yield await stack.enter_async_context(client)

    @asynccontextmanager
    async def explained(self, right: Right) -> AsyncIterator[None]:
        """Turn the SDK's errors into a Failure that names the cause and the remedy."""
        try:
            yield
        except Failure:
            raise
        except Exception as error:
            raise explain(error, self.where, self.queue, right) from error

    @asynccontextmanager
    async def receiver(self, *, dead_letters: bool = False) -> AsyncIterator[ServiceBusReceiver]:
        """Open a receiver. It takes no message until it is told to, and needs the right Listen."""
        sub_queue = ServiceBusSubQueue.DEAD_LETTER if dead_letters else None
        async with self.explained("Listen"), self.client() as client:
            receiver = client.get_queue_receiver(self.queue, sub_queue=sub_queue)
            try:
                yield await receiver.__aenter__()
            finally:
                await _close(receiver)

    @asynccontextmanager
    async def sender(self) -> AsyncIterator[ServiceBusSender]:
        """Open a sender. It needs the right Send."""
        async with self.explained("Send"), self.client() as client:
            sender = client.get_queue_sender(self.queue)
            try:
                yield await sender.__aenter__()
            finally:
                await _close(sender)


async def _close(link: ServiceBusReceiver | ServiceBusSender) -> None:
    # Everything is confirmed by now. The SDK writes its last frames within a millisecond, and then
    # waits for its keep-alive task to wake up, which takes up to a second and is of no use here.
    with suppress(TimeoutError):
        async with asyncio.timeout(CLOSE_SECONDS):
            await link.close()
