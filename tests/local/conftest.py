"""The local Face API and identity endpoint as processes, one of each per test."""

import json
import subprocess
import sys
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


@pytest.fixture
def face_service() -> Iterator[Emulator]:
    """The Face API without a rate limit."""
    yield from running("local.face", "--limit", "none")


@pytest.fixture
def identity_service() -> Iterator[Emulator]:
    """The identity endpoint."""
    yield from running("local.identity")
