"""Every verb ends, whatever the other side does or does not do."""

import asyncio
import contextlib
import math
import re
import socket
import threading
import time
from collections.abc import Coroutine, Iterator
from typing import Any

import pytest
import typer
from azure.servicebus.exceptions import OperationTimeoutError

from revoker import connection, face
from revoker.cli import desk, running
from revoker.cli.app import app
from revoker.cli.dead_letters import dead_letters
from revoker.failure import Exit, Failure
from revoker.service_bus_errors import explain
from revoker.upload import upload
from tests.revoker.conftest import revoker


@contextlib.contextmanager
def listening(say: bytes = b"") -> Iterator[int]:
    """A server that accepts, says something again and again, and never what one waits for."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        ended = threading.Event()

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client, _ = server.accept()
                    threading.Thread(target=drip, args=(client,), daemon=True).start()

        def drip(client: socket.socket) -> None:
            with client, contextlib.suppress(OSError):
                if say:
                    client.recv(4096)
                    client.sendall(say)
                while not ended.wait(0.1):
                    if say:
                        client.sendall(b"x")

        threading.Thread(target=accept, daemon=True).start()
        try:
            yield server.getsockname()[1]
        finally:
            ended.set()
            server.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(
    "verb",
    [
        ("status",),
        ("publish", "a"),
        ("dead-letters", "list"),
        ("dead-letters", "show", "1"),
        ("dead-letters", "resubmit", "--all"),
        ("dead-letters", "discard", "--all", "--yes"),
        ("dead-letters", "receipts", "--outcome-queue", "receipts"),
    ],
)
def test_a_broker_that_is_silent_ends_a_verb(
    verb: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It accepts the connection, and then there is nothing more: that is said, in time."""
    monkeypatch.setattr(connection, "ANSWER_SECONDS", 0.5)
    with listening() as port:
        string = f"Endpoint=sb://127.0.0.1:{port};SharedAccessKeyName=n;SharedAccessKey=c2Vj;"
        began = time.monotonic()
        ran = revoker({"ServiceBusConnection": string + "UseDevelopmentEmulator=true;"}, *verb)
        assert time.monotonic() - began < 10
    assert ran.code == 3
    assert f"127.0.0.1:{port} does not answer" in ran.err


async def test_a_face_api_that_drips_ends_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each byte restarts the client's timeout, but not that of the call."""
    monkeypatch.setattr(face, "CALL_SECONDS", 0.5)
    with listening(b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n") as port:
        async with face.Face.open(f"http://127.0.0.1:{port}", None) as api:
            with pytest.raises(Failure, match=r"no whole answer within 0\.5 s"):
                await api.call("GET", "v1.2", "liveness", "a")


async def test_a_workspace_that_drips_ends_an_upload(monkeypatch: pytest.MonkeyPatch) -> None:
    """Likewise."""

    async def token(*_: object) -> str:
        return "t"

    monkeypatch.setattr(face, "token", token)
    monkeypatch.setattr(face, "CALL_SECONDS", 0.5)
    with (
        listening(b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n") as port,
        pytest.raises(Failure, match=r"no whole answer within 0\.5 s"),
    ):
        await upload(f"http://127.0.0.1:{port}/x", [b"{}"])


def test_a_verb_has_a_total_limit() -> None:
    """However often something answers."""
    with pytest.raises(Failure, match="not done within") as failed:
        running.run(asyncio.sleep(60), seconds=0.01)
    assert failed.value.code is Exit.UNREACHABLE


def test_the_total_limit_counts_from_the_beginning_of_the_verb() -> None:
    """A verb that does several things has one limit for all of them."""

    def verb() -> None:
        with running.reporting(as_json=False):
            running.run(asyncio.sleep(0.2), seconds=0.3)
            running.run(asyncio.sleep(0.2), seconds=0.3)

    with pytest.raises(typer.Exit):
        verb()


@pytest.mark.parametrize("error", [TimeoutError(), OperationTimeoutError()])
def test_silence_is_called_silence(error: Exception) -> None:
    """And not a port that is closed."""
    failure = explain(error, "ns", "q", "Listen")
    assert failure.cause == "ns does not answer."
    assert "5671" not in failure.remedy


def test_help_states_the_limits() -> None:
    """Each verb says when it ends at the latest, in the figures that hold."""
    commands = [*app.registered_commands, *dead_letters.registered_commands]
    assert len(commands) == 13
    for command in commands:
        said = re.sub(r"\s+", " ", str(command.epilog))
        for text in (
            f"{connection.ANSWER_SECONDS:g} s for each answer of Service Bus",
            f"{face.CALL_SECONDS:g} s for each of the Face API",
            f"{running.LOOK_SECONDS / 60:g} minutes for a verb that only looks",
            f"{running.WORK_SECONDS / 3600:g} hour for one that changes something",
        ):
            assert text in said, (command.callback, text)


def test_the_desk_has_no_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The desk runs until Ctrl-C, while every other verb ends."""
    limits: list[float] = []

    def run(serving: Coroutine[Any, Any, None], seconds: float) -> None:
        serving.close()
        limits.append(seconds)

    monkeypatch.setattr(desk, "run", run)
    assert revoker({}, "desk").code == 0
    assert limits == [math.inf]
