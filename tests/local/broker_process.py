"""A broker as a separate process, for tests."""

import contextlib
import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

DEADLINE_SECONDS = 10.0


class BrokerProcess:
    """A running broker; `kill` or `stop` it."""

    def __init__(self, arguments: Sequence[str] = ()) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "local.broker", *arguments],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the broker ended with {self.process.wait()}")
        self.facts: dict[str, Any] = json.loads(line)
        self.connection_string: str = self.facts["connection_string"]

    @classmethod
    @contextlib.contextmanager
    def running(cls, arguments: Sequence[str] = ()) -> Iterator[Self]:
        broker = cls(arguments)
        try:
            yield broker
        finally:
            broker.stop()

    @classmethod
    @contextlib.contextmanager
    def with_queues(
        cls, folder: Path, names: Iterable[str], **properties: object
    ) -> Iterator[Self]:
        """Run a broker with these queues, which are as the default one but for the properties."""
        properties = {
            "defaultMessageTimeToLive": "P2D",
            "deadLetteringOnMessageExpiration": True,
            "requiresDuplicateDetection": True,
            **properties,
        }
        config = folder / "broker.json"
        queues = [{"name": name, "properties": properties} for name in names]
        config.write_text(json.dumps({"queues": queues}))
        with cls.running(["--config", str(config)]) as broker:
            yield broker

    def with_key(self, name: str, key: str) -> str:
        """A connection string with another key."""
        return (
            f"Endpoint=sb://127.0.0.1:{self.facts['port']};SharedAccessKeyName={name};"
            f"SharedAccessKey={key};UseDevelopmentEmulator=true;"
        )

    def control(self, method: str, path: str, body: Any = None) -> Any:
        """The JSON answer of the control port; raises urllib.error.HTTPError."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.facts['control_port']}{path}", data=data, method=method
        )
        with urllib.request.urlopen(request, timeout=DEADLINE_SECONDS) as response:
            return json.load(response)

    def refusal(self, method: str, path: str, body: Any = None) -> tuple[int, str]:
        """The status and the error text of a request that must be refused."""
        try:
            answer = self.control(method, path, body)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)["error"]
        raise AssertionError(f"not refused: {answer}")

    def counts(self, queue: str) -> dict[str, int]:
        counts: dict[str, int] = self.control("GET", "/queues")[queue]
        return counts

    def events(self, queue: str) -> list[dict[str, Any]]:
        return [e for e in self.control("GET", "/ledger") if e["queue"].startswith(queue)]

    def kill(self) -> None:
        """End it as a crash would."""
        self.process.kill()
        self.process.wait(DEADLINE_SECONDS)

    def stop(self) -> int:
        """End it properly; returns its exit code."""
        if self.process.poll() is None:
            self.process.terminate()
        code = self.process.wait(DEADLINE_SECONDS)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


@dataclass(frozen=True, slots=True)
class OwnQueue:
    """A queue that only one test uses, of a broker that others use before and after."""

    broker: BrokerProcess
    name: str


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for a condition; fails when it does not come true in time."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"did not happen: {what}"
        time.sleep(0.02)
