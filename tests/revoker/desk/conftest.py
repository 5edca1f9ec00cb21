"""A desk in this process, and what a browser would send it."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from revoker.desk.app import make_app
from revoker.desk.desk import Desk
from tests.local.broker_process import until
from tests.revoker.conftest import OneQueue

PORT = 4711


@dataclass(frozen=True, slots=True)
class Browser:
    """One that has opened the desk's address, unless it is said to be a stranger."""

    client: TestClient
    desk: Desk

    @property
    def origin(self) -> str:
        return str(self.client.base_url)

    def get(self, path: str, **headers: str) -> httpx.Response:
        response: httpx.Response = self.client.get(path, headers=headers, follow_redirects=True)
        return response

    def text(self, path: str) -> str:
        """What a page shows, without its tags."""
        response = self.get(path)
        assert response.status_code == 200, response.text
        return shown(response)

    def post(self, path: str, **fields: str) -> httpx.Response:
        """Send a form of the desk's own pages."""
        response: httpx.Response = self.client.post(
            path,
            data=form(self.desk, **fields),
            headers={"origin": self.origin},
            follow_redirects=True,
        )
        return response

    def carry_out(self, action: str, **fields: str) -> str:
        """Make a plan, start it, and return what the page of the job shows at its end."""
        plan = self.post("/plans", action=action, **fields)
        (path,) = re.findall(r'action="(/plans/\w+)"', plan.text)
        self.post(path, sure="yes")
        job = path.replace("plans", "jobs")
        until(lambda: "Working" not in self.text(job), "the end of the job")
        return self.text(job)


def shown(response: httpx.Response) -> str:
    """What a person reads."""
    body = response.text.partition("<main")[2]
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", " ", body)))


@contextmanager
def opened(
    environment: Mapping[str, str], record: Path, address: str | None = None
) -> Iterator[Browser]:
    """Run a desk, and open it as a person would."""
    desk = Desk(environment, record, PORT, address)
    origin, _, token = desk.access.address.partition("/?")
    with TestClient(make_app(desk), base_url=origin, raise_server_exceptions=True) as client:
        browser = Browser(client, desk)
        assert browser.get(f"/?{token}").status_code == 200
        yield browser


@pytest.fixture
def record(tmp_path: Path) -> Path:
    return tmp_path / "record.jsonl"


@pytest.fixture
def desk(seeded: OneQueue, record: Path) -> Iterator[Browser]:
    """A desk over a queue with the four dead letters of LETTERS."""
    with opened(seeded.environment, record) as browser:
        yield browser


@pytest.fixture
def strangers(desk: Browser) -> TestClient:
    """A client of the same desk that has not opened its address."""
    return TestClient(desk.client.app, base_url=desk.origin)


def form(desk: Desk, **fields: Any) -> dict[str, Any]:
    return {"form_token": desk.access.form_token, **fields}
