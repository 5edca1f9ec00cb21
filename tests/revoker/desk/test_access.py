"""Access to the desk, and the security headers of its pages."""

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from revoker.desk.access import MAX_FORM_BYTES, Access, Refused
from revoker.desk.server import _listen
from revoker.failure import Failure
from tests.local.broker_process import BrokerProcess
from tests.revoker.conftest import OneQueue
from tests.revoker.desk.conftest import PORT, Browser, form, opened


@pytest.fixture(scope="module")
def desk(
    broker: BrokerProcess, _unused_queues: Iterator[str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Browser]:
    """A desk over an empty queue that all tests of this file share: none of them changes a thing."""
    record = tmp_path_factory.mktemp("desk") / "record.jsonl"
    environment = {
        "ServiceBusConnection": broker.with_key("both", "c2Vj"),
        "SESSION_REVOKED_QUEUE": next(_unused_queues),
    }
    with opened(environment, record) as browser:
        yield browser


POSTS = ("/plans", "/plans/0", "/sessions/a", "/doctor")


def test_the_address_opens_the_desk_once(desk: Browser, strangers: TestClient) -> None:
    """The token is used up when it was exchanged for the cookie, and the page says what to do."""
    used = desk.desk.access.address
    again = strangers.get(used)
    assert again.status_code == 403
    assert "used before" in again.text
    assert "revoker desk" in again.text
    assert "set-cookie" not in again.headers


def test_a_wrong_token_uses_nothing_up() -> None:
    """Guessing leaves the token as it is."""
    access = Access(PORT)
    for wrong in ("", "None", "x", access.address[:-1]):
        with pytest.raises(Refused):
            access.exchange(wrong)
    assert access.exchange(access.address.partition("token=")[2]).status_code == 303
    assert access.address.endswith("None")
    with pytest.raises(Refused):
        access.exchange("None")


def test_no_other_script_desk_or_port_gets_the_cookie() -> None:
    """It is for one random host, as a browser sends it to all ports of a host, and for no script."""
    access, another = Access(PORT), Access(PORT)
    assert re.fullmatch(rf"http://[0-9a-f]{{16}}\.localhost:{PORT}/\?token=.+", access.address)
    assert access.address.partition(".")[0] != another.address.partition(".")[0]
    cookie = access.exchange(access.address.partition("token=")[2]).headers["set-cookie"]
    assert cookie.startswith(f"revoker-desk-{PORT}=")
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert "Domain" not in cookie


def test_listens_wherever_a_browser_may_look_for_its_name() -> None:
    """Nothing else can listen on the same port of the other loopback address."""
    listeners = _listen(0)
    port = listeners[0].getsockname()[1]
    with socket.socket(socket.AF_INET6) as other:
        with pytest.raises(OSError, match=r"in use|assign|support"):
            other.bind(("::1", port))
        for each in listeners:
            each.close()
        other.bind(("::1", port))
        other.listen()
        with pytest.raises(Failure, match=f"cannot listen on port {port} of ::1"):
            _listen(port)


def test_another_address_must_be_named(seeded: OneQueue, record: Path) -> None:
    """Behind a port forward, the desk answers under the given address, and says which it is."""
    codespace = "https://name-8000.app.github.dev"
    with opened(seeded.environment, record, f"{codespace}:443/") as desk:
        assert desk.origin == codespace
        other = desk.get("/", host="evil.example")
        assert other.status_code == 403
        assert f"It expects {codespace}" in other.text
        # Codespaces replaces its own names by these, and leaves others.
        for host, origin in ((f"localhost:{PORT}", f"https://localhost:{PORT}"), ("", codespace)):
            headers = {"origin": origin} | ({"host": host} if host else {})
            plan = desk.client.post(
                "/plans", data=form(desk.desk, action="discard"), headers=headers
            )
            assert plan.status_code == 200
        refused = desk.client.post(
            "/plans", data=form(desk.desk, action="discard"), headers={"origin": "https://evil"}
        )
        assert refused.status_code == 403
    for wrong in ("name-8000.app.github.dev", "ftp://host", "https://", "http://h:x", "http://h/p"):
        with pytest.raises(Failure, match="not the address of a server"):
            Access(PORT, wrong)


@pytest.mark.parametrize("path", ["/", "/dead-letters", "/dead-letters/1", "/flow", "/record"])
def test_shows_nothing_without_the_cookie(desk: Browser, strangers: TestClient, path: str) -> None:
    """A browser that has not opened the desk sees no message, not even the queue's name."""
    response = strangers.get(path)
    assert response.status_code == 403
    assert "not logged in" in response.text
    for known in (desk.desk.access.form_token, desk.desk.address.where, desk.desk.address.queue):
        assert known not in response.text
    strangers.cookies.set(f"revoker-desk-{PORT}", "guessed")
    assert strangers.get(path).status_code == 403


@pytest.mark.parametrize("host", ["evil.example", f"localhost:{PORT}", f"127.0.0.1:{PORT}", ""])
def test_answers_under_its_own_name_only(desk: Browser, host: str) -> None:
    """A name that leads to 127.0.0.1 (DNS rebinding) opens nothing, not even with the cookie."""
    response = desk.get("/", host=host)
    assert response.status_code == 403
    assert "not at this address" in response.text
    assert desk.get("/static/desk.css", host=host).status_code == 403
    assert desk.desk.access.address.split("/")[2] not in response.text  # others must not learn it


@pytest.mark.parametrize("origin", ["http://evil.example", "null", f"http://localhost:{PORT}", ""])
@pytest.mark.parametrize("path", POSTS)
def test_refuses_forms_from_other_pages(desk: Browser, path: str, origin: str) -> None:
    """A form that comes from another origin does nothing, whatever it knows."""
    response = desk.client.post(path, data=form(desk.desk), headers={"origin": origin})
    assert response.status_code == 403


@pytest.mark.parametrize("path", POSTS)
def test_refuses_forms_that_do_not_say_where_they_come_from(desk: Browser, path: str) -> None:
    """Every browser says so; what does not is none."""
    assert desk.client.post(path, data=form(desk.desk)).status_code == 403


@pytest.mark.parametrize("path", POSTS)
def test_refuses_forms_without_their_token(desk: Browser, path: str) -> None:
    """The cookie alone does not do."""
    for fields in ({}, {"form_token": ""}, {"form_token": "guessed"}):
        response = desk.client.post(path, data=fields, headers={"origin": desk.origin})
        assert response.status_code == 403, fields


def test_refuses_reading_by_scripts_of_other_pages(desk: Browser) -> None:
    """What a browser marks as coming from another site is refused, but a link may be followed."""
    assert desk.get("/", origin="http://evil.example").status_code == 403
    assert desk.get("/", **{"sec-fetch-site": "cross-site"}).status_code == 403
    same_site = {"sec-fetch-site": "same-site", "sec-fetch-mode": "no-cors"}
    assert desk.get("/", **same_site).status_code == 403
    link = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert desk.get("/", **link).status_code == 200


def test_refuses_large_forms(desk: Browser) -> None:
    """A form has a few fields."""
    response = desk.post("/plans", action="x" * MAX_FORM_BYTES)
    assert response.status_code == 403
    assert "too large" in response.text


@pytest.mark.parametrize("path", ["/", "/dead-letters", "/static/desk.js", "/nothing", "/?token=x"])
def test_every_answer_is_strict(desk: Browser, path: str) -> None:
    """No page may run, load or frame anything but what the desk itself serves, or be stored."""
    headers = desk.get(path).headers
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", ["/", "/waiting", "/dead-letters", "/flow", "/doctor", "/record"])
def test_pages_work_under_that_policy(desk: Browser, path: str) -> None:
    """Pages hold no script, style or handler within them, and load only from the desk."""
    page = desk.get(path).text
    assert not re.search(r"<script(?![^>]*\bsrc=)", page)
    assert not re.search(r"<style|\bstyle=|\son\w+=", page)
    for link in re.findall(r'(?:src|href|action)="([^"]*)"', page):
        assert link.startswith(("/", "#")), link


def test_nothing_is_done_by_a_get(seeded: OneQueue, record: Path) -> None:
    """Looking at every page causes no event at the broker."""
    before = seeded.events
    number = seeded.messages(dead=True)[0]["sequence_number"]
    with opened(seeded.environment, record) as desk:
        for path in ("/", "/waiting", "/dead-letters", f"/dead-letters/{number}"):
            assert desk.get(path).status_code == 200
        assert desk.get(f"/dead-letters/{number}/body").status_code == 200
        assert desk.get("/sessions/a").status_code == 200
        assert seeded.events == before


def test_forms_are_not_sent_by_links(desk: Browser) -> None:
    """The addresses of forms answer no GET, but that of a page of the same name."""
    assert desk.get("/plans").status_code == 405
