"""The local Face API and identity endpoint as processes, as new for each test."""

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from local import tokens

KEY = "k" * 32


def bearer(**more: Any) -> str:
    """A token that the Face API accepts."""
    token, _ = tokens.issue(KEY, tokens.AUDIENCE, **{"lifetime_seconds": 3600, **more})
    return token


@dataclass(frozen=True, slots=True)
class Emulator:
    """A running service."""

    facts: dict[str, Any]

    @property
    def url(self) -> str:
        """Scheme, host and port."""
        return f"http://127.0.0.1:{self.facts['port']}"

    def control(self, method: str, what: str, body: Any = None) -> Any:
        """Return the JSON answer of its control."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/_local/{what}", data=data, method=method)
        with urllib.request.urlopen(request, timeout=5) as response:
            return json.load(response)


def running(module: str, *arguments: str) -> Iterator[Emulator]:
    process = subprocess.Popen(
        [sys.executable, "-m", module, "--signing-key", KEY, *arguments],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield Emulator(json.loads(process.stdout.readline()))
    finally:
        process.terminate()
        assert process.wait(5) == 0
        process.stdout.close()


@pytest.fixture(scope="session")
def _face_process() -> Iterator[tuple[Emulator, Any]]:
    for service in running("local.face", "--limit", "none"):
        yield service, service.control("GET", "config")


@pytest.fixture
def face_service(_face_process: tuple[Emulator, Any]) -> Emulator:
    """The Face API without a rate limit, put back to how it started, but for its record of calls."""
    service, config = _face_process
    service.control("DELETE", "faults")
    service.control("DELETE", "sessions")
    service.control("POST", "config", config)
    return service


@pytest.fixture
def new_face_service() -> Iterator[Emulator]:
    """A separate Face API, for a test of its initial state and its records."""
    yield from running("local.face", "--limit", "none")


@pytest.fixture(scope="session")
def _identity_process() -> Iterator[tuple[Emulator, Any]]:
    for service in running("local.identity"):
        yield service, service.control("GET", "config")


@pytest.fixture
def identity_service(_identity_process: tuple[Emulator, Any]) -> Emulator:
    """The identity endpoint, put back to how it started, but for its record of calls."""
    service, config = _identity_process
    service.control("POST", "config", config)
    return service


@pytest.fixture
def new_identity_service() -> Iterator[Emulator]:
    """A separate identity endpoint, for a test of its records."""
    yield from running("local.identity")
